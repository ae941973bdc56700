"""How songs are made, in one value for data sets and manifests: composition, singers, renderer and SoundFont."""

import os
from dataclasses import dataclass
from typing import Any

from accompgen_hf.accompgen.fingerprint_accompgen import hash_json
from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.composition import compose_song
from accompgen_hf.songs.song import Song, synthesize_song
from accompgen_hf.songs.soundfont import find_soundfont, import_tinysoundfont, soundfont_sha256
from accompgen_hf.songs.speech import require_speech


@dataclass(frozen=True)
class SongRecipe:
    """How songs are made; the fields are arguments of `generate_song`.

    Attributes:
        composition (`str`): `"plain"`, `"lead_sheets"`, `"arranged"`, or `"tunes"` for evaluation.
        singers (`str`): `"vowels"`, `"words"` or `"mixed"`.
        renderer (`str`): `"numpy"`, `"soundfont"` or `"mixed"`.
        soundfont (`str`, *optional*): General MIDI bank of the sampled instruments.
    """

    composition: str = "plain"
    singers: str = "vowels"
    renderer: str = "numpy"
    soundfont: str | os.PathLike | None = None

    def compose(self, seed: int, *, whole_song: bool = False, duration_s: float = 10.0) -> SongAnnotation:
        """Compose a song of this recipe; errors as those of `compose_song`."""
        return compose_song(
            seed, whole_song=whole_song, duration_s=duration_s, composition=self.composition, singers=self.singers
        )

    def generate(
        self,
        seed: int,
        *,
        whole_song: bool = False,
        duration_s: float = 10.0,
        sampling_rate: int = 24000,
        with_parts: bool = False,
    ) -> Song:
        """Compose and play a song of this recipe; errors as those of `generate_song`."""
        annotation = self.compose(seed, whole_song=whole_song, duration_s=duration_s)
        return self.synthesize(annotation, sampling_rate=sampling_rate, with_parts=with_parts)

    def synthesize(self, annotation: SongAnnotation, *, sampling_rate: int = 24000, with_parts: bool = False) -> Song:
        """Play an annotation with this recipe's instruments; errors as those of `synthesize_song`."""
        return synthesize_song(
            annotation, sampling_rate, renderer=self.renderer, soundfont=self.soundfont, with_parts=with_parts
        )

    def describe(self) -> dict[str, Any]:
        """What decides about the songs, for manifests: a SoundFont counts by its content, not by its name.

        Raises:
            ValueError: If the SoundFont is missing.
        """
        description = {"composition": self.composition, "singers": self.singers, "renderer": self.renderer}
        if self.renderer != "numpy":
            description["soundfont_sha256"] = soundfont_sha256(self.soundfont)
        return description

    def require(self) -> None:
        """Say at once what these songs need and what is missing, not at the first song that needs it.

        Raises:
            ImportError: If tinysoundfont, flite or pyworld is missing.
            ValueError: If the SoundFont is missing.
        """
        if self.renderer != "numpy":
            import_tinysoundfont()
            find_soundfont(self.soundfont)
        if self.singers != "vowels":
            require_speech()

    def tag(self) -> str:
        """What files of these songs have in their names: nothing for plain songs, which came first."""
        return "" if self == SongRecipe() else f"-{hash_json(self.describe())[:8]}"


PLAIN_SONGS = SongRecipe()
STUDIO_SONGS = SongRecipe("lead_sheets", "mixed", "mixed")
