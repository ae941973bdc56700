"""Words and colours of the web page. There is no logic of jobs here, and nothing is imported from gradio."""

import html
from collections.abc import Sequence

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
BUSY = "All places in the queue are taken. Your recording is still here: try again in a minute."
BROKEN = "Something went wrong on this side, not with your recording. Try again; if it stays, tell who runs this page."
STOPPED = "Stopped."
DONE = "Done. Have a listen."
WAITING = "Starting …"
# What `player.js` fills; its parts are found by `data-part`.
PLAYER = """
<div class="empty" data-part="empty"><p class="empty-head">Your takes will appear here</p>
  <p>Each one with the mix, the band alone and a zip file for your DAW. The files are 24-bit wav, exactly as long as
  your recording.</p></div>
<section class="take" data-part="card" aria-label="Player" hidden>
  <h2 data-part="heading"></h2>
  <div class="timeline" data-part="timeline"><div class="score" data-part="score"><div></div>
    <div class="chosen" data-part="chosen" hidden></div><div class="playhead"></div></div></div>
  <input type="range" data-part="position" min="0" max="1" step="0.01" value="0" aria-label="Position">
  <div class="transport">
    <button type="button" class="play" data-part="play" aria-label="Play"></button>
    <span class="time" data-part="time"></span>
    <span class="tracks" data-part="tracks" role="group" aria-label="What you hear"></span>
  </div>
  <p class="sheet" data-part="sheet"></p>
  <details class="again" data-part="again"><summary>Play a part of it anew</summary>
    <p>Drag over the picture, or type the seconds. The rest stays as it is; both ends move to the nearest beats.</p>
    <p class="span"><label>From <input type="number" data-part="from" min="0" step="0.1" value="0"></label>
      <label>to <input type="number" data-part="to" min="0" step="0.1" value="0"></label>
      <label data-part="players" hidden>by <select data-part="player"></select></label>
      <button type="button" data-part="anew">Play it anew</button></p></details>
  <p class="failure-words" data-part="message" role="status"></p>
  <p class="files"><span>Download</span> <span data-part="files"></span></p>
  <div data-part="others" hidden><h3>All takes <small>switch while it plays</small></h3>
    <ol class="list" data-part="list"></ol></div>
</section>
"""
PLACEHOLDER_NOTE = (
    "<strong>Placeholder model.</strong> Its weights are barely trained: length, timing and files are real, "
    "the music is not."
)
_STAGES = {
    "preparing": "Preparing for this machine, once: up to a minute",
    "waiting": "Getting ready",
    "listening": "Listening to your voice",
    "semantic": "Thinking up the band (1 of 3)",
    "coarse": "Playing (2 of 3)",
    "fine": "Polishing the sound (3 of 3)",
    "mixing": "Mixing",
}

HEAD = '<meta name="color-scheme" content="light dark">'


def intro(max_duration_s: float) -> str:
    """HTML of the introduction."""
    return (
        "<h1>Sing. <span>Get a band.</span></h1>"
        f"<p>One voice, up to {max_duration_s:g} seconds. A band answers, exactly as long.</p>"
    )


def limits(max_duration_s: float, max_bytes: int, files_live_s: float, formats: Sequence[str]) -> str:
    """Text about what the page takes and how long it keeps files."""
    *others, last = formats
    return (
        f"Up to {max_duration_s:g} s and {max_bytes / 2**20:g} MB; {', '.join(others)} or {last}. "
        "A dry voice without a band works best. "
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
