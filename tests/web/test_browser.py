"""A person's way through the page in headless Chromium, from upload to the playing mix, at desktop and phone width.

    python -m pytest -m slow tests/web/test_browser.py

Debian: `apt install chromium chromium-driver`. ACCOMPGEN_SCREENSHOTS=folder takes the pictures of the guide's page.
"""

import io
import os
import urllib.request
from pathlib import Path

import pytest
import soundfile

from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline
from accompgen_hf.web import server
from browser import Browser, find_chromium

pytest.importorskip("gradio", reason="the page needs gradio: pip install .[web]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(None in find_chromium(), reason="needs chromium and chromedriver"),
]
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
# Interactive things without a name that a screen reader could say.
NAMELESS = """return [...document.querySelectorAll("button, input, select, audio:not(.hidden)")]
  .filter((part) => part.offsetParent !== null)
  .filter((part) => !(part.ariaLabel || part.title || part.innerText || (part.labels && part.labels.length)))
  .map((part) => part.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def address():
    environment = dict(os.environ)
    with server.open_page(load_pipeline(None, "cpu")) as address:
        yield address
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(params=SIZES)
def browser(request, address):
    with Browser(*SIZES[request.param]) as browser:
        browser.device = request.param
        browser.open("about:blank")
        browser.requested_addresses()
        browser.open(address)
        browser.wait("document.querySelector('#recording input[type=file]')", 60)  # the last part to come
        yield browser


def says(browser, words: str, timeout_s: float = 60.0) -> None:
    browser.wait(f"document.body.innerText.includes({words!r})", timeout_s)


def shoot(browser, name: str = "") -> None:
    folder = os.environ.get("ACCOMPGEN_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / f"web_{browser.device}{name}.png")


def seconds(browser, player: str) -> int:
    minutes, _, rest = browser.script(f"return document.querySelector('{player} #time').innerText").partition(":")
    return 60 * int(minutes) + int(rest)


def test_from_upload_to_playing_the_mix(browser, address):
    shoot(browser, "_begin")
    browser.type("#recording input[type=file]", str(SHIPPED_VOCALS))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    # 1. Begin, and think better of it.
    browser.click("#go")
    browser.wait("document.querySelector('#bar [role=progressbar]')", 60)
    shoot(browser, "_working")
    browser.click("#stop")
    says(browser, "Stopped.", 30)
    assert browser.script("return document.querySelector('#take-1') === null")
    # 2. A seed, and again.
    browser.click("#choices button")
    browser.type("#seed textarea, #seed input", "7")
    browser.click("#choices button")
    browser.wait("document.querySelector('#go')")
    browser.click("#go")
    browser.wait("document.querySelector('#take-1 #mix-1 #duration')?.innerText === '0:09'", 900)  # busy machines
    assert "seed 7" in browser.script("return document.querySelector('#take-1').innerText")
    # 3. Listen.
    browser.script("document.querySelector('#take-1').scrollIntoView()")
    browser.click("#mix-1 button[aria-label=Play]")
    browser.wait("document.querySelector('#mix-1 #time').innerText >= '0:02'", 30)
    assert seconds(browser, "#mix-1") >= 2
    browser.script("window.scrollTo(0, 0)" if browser.device == "desktop" else "")
    shoot(browser)
    # 4. Take it home.
    wav = browser.script("return document.querySelector('#mix-1 a[download]').href")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(wav) as response:
        info = soundfile.info(io.BytesIO(response.read()))
    vocals = soundfile.info(SHIPPED_VOCALS)
    assert (info.frames, info.samplerate, info.subtype) == (vocals.frames, vocals.samplerate, "PCM_24")
    assert browser.script("return document.querySelector('#take-1 .picture img').naturalWidth") > 1000
    assert browser.script("return document.querySelector('#archive-1').innerText") == "Download all (zip)"
    # 5. It fits the screen, has names for who cannot see it, and has asked nobody else for anything.
    assert browser.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.script(NAMELESS) == []
    asked = [url for url in browser.requested_addresses() if not url.startswith((address, "data:", "blob:", "about:"))]
    assert [url for url in asked if not url.startswith("chrome")] == []
    errors = [entry["message"] for entry in browser.logs("browser") if entry["level"] == "SEVERE"]
    assert errors == []


def test_what_is_refused_is_said_and_the_page_goes_on(browser, tmp_path):
    browser.click("#go")
    says(browser, "There is no recording yet")
    (tmp_path / "huge.wav").write_bytes(bytes(21 * 2**20))
    browser.type("#recording input[type=file]", str(tmp_path / "huge.wav"))
    browser.wait("/exceed|too large|maximum/i.test(document.body.innerText)")
    assert "Traceback" not in browser.script("return document.body.innerText")


def test_a_recording_from_the_microphone_is_taken(browser):
    browser.click("#recording button[aria-label='Record audio']")
    browser.wait("document.querySelector('#recording .record-button')")
    browser.click("#recording .record-button")
    browser.wait("document.querySelector('#recording .stop-button')?.offsetParent")
    browser.script("return new Promise((done) => setTimeout(done, 1500))")
    browser.click("#recording .stop-button")
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    browser.click("#go")
    browser.wait("document.querySelector('#bar [role=progressbar]')", 60)
    browser.click("#stop")
    says(browser, "Stopped.")
