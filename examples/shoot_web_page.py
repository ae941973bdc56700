"""Take the pictures of the web page's guide with the shipped model, and record whose pictures they are.

    python examples/shoot_web_page.py

Needs the extra `web`, chromium and chromedriver (Debian: `apt install chromium chromium-driver`). A test compares the
record, `web_images.json`, with the model in the package.
"""

import json
import sys
import time
from pathlib import Path

import accompgen_hf
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline
from accompgen_hf.files import hash_file
from accompgen_hf.web.server import open_page

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "guide" / "images"
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
TIMEOUT_S = 900


def shoot(address: str, device: str) -> Path:
    """Walk through the page on one device and take its picture while a take plays."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Browser

    with Browser(*SIZES[device]) as browser:
        browser.open(address)
        browser.wait("document.querySelector('#recording input[type=file]')", TIMEOUT_S)
        browser.type("#recording input[type=file]", str(SHIPPED_VOCALS))
        browser.wait("document.querySelector('#recording button[aria-label=Play]')", TIMEOUT_S)
        browser.click("#choices button")
        browser.click("#quick input")
        browser.click("#choices button")
        time.sleep(1)  # the accordion closes
        for number in (1, 2):
            browser.click("#go")
            browser.wait(f"document.querySelectorAll('#player .list li').length === {number}", TIMEOUT_S)
            browser.wait("document.body.innerText.includes('Done')", TIMEOUT_S)
        browser.click("#player [data-part=play]")
        browser.wait("document.querySelector('#player [data-part=position]').value > 2", TIMEOUT_S)
        path = IMAGES / f"web_{device}.png"
        browser.screenshot(path)
    return path


def main() -> None:
    """Take both pictures and write the record."""
    model = Path(accompgen_hf.DEFAULT_MODEL)
    with open_page(load_pipeline(None, "cpu")) as address:
        images = [shoot(address, device) for device in SIZES]
    record = {
        "model.safetensors": hash_file(model / "model.safetensors"),
        **{path.name: hash_file(path) for path in images},
    }
    (IMAGES / "web_images.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
