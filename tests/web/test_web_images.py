"""The pictures of the page's guide show the model that is in the package."""

import json
import re
from pathlib import Path

import accompgen_hf
from accompgen_hf.files import hash_file

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
RENEW = "python examples/shoot_web_page.py takes them again"


def test_the_pictures_were_taken_with_the_shipped_model():
    record = json.loads((GUIDE / "images" / "web_images.json").read_text("utf-8"))
    model = hash_file(Path(accompgen_hf.DEFAULT_MODEL) / "model.safetensors")
    assert record.pop("model.safetensors") == model, f"the pictures show another model: {RENEW}"
    assert {path.name for path in (GUIDE / "images").glob("web_*.png")} == set(record)
    for name, sha256 in record.items():
        assert hash_file(GUIDE / "images" / name) == sha256, f"{name} is not what the script took: {RENEW}"


def test_the_guide_shows_every_one_of_them():
    record = json.loads((GUIDE / "images" / "web_images.json").read_text("utf-8"))
    shown = re.findall(r"images/(web_\w+\.png)", (GUIDE / "web_page.md").read_text("utf-8"))
    assert sorted(shown) == sorted(set(record) - {"model.safetensors"})
