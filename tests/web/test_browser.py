"""A person's way through the page in headless Chromium, from upload to the playing mix, at desktop and phone width.

    python -m pytest -m slow tests/web/test_browser.py

Debian: `apt install chromium chromium-driver`. `examples/shoot_web_page.py` takes the pictures of the guide's page.
"""

import io
import os
import re
import shutil
import time
import urllib.request

import pytest
import soundfile

from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline
from accompgen_hf.web import server
from browser import Browser, find_chromium
from sound_files import encode_media

pytest.importorskip("gradio", reason="the page needs gradio: pip install .[web]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(None in find_chromium(), reason="needs chromium and chromedriver"),
]
ENDS = ("from", "to")
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
MUTE_AND_SWITCH = """document.querySelector("#player .track.voice").click();
const before = document.querySelector("#player [data-part=position]").value;
document.querySelector("#player .list li:last-child button").click();
return Number(before)"""
NOTE_SCROLLING = """window.highest = scrollY;
addEventListener("scroll", () => { window.highest = Math.min(window.highest, scrollY); });"""
# Interactive things that are shown and have no name that a screen reader could say. What a closed `details` holds has
# an `offsetParent` and no `innerText` in newer Chromium, so `checkVisibility` says what is shown.
NAMELESS = """return [...document.querySelectorAll("button, input, select, audio:not(.hidden)")]
  .filter((part) => part.checkVisibility())
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
        browser.wait("document.querySelector('#recording input[type=file]')")  # the last part to come
        yield browser


def says(browser, words: str, timeout_s: float = 300.0) -> None:
    browser.wait(f"document.body.innerText.includes({words!r})", timeout_s)


def position(browser) -> float:
    return float(browser.script("return document.querySelector('#player [data-part=position]').value"))


def visible(selector: str) -> str:
    """JavaScript that is true where an element is inside the window."""
    return f"""(() => {{ const box = document.querySelector({selector!r}).getBoundingClientRect();
      return box.top >= 0 && box.bottom <= window.innerHeight; }})()"""


def chosen_span(browser) -> list[float]:
    fields = [f"#player [data-part={end}]" for end in ENDS]
    return [float(browser.script("return document.querySelector(arguments[0]).value", field)) for field in fields]


def press_go(browser) -> None:
    browser.wait("document.querySelector('#go')?.checkVisibility()")  # it is away while something runs
    browser.click("#go")


def open_choices(browser) -> None:
    browser.click("#choices button")
    browser.wait("document.querySelector('#seed textarea, #seed input')?.checkVisibility()")  # made when it opens


def close_choices(browser) -> None:
    browser.click("#choices button")
    browser.wait("!document.querySelector('#seed textarea, #seed input')?.offsetParent")
    time.sleep(1)  # it closes


def choose(browser, seed: str) -> None:
    open_choices(browser)
    browser.script("document.querySelector('#seed textarea, #seed input').value = ''")
    browser.type("#seed textarea, #seed input", seed)
    close_choices(browser)


def test_from_upload_to_comparing_two_takes(browser, address):
    assert "Placeholder" not in browser.script("return document.body.innerText")
    browser.type("#recording input[type=file]", str(SHIPPED_VOCALS))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    # 1. Begin, and think better of it.
    press_go(browser)
    browser.wait("document.querySelector('#bar [role=progressbar]')")
    browser.click("#stop")
    says(browser, "Stopped.")
    assert browser.script("return document.querySelector('#player [data-part=card]').hidden")
    # 2. A seed, and again; a phone goes to the player by itself.
    choose(browser, "7")
    press_go(browser)
    browser.wait(
        "document.querySelector('#player [data-part=time]').innerText === '0:00 / 0:09'", 900
    )  # busy machines
    says(browser, "Done.")
    assert "seed 7" in browser.script("return document.querySelector('#player [data-part=heading]').innerText")
    browser.wait(visible("#player [data-part=play]"))
    # 3. Another one; and a wrong seed, which keeps both.
    choose(browser, "8")
    press_go(browser)
    browser.wait("document.querySelectorAll('#player .list li').length === 2", 900)
    says(browser, "Done.")
    choose(browser, "seven")
    press_go(browser)
    says(browser, "The seed must be a whole number")
    names = browser.script("return [...document.querySelectorAll('#player .list li')].map((take) => take.innerText)")
    assert [" ".join(name.split()) for name in names] == ["Take 2 seed 8", "Take 1 seed 7"]
    # 4. Listen, mute, and go to the other take at the same position.
    browser.click("#player [data-part=play]")
    browser.wait("document.querySelector('#player [data-part=position]').value > 2")
    before = browser.script(MUTE_AND_SWITCH)  # at one go: on a busy machine the take would end between two commands
    assert "seed 7" in browser.script("return document.querySelector('#player [data-part=heading]').innerText")
    is_further = f"document.querySelector('#player [data-part=position]').value > {before + 0.1}"
    browser.wait(f"{is_further} && document.querySelector('#player .play').ariaLabel === 'Pause'")
    assert browser.script("return document.querySelector('#player .track.voice').ariaPressed") == "false"
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


def test_a_span_that_is_dragged_over_is_played_anew(browser):
    browser.type("#recording input[type=file]", str(SHIPPED_VOCALS))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    open_choices(browser)
    browser.click("#quick input")
    close_choices(browser)
    press_go(browser)
    browser.wait("document.querySelectorAll('#player .list li').length === 1", 900)
    says(browser, "Done.")
    browser.wait(visible("#player [data-part=score]"))  # a phone scrolls there by itself
    browser.drag("#player [data-part=score]", 0.25, 0.5)
    assert chosen_span(browser) == pytest.approx([9.1 / 4, 9.1 / 2], abs=0.1)
    assert not browser.script("return document.querySelector('#player [data-part=chosen]').hidden")
    browser.script(NOTE_SCROLLING)
    browser.click("#player [data-part=anew]")
    browser.wait("document.querySelectorAll('#player .list li').length === 2", 900)
    browser.wait(visible("#player [data-part=play]"))
    status_top = "document.querySelector('#status').getBoundingClientRect().top + scrollY"
    assert browser.script(f"return window.highest <= {status_top}")  # meanwhile a phone has shown how far it was
    words = browser.script("return document.querySelector('#player [data-part=heading]').innerText")
    made_anew = re.search(r"([\d.]+) to ([\d.]+) s made anew", words)
    assert made_anew
    assert chosen_span(browser) == [float(end) for end in made_anew.groups()]  # moved to the beats
    assert browser.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.script(NAMELESS) == []


def test_files_that_the_browser_does_not_know_as_audio_go_to_the_server(browser, tmp_path):
    shutil.copy(SHIPPED_VOCALS, tmp_path / "voice memo")
    browser.type("#recording input[type=file]", str(tmp_path / "voice memo"))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    assert not browser.script("return document.body.innerText.includes('Invalid file type')")


def test_a_voice_memo_of_a_phone_gets_a_band(browser, tmp_path):
    pytest.importorskip("av", reason="writes the m4a")
    vocals, sampling_rate = soundfile.read(SHIPPED_VOCALS, dtype="float32", always_2d=True)
    memo = encode_media(vocals[: 3 * sampling_rate].T, sampling_rate, "ipod", "aac")
    (tmp_path / "memo.m4a").write_bytes(memo)
    browser.type("#recording input[type=file]", str(tmp_path / "memo.m4a"))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    press_go(browser)
    says(browser, "Done.", 900)
    words = browser.script("return document.querySelector('#player [data-part=time]').innerText")
    assert words == "0:00 / 0:03"


def test_a_silent_recording_is_told_so(browser, tmp_path):
    soundfile.write(tmp_path / "silent.wav", [0.0] * 44_100, 44_100)
    browser.type("#recording input[type=file]", str(tmp_path / "silent.wav"))
    browser.wait("document.querySelector('#recording button[aria-label=Play]')")
    press_go(browser)
    says(browser, "The recording is silent. Was the right microphone chosen, and was it not muted?")
    browser.wait("document.querySelector('#go')?.offsetParent")  # on it goes


ANGLE = """const style = getComputedStyle(document.querySelector("#choices button .icon"));
const matrix = new DOMMatrix(style.transform === "none" ? "" : style.transform);
const degrees = Math.atan2(matrix.b, matrix.a) * 180 / Math.PI + (parseFloat(style.rotate) || 0);
return (Math.round(degrees) + 360) % 360"""


def test_the_arrow_of_the_choices_points_to_the_right_and_open_down(browser):
    assert browser.script("return document.querySelector('#choices button .icon').innerText.trim()") == "▼"
    assert browser.script(ANGLE) == 270
    browser.click("#choices button")
    time.sleep(1)  # it turns
    assert browser.script(ANGLE) == 0


def test_the_choices_ask_for_what_is_known_of_the_song(browser):
    open_choices(browser)
    assert browser.script("return document.querySelector('#key input').value") == "Hear it"
    browser.type("#chords textarea", "0.0 2.5 Am\n2.5 5.0 H")
    assert browser.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.script(NAMELESS) == []
    press_go(browser)
    says(browser, 'The chords must have names such as "Am", "F" or "G7"')
    browser.type("#tempo textarea, #tempo input", "fast")
    press_go(browser)
    says(browser, "The tempo must be a number of beats a minute")


def test_what_is_refused_is_said_and_the_page_goes_on(browser, tmp_path):
    press_go(browser)
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
    press_go(browser)
    browser.wait("document.querySelector('#bar [role=progressbar]')")
    browser.click("#stop")
    says(browser, "Stopped.")
