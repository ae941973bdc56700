"""How the musical scores of a result are named, and which way they are better; their order is the table's."""

from accompgen_hf.evaluation.protocol.table_values import Metric

SCORE_METRICS: dict[str, Metric] = {
    "key_exact": Metric("key"),
    "key_relative": Metric("key or relative"),
    "key_mirex": Metric("key, MIREX"),
    "chord_majmin": Metric("chords"),
    "chord_tone_energy": Metric("energy on chord tones"),
    "beat_f1": Metric("beats, F1"),
    "activity_coverage": Metric("active", None),
    "tempo_correct": Metric("tempo"),
    "tempo_octave": Metric("tempo or octave"),
    "chroma_cosine": Metric("chroma, truth"),
    "vocal_chroma_cosine": Metric("chroma, voice", None),
    "vocal_leakage_db": Metric("voice in it, dB", None, 1),
    "loudness_difference_lu": Metric("above voice, LU", None, 1),
    "clipping_rate": Metric("clipped", None, 4),
}
