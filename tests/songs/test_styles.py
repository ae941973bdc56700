"""Every style is complete."""

from accompgen_hf.songs.instruments import TONES
from accompgen_hf.songs.styles import STYLES


def test_every_pattern_is_one_bar_long_and_every_style_has_bass_chords_and_drums():
    for style in STYLES.values():
        roles = {layer.role for layer in style.layers}
        assert "bass" in roles
        assert roles & {"chords", "strum", "arpeggio"}
        for meter in set(style.meters):
            assert style.drums[meter]
            for layer in style.layers:
                assert {len(pattern) for pattern in layer.patterns[meter]} == {4 * meter}
                assert set(layer.instruments) <= set(TONES)
