"""Programs, kits and keys of General MIDI that the songs use."""

from accompgen_hf.songs.general_midi import DRUM_KEYS, DRUM_KITS, PROGRAMS, SOLOISTS
from accompgen_hf.songs.instruments import TONES
from accompgen_hf.songs.styles import STYLES


def test_at_least_forty_programs_and_six_kits_are_in_use():
    instruments = {name for style in STYLES.values() for layer in style.layers for name in layer.instruments}
    assert instruments <= set(PROGRAMS)
    assert set(PROGRAMS) == set(TONES)
    assert len({program for name in instruments for program in PROGRAMS[name]}) >= 40
    assert len({kit for style in STYLES.values() for kit in DRUM_KITS[style.kit]}) >= 6
    used = {*sum(PROGRAMS.values(), ()), *sum(SOLOISTS.values(), ())}
    assert not used & {52, 53, 54, 85}  # voices
    assert used <= set(range(112)) | {112}  # no sound effects


def test_every_drum_of_the_styles_has_a_key():
    drums = {drum for style in STYLES.values() for grids in style.drums.values() for grid in grids for drum in grid}
    assert drums <= set(DRUM_KEYS)
