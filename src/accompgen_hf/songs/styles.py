"""The accompaniment styles of procedural songs, as data: layers with instruments and rhythm patterns, and drum grids.

A pattern is one bar of sixteenth notes (16 steps in 4/4, 12 in 3/4), repeated through a section. In every pattern `.`
is a rest and `-` holds. Bass: `r` root, `f` fifth, `t` third, `o` octave, `a` a step towards the next root. Chords:
`x` all notes. Arpeggio: a digit is a note of the voicing, ringing on. Drums: `X` accent, `x` normal, `o` soft.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One player: what is played (`role`), on what, how loud, where.

    Attributes:
        role (`str`): "bass", "chords", "strum", "arpeggio" or "lead" (a line where nobody sings).
        instruments (`tuple[str, ...]`): Choices, one per song.
        patterns (`dict[int, tuple[str, ...]]`): Choices by meter, one per kind of section.
        level_db (`float`): Level before mastering.
        centre_pitch (`int`): MIDI pitch that voicings lie around.
        least_intensity (`float`): The layer rests in sections quieter than this (intro 0.5, verse 0.7, chorus 1).
    """

    role: str
    instruments: tuple[str, ...]
    patterns: dict[int, tuple[str, ...]]
    level_db: float = 0.0
    centre_pitch: int = 60
    least_intensity: float = 0.0


@dataclass(frozen=True)
class Style:
    """Tempo range, meters, swing, layers and drums (by meter: pairs of verse and chorus grids)."""

    tempo_bpm: tuple[float, float]
    meters: tuple[int, ...]
    layers: tuple[Layer, ...]
    kit: str
    drums: dict[int, tuple[dict[str, str], ...]]
    drum_level_db: float = 0.0
    swing: float = 0.5
    swing_probability: float = 0.0
    room_rt60_s: tuple[float, float] = (0.5, 1.4)
    room_level: float = 0.15


_BASS_ROOTS = {4: ("r-------r---f---", "r-----r-r---o---", "r-----------f-a-"), 3: ("r-------f---", "r-----------")}
_BASS_EIGHTHS = {4: ("r-r-r-r-r-r-r-r-", "r-r-r-r-r-r-o-a-", "r--r--r-r-r-f-o-"), 3: ("r-r-r-r-f-f-",)}
_PAD = {4: ("x---------------",), 3: ("x-----------",)}
_LEAD = {4: ("0---1---2---1---", "0-----1-2---3---", "2---1-0-1-------"), 3: ("0---1---2---", "0-------1---")}

STYLES: dict[str, Style] = {
    "rock_band": Style(
        tempo_bpm=(96.0, 170.0),
        meters=(4,),
        layers=(
            Layer("bass", ("electric_bass", "picked_bass"), _BASS_EIGHTHS, 0.0, 38),
            Layer(
                "chords",
                ("drive_guitar",),
                {4: ("x-x-x-x-x-x-x-x-", "x---x-x---x-x---", "x-------x-------")},
                -2.0,
                50,
            ),
            Layer("strum", ("clean_guitar", "piano"), {4: ("x---x-x-..x-x-x-", "x-x-x-x-x-x-x-x-")}, -3.0, 62),
            Layer("chords", ("organ",), _PAD, -9.0, 64, 0.9),
            Layer("lead", ("lead_guitar",), _LEAD, -4.0, 72),
        ),
        kit="rock",
        drums={
            4: (
                {"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "x.o.x.o.x.o.x.o."},
                {"kick": "X.....x.X.x.....", "snare": "....X.......X...", "ride": "x.x.x.x.x.x.x.x."},
                {"kick": "X..x....x.x.....", "snare": "....X..o....X...", "open_hat": "x...x...x...x..."},
            )
        },
    ),
    "piano_ballad": Style(
        tempo_bpm=(60.0, 92.0),
        meters=(4, 4, 3),
        layers=(
            Layer("bass", ("electric_bass", "upright_bass"), _BASS_ROOTS, -2.0, 38),
            Layer(
                "arpeggio",
                ("piano",),
                {4: ("0-1-2-1-3-1-2-1-", "0-1-2-3-2-1-2-1-"), 3: ("0-1-2-3-2-1-", "0-2-1-2-3-2-")},
                1.0,
                60,
            ),
            Layer("chords", ("piano",), {4: ("x---x---x---x---", "x-------x---x---"), 3: ("x---x---x---",)}, -4.0, 57),
            Layer("chords", ("strings", "pad"), _PAD, -6.0, 64, 0.65),
            Layer("lead", ("flute", "piano"), _LEAD, -4.0, 76),
        ),
        kit="soft",
        drums={
            4: (
                {"kick": "x.......x.......", "rim": "....x.......x...", "hat": "o.o.o.o.o.o.o.o."},
                {"kick": "X.....x.x.......", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
            ),
            3: (
                {"kick": "x...........", "rim": "....o...o...", "hat": "o.o.o.o.o.o."},
                {"kick": "X...........", "snare": "....x...x...", "hat": "x.o.x.o.x.o."},
            ),
        },
        drum_level_db=-4.0,
        room_rt60_s=(1.0, 2.2),
        room_level=0.25,
    ),
    "waltz": Style(
        tempo_bpm=(84.0, 168.0),
        meters=(3,),
        layers=(
            Layer("bass", ("upright_bass", "tuba"), {3: ("r---........", "r-------....")}, 0.0, 40),
            Layer("chords", ("accordion", "piano", "nylon_guitar"), {3: ("....x-..x-..", "....x---x---")}, 0.0, 62),
            Layer("chords", ("strings",), _PAD, -6.0, 66, 0.65),
            Layer("lead", ("accordion", "flute"), _LEAD, -3.0, 76),
        ),
        kit="soft",
        drums={
            3: (
                {"kick": "x...........", "brush": "....x...x...", "hat": "....o...o..."},
                {"kick": "X...........", "snare": "....x...x...", "ride": "x...x...x..."},
            )
        },
        drum_level_db=-4.0,
        room_rt60_s=(0.8, 1.8),
    ),
    "folk_guitar": Style(
        tempo_bpm=(72.0, 140.0),
        meters=(4, 4, 3),
        layers=(
            Layer(
                "bass", ("upright_bass", "electric_bass"), {4: ("r-------f-------",), 3: ("r-------f---",)}, -2.0, 40
            ),
            Layer(
                "strum",
                ("steel_guitar",),
                {4: ("x---x-x-..x-x-x-", "x---x-x-x---x-x-"), 3: ("x---x-x-x-x-", "x---x---x-x-")},
                1.0,
                58,
            ),
            Layer(
                "arpeggio",
                ("steel_guitar", "nylon_guitar"),
                {4: ("0-2-1-3-0-2-1-3-",), 3: ("0-2-3-1-3-2-",)},
                -2.0,
                60,
            ),
            Layer("chords", ("accordion", "strings"), _PAD, -8.0, 66, 0.9),
            Layer("lead", ("flute", "steel_guitar"), _LEAD, -3.0, 74),
        ),
        kit="soft",
        drums={
            4: (
                {"shaker": "x.o.x.o.x.o.x.o.", "kick": "x.......x......."},
                {"shaker": "xoxoxoxoxoxoxoxo", "kick": "X.......X.....x.", "rim": "....x.......x..."},
            ),
            3: (
                {"shaker": "x.o.x.o.x.o.", "kick": "x..........."},
                {"tambourine": "....x...x...", "kick": "X...........", "shaker": "x.o.x.o.x.o."},
            ),
        },
        drum_level_db=-3.0,
    ),
    "synth_pop": Style(
        tempo_bpm=(96.0, 136.0),
        meters=(4,),
        layers=(
            Layer("bass", ("synth_bass",), {4: ("r-r-r-r-r-r-r-r-", "r-o-r-o-r-o-r-o-", "r--r--r-r--r--o-")}, 0.0, 38),
            Layer("chords", ("pad", "strings"), _PAD, -5.0, 62),
            Layer("chords", ("saw_pluck", "electric_piano"), {4: ("x--x--x-x--x--x-", "..x-..x-..x-..x-")}, -3.0, 64),
            Layer("arpeggio", ("saw_pluck", "bell"), {4: ("0123210301232103", "0-2-1-3-0-2-1-3-")}, -5.0, 72, 0.65),
            Layer("lead", ("saw_lead",), _LEAD, -5.0, 76),
        ),
        kit="electronic",
        drums={
            4: (
                {"kick": "X...X...X...X...", "clap": "....x.......x...", "hat": "..x...x...x...x."},
                {
                    "kick": "X...X...X...X...",
                    "clap": "....X.......X...",
                    "open_hat": "..x...x...x...x.",
                    "hat": "o.o.o.o.o.o.o.o.",
                },
                {"kick": "X.....x...x.....", "snare": "....X.......X...", "hat": "xoxoxoxoxoxoxoxo"},
            )
        },
    ),
    "chamber_strings": Style(
        tempo_bpm=(60.0, 112.0),
        meters=(4, 3),
        layers=(
            Layer("bass", ("cello",), {4: ("r-------r-------", "r---------------"), 3: ("r-----------",)}, 0.0, 43),
            Layer(
                "chords", ("strings",), {4: ("x-------x-------", "x---------------"), 3: ("x-----------",)}, 0.0, 62
            ),
            Layer(
                "chords", ("pizzicato",), {4: ("x---x---x---x---", "..x-..x-..x-..x-"), 3: ("....x---x---",)}, -1.0, 67
            ),
            Layer("arpeggio", ("harp",), {4: ("0-1-2-3-2-1-2-3-",), 3: ("0-1-2-3-2-1-",)}, -3.0, 64, 0.65),
            Layer("lead", ("flute", "cello"), _LEAD, -2.0, 76),
        ),
        kit="orchestra",
        drums={
            4: (
                {"kick": "x...............", "tambourine": "........o......."},
                {"kick": "X.......x.......", "tambourine": "....x.......x..."},
            ),
            3: ({"kick": "x..........."}, {"kick": "X...........", "tambourine": "....o...o..."}),
        },
        drum_level_db=-3.0,
        room_rt60_s=(1.2, 2.4),
        room_level=0.3,
    ),
    "reggae": Style(
        tempo_bpm=(68.0, 96.0),
        meters=(4,),
        layers=(
            Layer(
                "bass",
                ("sub_bass", "electric_bass"),
                {4: ("r-..r-r-..o-r-..", "r---..r-f-..r-..", "..r-r-..f-r-....")},
                -1.0,
                38,
            ),
            Layer("chords", ("clean_guitar", "piano"), {4: ("....x-......x-..", "..x-..x-..x-..x-")}, 2.0, 64),
            Layer("chords", ("organ",), {4: ("..x-x.x-..x-x.x-", "..x-..x-..x-..x-")}, -1.0, 60),
            Layer("lead", ("brass",), _LEAD, -4.0, 70),
        ),
        kit="rock",
        drums={
            4: (
                {"kick": "........X.......", "rim": "........X.......", "hat": "x.o.x.o.x.o.x.o."},
                {"kick": "X...X...X...X...", "snare": "........X.......", "hat": "x.oox.o.x.oox.o."},
            )
        },
        swing=0.58,
        swing_probability=0.5,
    ),
    "bossa_nova": Style(
        tempo_bpm=(96.0, 150.0),
        meters=(4,),
        layers=(
            Layer("bass", ("upright_bass",), {4: ("r-----f-r-----r-", "r-----r-f-----r-")}, -0.5, 38),
            Layer("chords", ("nylon_guitar",), {4: ("x-..x-..x-x-..x-", "x--x--x---x--x--")}, 1.0, 60),
            Layer("chords", ("electric_piano", "strings"), _PAD, -6.0, 64, 0.65),
            Layer("lead", ("flute", "vibraphone"), _LEAD, -3.0, 76),
        ),
        kit="soft",
        drums={
            4: (
                {"kick": "x.....x.x.....x.", "rim": "x.....x.....x...", "shaker": "xoxoxoxoxoxoxoxo"},
                {"kick": "x.....x.x.....x.", "rim": "x.....x...x.....", "hat": "x.o.x.o.x.o.x.o."},
            )
        },
        drum_level_db=-3.0,
    ),
    "soul_organ": Style(
        tempo_bpm=(66.0, 120.0),
        meters=(4, 4, 3),
        layers=(
            Layer(
                "bass",
                ("electric_bass",),
                {4: ("r-----r-f---o-a-", "r-..r-r-..f-o-a-"), 3: ("r-----f-o-a-",)},
                0.0,
                38,
            ),
            Layer("chords", ("organ",), {4: ("x-----x-x-------", "x---------------"), 3: ("x-----------",)}, -1.0, 62),
            Layer(
                "chords",
                ("piano", "electric_piano"),
                {4: ("x---x---x---x---", "x-x-..x-x-x-..x-"), 3: ("x---x---x---",)},
                -2.0,
                60,
            ),
            Layer("chords", ("brass",), {4: ("......x-......x.",), 3: ("........x-x.",)}, -5.0, 67, 0.9),
            Layer("lead", ("brass", "organ"), _LEAD, -4.0, 72),
        ),
        kit="rock",
        drums={
            4: (
                {"kick": "X.....x...x.....", "snare": "....X..o.o..X...", "hat": "x.x.x.x.x.x.x.x."},
                {
                    "kick": "X..x..x...x.....",
                    "snare": "....X..o....X..o",
                    "tambourine": "..x...x...x...x.",
                    "hat": "x.o.x.o.x.o.x.o.",
                },
            ),
            3: (
                {"kick": "X.........x.", "snare": "....x...x...", "hat": "x.o.x.o.x.o."},
                {"kick": "X.....x.....", "snare": "....X...X...", "ride": "x.o.x.o.x.o."},
            ),
        },
        swing=0.6,
        swing_probability=0.4,
    ),
    "swing_jazz": Style(
        tempo_bpm=(100.0, 170.0),
        meters=(4,),
        layers=(
            Layer(
                "bass", ("upright_bass",), {4: ("r---t---r---a---", "r---f---o---a---", "r---t---o---t---")}, -1.0, 40
            ),
            Layer(
                "chords",
                ("piano", "clean_guitar"),
                {4: ("x---x---x---x---", "x---..x---......", "x-....x-..x-....")},
                2.0,
                62,
            ),
            Layer("chords", ("brass",), {4: ("......x-......x.", "x.....x.........")}, -4.0, 66, 0.9),
            Layer("lead", ("brass", "vibraphone"), _LEAD, -3.0, 72),
        ),
        kit="soft",
        drums={
            4: (
                {"kick": "o...o...o...o...", "ride": "x...x.o.x...x.o.", "hat": "....x.......x..."},
                {
                    "kick": "x...o...x...o...",
                    "ride": "x...X.o.x...X.o.",
                    "snare": "......o.......x.",
                    "hat": "....x.......x...",
                },
            )
        },
        drum_level_db=-2.0,
        swing=0.64,
        swing_probability=1.0,
    ),
}
