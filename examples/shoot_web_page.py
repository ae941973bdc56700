"""Take the pictures of the web page's guide with the shipped model, and record whose pictures they are.

    python examples/shoot_web_page.py

Run it again when the default is another one. A test compares the record, `web_images.json`, with the model in the
package. Needs the extra `web`, chromium and chromedriver (Debian: `apt install chromium chromium-driver`).
"""

import argparse
import sys
import time
from pathlib import Path

import accompgen_hf
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline
from accompgen_hf.files import hash_file, write_json
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.web.server import open_page

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
SEED = "7"


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "docs" / "guide" / "images", help="for the pictures")
    parser.add_argument("--timeout_s", type=float, default=900.0, help="how long one take may last")
    return parser.parse_args()


def shoot(address: str, device: str, options: argparse.Namespace) -> list[Path]:
    """Walk through the page on one device: a take, then a span of it that is played anew, which plays."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Browser

    paths = [options.output_dir / f"web_{device}{scene}.png" for scene in ("", "_span")]
    with Browser(*SIZES[device]) as browser:
        browser.open(address)
        browser.wait("document.querySelector('#recording input[type=file]')", options.timeout_s)
        browser.type("#recording input[type=file]", str(SHIPPED_VOCALS))
        browser.wait("document.querySelector('#recording button[aria-label=Play]')", options.timeout_s)
        browser.click("#choices button")
        browser.type("#seed textarea, #seed input", SEED)
        browser.click("#choices button")
        time.sleep(1)  # it closes
        browser.click("#go")
        wait_for_take(browser, 1, options.timeout_s)
        browser.click("#player [data-part=play]")
        browser.wait("document.querySelector('#player [data-part=position]').value > 2", options.timeout_s)
        browser.screenshot(paths[0])
        browser.click("#player [data-part=play]")
        browser.drag("#player [data-part=score]", 0.3, 0.6)
        browser.click("#player [data-part=anew]")
        wait_for_take(browser, 2, options.timeout_s)
        browser.screenshot(paths[1], full=True)
    return paths


def wait_for_take(browser, number: int, timeout_s: float) -> None:
    """Wait until so many takes are listed, the last run is over and the page has come to rest."""
    browser.wait(f"document.querySelectorAll('#player .list li').length === {number}", timeout_s)
    browser.wait("document.querySelector('#status').innerText.includes('Done')", timeout_s)
    time.sleep(2)  # a phone scrolls to the player


def main() -> None:
    """Take all pictures and write the record."""
    options = parse_arguments()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    model = Path(accompgen_hf.DEFAULT_MODEL)
    images = []
    with open_page(load_pipeline(None, "cpu")) as address:
        for device in SIZES:
            images += shoot(address, device, options)
    record = {
        "model.safetensors": hash_file(model / "model.safetensors"),
        **{path.name: hash_file(path) for path in images},
    }
    write_json(options.output_dir / "web_images.json", record, sort_keys=False)
    print("\n".join(str(path) for path in images))


if __name__ == "__main__":
    run_script(main)
