"""Which General MIDI programs and drum kits play the instruments of a procedural song.

Programs count from 0, as in MIDI messages: 0 is the grand piano, 127 the gunshot. Human voices (programs 52 to 54 and
85) are left out: an accompaniment must not sing.
"""

PROGRAMS: dict[str, tuple[int, ...]] = {
    "piano": (0, 0, 0, 1, 1, 2, 3),
    "electric_piano": (4, 5, 4, 5, 2, 7),
    "nylon_guitar": (24, 24, 24, 26),
    "steel_guitar": (25, 25, 25, 24, 105),
    "clean_guitar": (27, 27, 26, 28),
    "drive_guitar": (29, 30),
    "lead_guitar": (29, 30, 27, 84),
    "harp": (46, 46, 24, 108, 6),
    "pizzicato": (45,),
    "organ": (16, 17, 18, 18, 19, 20),
    "accordion": (21, 21, 23, 22),
    "strings": (48, 49, 48, 49, 50, 51, 44),
    "cello": (42, 43, 70, 41),
    "pad": (89, 90, 94, 95, 50, 88, 99),
    "brass": (61, 61, 62, 57, 60, 65, 66),
    "flute": (73, 73, 71, 68, 74, 75, 40),
    "saw_pluck": (81, 90, 86, 62, 63),
    "saw_lead": (81, 80, 87, 86, 82),
    "bell": (98, 14, 9, 10, 112, 11),
    "vibraphone": (11, 11, 12, 13),
    "electric_bass": (33, 33, 33, 35, 34, 36),
    "picked_bass": (34, 34, 33, 37),
    "upright_bass": (32, 32, 32, 35),
    "synth_bass": (38, 39, 87),
    "sub_bass": (39, 38, 33),
    "tuba": (58, 58, 67, 43),
}
# A line where nobody sings is given to a soloist: these play what the layer's name says only as sections.
SOLOISTS: dict[str, tuple[int, ...]] = {
    "brass": (56, 57, 59, 64, 65, 66, 67, 71),
    "flute": (73, 74, 75, 71, 68, 69, 78, 72, 40, 110),
    "cello": (42, 41, 40),
    "accordion": (21, 22, 23),
}
# Kits of bank 128: 0 standard, 8 room, 16 power, 24 electronic, 25 TR-808, 32 jazz, 40 brush, 48 orchestra.
DRUM_KITS: dict[str, tuple[int, ...]] = {
    "rock": (0, 0, 8, 16),
    "soft": (0, 8, 32, 32, 40),
    "electronic": (24, 25, 24, 25, 16),
    "orchestra": (48, 0),
}
DRUM_KEYS: dict[str, int] = {
    "kick": 36,
    "snare": 38,
    "rim": 37,
    "clap": 39,
    "tom_high": 48,
    "tom_mid": 47,
    "tom_low": 43,
    "hat": 42,
    "open_hat": 46,
    "ride": 51,
    "crash": 49,
    "shaker": 82,
    "tambourine": 54,
    "brush": 38,
}
# Programs whose tone stays as long as the key is held: they are played legato, others are let ring or damped.
SUSTAINED = frozenset((*range(16, 24), *range(40, 45), *range(48, 52), *range(56, 80), *range(80, 96), 99, 110))
