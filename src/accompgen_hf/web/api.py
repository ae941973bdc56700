"""Endpoints for programs: gradio_client, MCP, and whatever speaks HTTP. The page itself does not use them."""

import secrets
from collections.abc import Iterator

import gradio as gr

from accompgen_hf.accompgen.parts_accompgen import ANY_STYLE
from accompgen_hf.app.result_folders import list_audio
from accompgen_hf.web.choices import Refused, Settings, read_chords
from accompgen_hf.web.earlier_takes import ChosenSpan
from accompgen_hf.web.studio import FinishedTake, Progress, Studio

ALL_PLAYERS = "all"


def add_endpoints(studio: Studio) -> None:
    """Add the endpoints to the page that is being built. Their parameters are parts that nobody sees."""
    endpoints = Endpoints(studio)
    with gr.Row(visible=False):
        recording = gr.Audio(type="filepath", label="Recording of the voice")
        seed = gr.Number(label="Seed: the same one makes the same again; -1 draws a new one", value=-1, precision=0)
        guidance_scale = gr.Number(
            label="Guidance: how strongly the band follows the voice, 0 to 10", value=studio.default_guidance_scale
        )
        quick = gr.Checkbox(label="Quick sketch: sooner, with a duller sound", value=False)
        style = gr.Dropdown(
            [ANY_STYLE, *studio.style_names], label="Style, of those that the model knows", value=ANY_STYLE
        )
        told = [
            gr.Textbox(label="Key, if it is known", value=""),
            gr.Number(label="Tempo in beats per minute, 30 to 300; 0 hears it", value=0),
            gr.Textbox(label="Chords, as far as they are known: start, end and name in each line", value=""),
        ]
        results = [
            gr.Audio(type="filepath", label="Mix"),
            gr.Audio(type="filepath", label="The band alone"),
            gr.File(label="Zip file of the result folder, with settings.json"),
        ]
        gr.Button().click(
            endpoints.accompany, [recording, seed, guidance_scale, quick, style, *told], results, api_name="accompany"
        )
        take = gr.File(type="filepath", label="Zip file of an earlier take of this recording")
        times = [gr.Number(label="Start in seconds"), gr.Number(label="End in seconds")]
        player = gr.Dropdown([ALL_PLAYERS, *studio.part_names], label="Who plays it anew", value=ALL_PLAYERS)
        gr.Button().click(
            endpoints.regenerate, [recording, take, *times, seed, player], results, api_name="regenerate"
        )


class Endpoints:
    """What the endpoints do."""

    def __init__(self, studio: Studio):
        self.studio = studio

    # gradio sees by the `yield from` that these two give what they have before they end.
    def accompany(
        self,
        recording: str,
        seed: int = -1,
        guidance_scale: float | None = None,
        quick: bool = False,
        style: str = ANY_STYLE,
        key: str = "",
        tempo_bpm: float = 0,
        chords: str = "",
    ) -> Iterator[tuple[str, str, str]]:
        """Play a band to a recording of a singing voice. The results are wav files exactly as long as the recording.

        Args:
            recording (str): Audio file of one voice without a band, for example wav, flac, mp3 or m4a.
            seed (int): A whole number; the same seed makes the same band again. -1 draws a new one.
            guidance_scale (float): How strongly the band follows the voice, 0 to 10.
            quick (bool): A sketch: sooner, with a duller sound.
            style (str): One of the styles that the model knows, or "any".
            key (str): Key of the song if it is known, such as "A minor" or "Bb". Nothing lets the model hear it.
            tempo_bpm (float): Tempo in beats per minute if it is known, 30 to 300. 0 lets the model hear it.
            chords (str): Chords as far as they are known, a line for each: start and end in seconds and a name, such
                as "0.0 2.5 Am". Where none is given, the model finds its own.

        Returns:
            The mix of voice and band, the band alone, and a zip file of both with the settings that make them again.
        """
        is_default = guidance_scale is None or guidance_scale == self.studio.default_guidance_scale
        style = None if style == ANY_STYLE else style

        def order() -> Iterator[Progress | FinishedTake]:
            told = (key or None, tempo_bpm or None, read_chords(chords))
            own_seed, scale = None if seed == -1 else seed, None if is_default else guidance_scale
            yield from self.studio.accompany(
                _new_caller(), recording, Settings(own_seed, 1, scale, quick, style, *told)
            )

        yield from self._follow(order())

    def regenerate(
        self, recording: str, take: str, start_s: float, end_s: float, seed: int = -1, player: str = ALL_PLAYERS
    ) -> Iterator[tuple[str, str, str]]:
        """Make a span of an earlier take anew, and leave the rest as it is. Both ends move to the nearest beats.

        Args:
            recording (str): The audio file that the take accompanies.
            take (str): The zip file of the take.
            start_s (float): Start of the span in seconds of the take's files, their count-in included.
            end_s (float): End of the span in the same seconds.
            seed (int): Seed of the span; -1 draws a new one.
            player (str): One part of the band, or "all".

        Returns:
            The mix of voice and band, the band alone, and a zip file of the new take.
        """
        span = ChosenSpan(take, start_s, end_s, None if player == ALL_PLAYERS else player)
        yield from self._follow(self.studio.regenerate(_new_caller(), recording, span, None if seed == -1 else seed))

    def _follow(self, steps: Iterator[Progress | FinishedTake]) -> Iterator[tuple[str, str, str]]:
        try:
            for step in steps:
                if isinstance(step, FinishedTake):
                    # Given while the job is open: gradio copies the files, which are deleted when it ends.
                    band, mix = list_audio(step.folder)[:2]
                    yield str(step.folder / mix), str(step.folder / band), str(step.archive)
        except Refused as error:
            raise gr.Error(str(error), print_exception=False) from error


def _new_caller() -> str:
    """A name that nobody else has: a caller's second job does not stop the first."""
    return f"api-{secrets.token_hex(8)}"
