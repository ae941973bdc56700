"""Words, colours and style of the web page. There is no logic of jobs here, and nothing is imported from gradio."""

import base64
import html
from pathlib import Path

from accompgen_hf.web.studio import Progress

TITLE = "accompgen: vocals in, band out"
# The colours of the lanes in the picture.
LANE_COLORS = {"vocals": "#e4572e", "accompaniment": "#2e86ab", "mix": "#6a4c93"}
# Shades of the mix's colour, from light to dark.
HUE = (
    "#f6f2fa",
    "#ebe3f5",
    "#d8c9ea",
    "#bda6d9",
    "#9d80c3",
    "#7d5cab",
    "#6a4c93",
    "#573e79",
    "#463262",
    "#372750",
    "#241936",
)
FORMATS = "wav, flac, mp3, ogg, opus, m4a or webm"
BUSY = "All places in the queue are taken. Your recording is still here: try again in a minute."
BROKEN = "Something went wrong on this side, not with your recording. Try again; if it stays, tell who runs this page."
STOPPED = "Stopped."
DONE = "Done. Have a listen."
WAITING = "Starting …"
EMPTY = (
    '<div class="empty"><p class="empty-head">Your takes will appear here</p>'
    "<p>Each one with the mix, the band alone, a picture of both and a zip file for your DAW. "
    "The files are 24-bit wav, exactly as long as your recording.</p></div>"
)
PLACEHOLDER_NOTE = (
    "<strong>Placeholder model.</strong> Its weights are barely trained: length, timing and files are real, "
    "the music is not."
)
_STAGES = {
    "listening": "Listening to your voice",
    "semantic": "Thinking up the band (1 of 3)",
    "coarse": "Playing (2 of 3)",
    "fine": "Polishing the sound (3 of 3)",
    "mixing": "Mixing",
}

# On a phone they lie below the visible part of the page.
SCROLL_TO_TAKES = """() => {
  const take = document.querySelector("#take-1");
  if (take && take.getBoundingClientRect().top > window.innerHeight) take.scrollIntoView({ behavior: "smooth" });
}"""
HEAD = '<meta name="color-scheme" content="light dark">'

CSS = """
.gradio-container { --body-text-color-subdued: #566176; --neutral-400: #64748b; }
.dark .gradio-container, .gradio-container.dark { --body-text-color-subdued: #a9b4c6; --neutral-400: #a9b4c6; }
.gradio-container > main, .gradio-container .app { max-width: 1120px !important; margin: 0 auto !important;
  padding: 28px 20px 40px !important; }
.gradio-container footer { display: none !important; }
.gradio-container .html-container { padding: 0 !important; }
#intro h1 { font-size: 2.1rem; line-height: 1.15; margin: 0; letter-spacing: -0.02em; font-weight: 750; }
#intro h1 span { color: #6a4c93; }
#intro p { margin: 6px 0 4px; font-size: 1.08rem; color: var(--body-text-color-subdued); }
#studio { gap: 28px; align-items: flex-start; }
#recording .source-selection { gap: 8px; height: auto; padding: 8px; }
#recording .source-selection button { width: auto; height: auto; min-height: 40px; padding: 6px 16px; display: flex;
  align-items: center; gap: 8px; border: 1px solid var(--border-color-primary); border-radius: 999px;
  color: var(--body-text-color); }
#recording .source-selection button svg { width: 18px; height: 18px; flex: none; }
#recording .source-selection button::after { content: attr(aria-label); font-size: 0.95rem; }
#recording .source-selection button.selected { border-color: #6a4c93; box-shadow: inset 0 0 0 1px #6a4c93; }
#go, #stop { min-height: 54px; font-size: 1.15rem; }
#example { background: none; color: var(--body-text-color-subdued); text-decoration: underline;
  text-underline-offset: 3px; font-size: 0.95rem; min-height: 32px; }
#status .pending { opacity: 1 !important; }
#status .wrap.minimal { position: static !important; background: none; justify-content: flex-start; }
#status { min-height: 0; }
#bar:not(:has(.bar)) { display: none; }
.note, .failure, .empty { border-radius: 10px; padding: 12px 14px; line-height: 1.45; }
.note { background: #fff6e0; color: #5c4300; border: 1px solid #f0d48a; }
.note strong { color: inherit; }
.failure { background: #fdecea; color: #7a1c12; border: 1px solid #f3b9b1; }
.empty { border: 2px dashed var(--border-color-primary); color: var(--body-text-color-subdued); padding: 56px 28px;
  text-align: center; }
.empty p { color: inherit; margin: 0; }
.empty .empty-head { font-weight: 600; font-size: 1.1rem; color: var(--body-text-color); margin-bottom: 6px; }
.status { font-weight: 600; font-size: 1.05rem; }
.bar { height: 10px; border-radius: 5px; background: var(--border-color-primary); overflow: hidden; }
.bar > div { height: 100%; border-radius: 5px; background: linear-gradient(90deg, #e4572e, #6a4c93 50%, #2e86ab);
  transition: width 0.4s linear; }
.bar-words { display: flex; justify-content: space-between; font-size: 0.95rem; margin-top: 4px;
  color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.take { border: 1px solid var(--border-color-primary); border-radius: 14px; padding: 18px; gap: 14px;
  box-shadow: 0 1px 10px rgb(20 25 40 / 6%); min-width: 0 !important; }
.take h2 { margin: 0; font-size: 1.25rem; }
.take h2 small { font-weight: 400; font-size: 0.95rem; color: var(--body-text-color-subdued); margin-left: 8px; }
.picture { overflow-x: auto; border-radius: 8px; background: #fff; max-width: 100%; }
.picture img { display: block; width: 100%; min-width: 480px; margin: 0; }
.take .block { min-width: 0 !important; }
.small { font-size: 0.9rem; line-height: 1.5; color: var(--body-text-color-subdued); margin: 0; }
:focus-visible { outline: 3px solid #2e86ab !important; outline-offset: 2px; }
@media (max-width: 700px) {
  .gradio-container > main, .gradio-container .app { padding: 18px 14px 32px !important; }
  #intro h1 { font-size: 1.7rem; }
  .take { padding: 12px; }
  .empty { padding: 28px 18px; }
}
@media (prefers-reduced-motion: reduce) { .bar > div { transition: none; } }
.dark #intro h1 span { color: #c3a6ea; }
.dark .note { background: #3a2f10; color: #ffe6a6; border-color: #6b571d; }
.dark .failure { background: #3d1a16; color: #ffd0c9; border-color: #7a342b; }
"""


def intro(max_duration_s: float) -> str:
    """HTML of the introduction."""
    return (
        "<h1>Sing. <span>Get a band.</span></h1>"
        f"<p>One voice, up to {max_duration_s:g} seconds. A band answers, exactly as long.</p>"
    )


def limits(max_duration_s: float, max_bytes: int, files_live_s: float) -> str:
    """Text about what the page takes and how long it keeps files."""
    return (
        f"Up to {max_duration_s:g} s and {max_bytes / 2**20:g} MB; {FORMATS}. A dry voice without a band works best. "
        f"Recordings and results are deleted from this server after about {files_live_s / 3600:g} h."
    )


def note(words: str) -> str:
    """Wrap `words`, which is HTML of our own, in a note of this kind."""
    return f'<div class="note" role="note">{words}</div>'


def failure(words: str) -> str:
    """HTML of an error."""
    return f'<div class="failure" role="alert">{html.escape(words)}</div>'


def status(words: str) -> str:
    """HTML of what the job does now."""
    return f'<div class="status">{html.escape(words)}</div>'


def describe(progress: Progress) -> str:
    """Say what the job does now, in a sentence that changes only with stage and take."""
    words = _STAGES[progress.stage]
    if progress.num_takes > 1:
        words += f", take {progress.take} of {progress.num_takes}"
    return words + " …"


def bar(progress: Progress) -> str:
    """HTML of the progress bar."""
    percent = round(100 * progress.fraction)
    left = ""
    if progress.seconds_left is not None:
        seconds = max(1, round(progress.seconds_left))
        left = f"about {seconds} s left" if seconds < 90 else f"about {round(seconds / 60)} min left"
    return (
        f'<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><div style="width: {percent}%"></div></div>'
        f'<div class="bar-words"><span>{percent} %</span><span>{left}</span></div>'
    )


def heading(number: int, seed: int) -> str:
    """HTML of the heading of a take."""
    return f"<h2>Take {number}<small>seed {seed}</small></h2>"


def picture(path: Path) -> str:
    """Put the picture into the page itself: it scrolls sideways on a phone, and has a text for who cannot see it."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    words = "Mel spectrograms and onsets of your voice, the band and the mix, one above the other on one time axis"
    return (
        f'<div class="picture" tabindex="0" role="region" aria-label="Picture of the take">'
        f'<img alt="{words}" src="data:image/png;base64,{data}"></div>'
    )
