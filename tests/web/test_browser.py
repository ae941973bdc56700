"""A person's way through the page in headless Chromium, from upload to the playing mix, at desktop and phone width.

    python -m pytest -m slow tests/web/test_browser.py

Debian: `apt install chromium chromium-driver`. `examples/shoot_web_page.py` takes the pictures of the guide's page.
"""

import io
import os
import shutil
import time
import urllib.request

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
ENDS = ("from", "to")
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
VISIBLE = """(() => { const box = document.querySelector("#player [data-part=play]").getBoundingClientRect();
  return box.top >= 0 && box.bottom <= window.innerHeight; })()"""
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


def position(browser) -> float:
    return float(browser.script("return document.querySelector('#player [data-part=position]').value"))


def choose(browser, seed: str) -> None:
    browser.click("#choices button")
    browser.script("document.querySelector('#seed textarea, #seed input').value = ''")
    browser.type("#seed textarea, #seed input", seed)
    browser.click("#choices button")
    time.sleep(1)  # it closes


def test_from_upload_to_comparing_two_takes(browser, address):
    assert "Placeholder" not in browser.script("return document.body.innerText")
    browser.type("#recording input[type=file]", str(SHIPPED_VOCALS))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    # 1. Begin, and think better of it.
    browser.click("#go")
    browser.wait("document.querySelector('#bar [role=progressbar]')", 60)
    browser.click("#stop")
    says(browser, "Stopped.", 60)
    assert browser.script("return document.querySelector('#player [data-part=card]').hidden")
    # 2. A seed, and again; a phone goes to the player by itself.
    choose(browser, "7")
    browser.wait("document.querySelector('#go')")
    browser.click("#go")
    browser.wait(
        "document.querySelector('#player [data-part=time]').innerText === '0:00 / 0:09'", 900
    )  # busy machines
    says(browser, "Done.", 60)
    assert "seed 7" in browser.script("return document.querySelector('#player [data-part=heading]').innerText")
    browser.wait(VISIBLE, 10)
    # 3. Another one; and a wrong seed, which keeps both.
    choose(browser, "8")
    browser.click("#go")
    browser.wait("document.querySelectorAll('#player .list li').length === 2", 900)
    says(browser, "Done.", 60)
    choose(browser, "seven")
    browser.click("#go")
    says(browser, "The seed must be a whole number")
    names = browser.script("return [...document.querySelectorAll('#player .list li')].map((take) => take.innerText)")
    assert [" ".join(name.split()) for name in names] == ["Take 2 seed 8", "Take 1 seed 7"]
    # 4. Listen, mute, and go to the other take at the same position.
    browser.click("#player [data-part=play]")
    browser.wait("document.querySelector('#player [data-part=position]').value > 2", 60)
    browser.click("#player .track.voice")
    before = position(browser)
    browser.click("#player .list li:last-child button")
    assert "seed 7" in browser.script("return document.querySelector('#player [data-part=heading]').innerText")
    browser.wait(f"document.querySelector('#player [data-part=position]').value > {before + 0.1}", 60)
    assert browser.script("return document.querySelector('#player .track.voice').ariaPressed") == "false"
    assert browser.script("return document.querySelector('#player .play').ariaLabel") == "Pause"
    browser.click("#player [data-part=play]")
    rest = position(browser)
    browser.click("#player .list li:first-child button")
    assert position(browser) == pytest.approx(rest, abs=0.02)
    # 5. Take it home.
    wav = browser.script("return document.querySelector('#player [data-part=files] a').href")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(wav) as response:
        info = soundfile.info(io.BytesIO(response.read()))
    vocals = soundfile.info(SHIPPED_VOCALS)
    assert (info.frames, info.samplerate, info.subtype) == (vocals.frames, vocals.samplerate, "PCM_24")
    # 6. It fits the screen, has names for who cannot see it, and has asked nobody else for anything.
    assert browser.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.script(NAMELESS) == []
    asked = [url for url in browser.requested_addresses() if not url.startswith((address, "data:", "blob:", "about:"))]
    assert [url for url in asked if not url.startswith("chrome")] == []
    errors = [entry["message"] for entry in browser.logs("browser") if entry["level"] == "SEVERE"]
    assert errors == []


DRAG = """const score = document.querySelector("#player [data-part=score]"), box = score.getBoundingClientRect();
const at = (share) => ({ clientX: box.left + share * box.width, clientY: box.top + 20, pointerId: 1, bubbles: true });
score.setPointerCapture = () => {};
score.dispatchEvent(new PointerEvent("pointerdown", at(0.25)));
score.dispatchEvent(new PointerEvent("pointermove", at(0.5)));
score.dispatchEvent(new PointerEvent("pointerup", at(0.5)));"""


def test_a_span_that_is_dragged_over_is_played_anew(browser):
    browser.type("#recording input[type=file]", str(SHIPPED_VOCALS))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    browser.click("#choices button")
    browser.click("#quick input")
    browser.click("#choices button")
    time.sleep(1)  # it closes
    browser.click("#go")
    browser.wait("document.querySelectorAll('#player .list li').length === 1", 900)
    says(browser, "Done.", 60)
    browser.script(DRAG)
    times = [
        float(browser.script(f"return document.querySelector('#player [data-part={end}]').value")) for end in ENDS
    ]
    assert times == pytest.approx([9.1 / 4, 9.1 / 2], abs=0.1)
    assert not browser.script("return document.querySelector('#player [data-part=chosen]').hidden")
    browser.click("#player [data-part=anew]")
    browser.wait("document.querySelectorAll('#player .list li').length === 2", 900)
    words = browser.script("return document.querySelector('#player [data-part=heading]').innerText")
    assert "made anew" in words
    assert browser.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.script(NAMELESS) == []


def test_files_that_the_browser_does_not_know_as_audio_go_to_the_server(browser, tmp_path):
    shutil.copy(SHIPPED_VOCALS, tmp_path / "voice memo")
    browser.type("#recording input[type=file]", str(tmp_path / "voice memo"))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    assert not browser.script("return document.body.innerText.includes('Invalid file type')")


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
