"""What the package says unasked, and what the Hub says about its models."""

import re
from pathlib import Path

import pytest
from transformers import pipeline

import accompgen_hf

ROOT = Path(__file__).resolve().parents[1]
CARDS = [ROOT / "model_cards" / f"{name}.md" for name in ("base", "stage", "tiny")]
CARDS.append(Path(accompgen_hf.DEFAULT_MODEL) / "README.md")


def test_opening_the_default_says_nothing(capfd):
    pipeline("vocal-accompaniment", device="cpu")
    said = capfd.readouterr()
    assert "No model was supplied" not in said.err
    assert "Loading weights" not in said.err


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parent.name + path.name)
def test_the_hub_prints_no_snippet_of_its_own_and_the_first_of_the_card_is_right(card):
    text = card.read_text("utf-8")
    # The Hub prints `pipeline("audio-to-audio", model=...)` for cards whose library is transformers, where this tag
    # is no task; it knows no snippet for a library of another name.
    assert "\nlibrary_name: accompgen_hf\n" in text
    assert "\npipeline_tag: audio-to-audio\n" in text
    first = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert "accompgen_hf" in first.splitlines()[0]
    assert "audio-to-audio" not in first


def test_the_card_of_the_default_begins_with_its_use():
    text = (Path(accompgen_hf.DEFAULT_MODEL) / "README.md").read_text("utf-8")
    assert re.search(r"# accompgen-tiny\n\n```python\nimport accompgen_hf\n", text)
