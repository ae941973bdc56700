"""The web page's parts and what its buttons do. Only this module and `api` import gradio at their top."""

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from accompgen_hf.accompgen.parts_accompgen import ANY_STYLE
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS
from accompgen_hf.web import texts
from accompgen_hf.web.api import add_endpoints
from accompgen_hf.web.choices import (
    KEYS,
    MAX_CHORDS_CHARACTERS,
    MAX_GUIDANCE_SCALE,
    MAX_VARIATIONS,
    Refused,
    Settings,
    read_chords,
    read_seed,
    read_tempo,
)
from accompgen_hf.web.earlier_takes import ChosenSpan
from accompgen_hf.web.studio import FinishedTake, Progress, Stopped, Studio, readable_formats
from accompgen_hf.web.takes import describe_take

FILES_LIVE_S = 3600
_HERE = Path(__file__).parent
CSS = (_HERE / "page.css").read_text("utf-8")


def make_theme() -> gr.themes.Base:
    """Quiet colours, and the fonts that the visitor's system has: nothing to fetch."""
    return gr.themes.Default(
        primary_hue=gr.themes.Color(*texts.HUE, name="accompgen"),
        secondary_hue="sky",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size="lg",
    ).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        color_accent="*primary_600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )


def build_page(studio: Studio) -> gr.Blocks:
    """The page, not yet served."""
    limits = texts.limits(studio.max_duration_s, studio.max_bytes, FILES_LIVE_S, readable_formats())
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(600, FILES_LIVE_S)) as page:
        gr.HTML(texts.intro(studio.max_duration_s), elem_id="intro")
        if studio.is_placeholder:
            gr.HTML(texts.note(texts.PLACEHOLDER_NOTE))
        with gr.Row(elem_id="studio"):
            with gr.Column(scale=4, min_width=320):
                parts = _add_controls(studio)
                gr.HTML(f'<p class="small">{limits}</p>')
            with gr.Column(scale=5, min_width=320, elem_id="results"):
                parts.player = gr.HTML(
                    [],
                    html_template=texts.PLAYER,
                    js_on_load=(_HERE / "player.js").read_text("utf-8"),
                    apply_default_css=False,
                    elem_id="player",
                )
        _connect(page, parts, Handlers(studio, parts))
        add_endpoints(studio)
    return page


def _add_controls(studio: Studio) -> SimpleNamespace:
    parts = SimpleNamespace()
    parts.recording = gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label="Your voice",
        elem_id="recording",
        buttons=[],
        waveform_options=gr.WaveformOptions(
            waveform_color="#b8bdc9", waveform_progress_color=texts.LANE_COLORS["vocals"]
        ),
    )
    parts.example = gr.Button("No recording? Take nine seconds of ours", size="sm", elem_id="example")
    parts.go = gr.Button("Make the band", variant="primary", size="lg", elem_id="go")
    parts.stop = gr.Button("Stop", variant="stop", size="lg", elem_id="stop", visible=False)
    # Screen readers read this text aloud; the bar beside it changes too often for that.
    parts.status = gr.HTML(elem_id="status", js_on_load="element.setAttribute('aria-live', 'polite')")
    parts.bar = gr.HTML(elem_id="bar")
    with gr.Accordion("Choices", open=False, elem_id="choices"):
        takes = gr.Slider(
            1, MAX_VARIATIONS, value=1, step=1, label="Takes", info="How many different bands", elem_id="takes"
        )
        style = gr.Dropdown(
            [("Any", ANY_STYLE), *((name.replace("_", " ").capitalize(), name) for name in studio.style_names)],
            value=ANY_STYLE,
            label="Style",
            visible=bool(studio.style_names),
            elem_id="style",
        )
        told = _add_told_fields(studio.is_listening)
        is_quick = gr.Checkbox(label="Quick sketch", info="Sooner, with a duller sound", elem_id="quick")
        guidance = gr.Slider(
            0,
            MAX_GUIDANCE_SCALE,
            value=studio.default_guidance_scale,
            step=0.5,
            label="Guidance",
            info="How strongly the band follows your voice",
            elem_id="guidance",
        )
        seed = gr.Textbox(  # not a `Number`, which turns nothing into 0
            label="Seed",
            placeholder="new every time",
            info="The same seed makes the same band again",
            max_length=10,
            elem_id="seed",
        )
    parts.was_stopped = gr.Checkbox(visible=False)
    parts.choices = [takes, is_quick, guidance, seed, style, *told]  # in the order of `Handlers.run`
    return parts


def _add_told_fields(is_visible: bool) -> tuple[gr.Dropdown, gr.Textbox, gr.Textbox]:
    """Fields of key, tempo and chords of the song."""
    key = gr.Dropdown(
        [("Hear it", ""), *((name, name) for name in KEYS)],
        value="",
        label="Key",
        info="Of the song, if you know it",
        visible=is_visible,
        elem_id="key",
    )
    tempo = gr.Textbox(
        label="Tempo",
        placeholder="heard",
        info="Beats a minute, if you know it",
        max_length=10,
        visible=is_visible,
        elem_id="tempo",
    )
    chords = gr.Textbox(
        label="Chords",
        placeholder="0.0 2.5 Am\n2.5 5.0 F",
        info="Start and end in seconds and a name in each line, or bars; the rest is heard",
        lines=3,
        max_lines=8,
        max_length=MAX_CHORDS_CHARACTERS,
        visible=is_visible,
        elem_id="chords",
    )
    return key, tempo, chords


def _connect(page: gr.Blocks, parts: SimpleNamespace, handlers: "Handlers") -> None:
    """Say which click runs what. None of it is a public interface: programs use the endpoints of `api`."""
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    controls = [parts.go, parts.stop, parts.status, parts.bar]
    parts.example.click(lambda: str(SHIPPED_VOCALS), None, parts.recording, **quiet)
    run = parts.go.click(handlers.begin, None, [*controls, parts.was_stopped], queue=False, **quiet).then(
        handlers.run,
        [parts.recording, *parts.choices],
        [*controls, parts.player],
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=parts.status,  # gradio shows there who waits at which place
    )
    again = parts.player.regenerate(
        handlers.play_anew,
        None,
        [*controls, parts.was_stopped, parts.player],
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=parts.status,
    )
    # A cancelled run also counts as failed. The browser notes who has stopped it before the server hears of it.
    parts.stop.click(None, None, parts.was_stopped, js="() => true", queue=False, **quiet)
    parts.stop.click(handlers.stop, None, controls, queue=False, cancels=[run, again], **quiet)
    for job in (run, again):
        job.failure(handlers.fail, parts.was_stopped, controls, queue=False, **quiet)
    page.load(None, js=f"() => {{ {(_HERE / 'upload.js').read_text('utf-8')} }}")
    page.unload(handlers.leave)


class Handlers:
    """What the buttons do: turn the studio's answers into updates of the page's parts."""

    def __init__(self, studio: Studio, parts: SimpleNamespace):
        self.studio, self.parts = studio, parts

    def begin(self) -> dict:
        """Show that the job has begun, at once, before it waits in the queue."""
        return {
            **self._controls(is_running=True, words=texts.status(texts.WAITING)),
            self.parts.was_stopped: False,
        }

    def run(
        self,
        path: str | None,
        takes: int,
        is_quick: bool,
        guidance: float,
        seed: str,
        style: str,
        key: str,
        tempo: str,
        chords: str,
        request: gr.Request,
    ) -> Iterator[dict]:
        """Make the takes of one recording, and show progress and results as they come."""

        def order() -> Iterator[Progress | FinishedTake]:
            is_default = guidance == self.studio.default_guidance_scale
            chosen = None if style == ANY_STYLE else style
            told = (key or None, read_tempo(tempo), read_chords(chords))
            settings = Settings(read_seed(seed), takes, None if is_default else guidance, is_quick, chosen, *told)
            yield from self.studio.accompany(request.session_hash, path, settings)

        yield from self._follow(order())

    def play_anew(self, event: gr.EventData, request: gr.Request) -> Iterator[dict]:
        """Make the span anew that was chosen in the player, which sends what take it is of."""
        yield self.begin()
        yield from self._follow(self._order_span(event._data, request.session_hash))

    def _order_span(self, sent: dict[str, Any], visitor: str) -> Iterator[Progress | FinishedTake]:
        # Names of files come from the browser: only what gradio keeps for visitors is read.
        kept = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
        try:
            paths = [Path(sent[name]).resolve() for name in ("recording", "archive")]
            span = ChosenSpan(str(paths[1]), float(sent["start_s"]), float(sent["end_s"]), sent["part"])
        except (KeyError, TypeError, ValueError) as error:
            raise Refused("Choose a part of the take first.") from error
        if not all(path.is_relative_to(kept) for path in paths):
            raise Refused("The take is not there any more. Make a new one.")
        yield from self.studio.regenerate(visitor, str(paths[0]), span)

    def _follow(self, steps: Iterator[Progress | FinishedTake]) -> Iterator[dict]:
        words, made = None, []
        try:
            for step in steps:
                if isinstance(step, FinishedTake):
                    # All of this run: should two updates meet on their way, the last one has both.
                    made = [*made, describe_take(step)]
                    yield {self.parts.player: made}
                    continue
                described = texts.describe(step)
                updates = {self.parts.bar: gr.update(value=texts.bar(step))}
                if described != words:  # a screen reader reads each of these aloud, so only what is new is sent
                    updates[self.parts.status] = gr.update(value=texts.status(described))
                words = described
                yield updates
        except Stopped:
            yield self._controls(words=texts.status(texts.STOPPED))
        except Refused as error:
            yield self._controls(words=texts.failure(str(error)))
        except Exception:
            traceback.print_exc()
            yield self._controls(words=texts.failure(texts.BROKEN))
        else:
            yield self._controls(words=texts.status(texts.DONE))
        finally:
            steps.close()

    def stop(self, request: gr.Request) -> dict:
        """Stop the visitor's job."""
        self.studio.stop(request.session_hash)
        return self._controls(words=texts.status(texts.STOPPED))

    def fail(self, was_stopped: bool) -> dict:
        """Answer a run that was cancelled or could not begin: the queue is full, or gradio refused what was sent."""
        words = texts.status(texts.STOPPED) if was_stopped else texts.failure(texts.BUSY)
        return self._controls(words=words)

    def leave(self, request: gr.Request) -> None:
        """End the visitor's job when the tab is closed: nobody waits for the result."""
        self.studio.stop(request.session_hash)

    def _controls(self, is_running: bool = False, words: str = "") -> dict[Any, dict]:
        return {
            self.parts.go: gr.update(visible=not is_running),
            self.parts.stop: gr.update(visible=is_running),
            self.parts.status: gr.update(value=words),
            self.parts.bar: gr.update(value=""),
        }
