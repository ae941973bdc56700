"""A tiny codec, its songs and its recipe."""

import numpy as np

from accompgen_hf.training.codec.arguments import CodecTrainingArguments
from accompgen_hf.training.codec.material import read_songs, write_songs
from accompgen_hf.training.codec.trainer import CodecTrainer

TINY_ENCODER = {"num_filters": 2, "hidden_size": 8, "upsampling_ratios": [8, 8, 5], "codebook_size": 16}
TINY_DECODER = {"decoder_dim": 16, "decoder_intermediate_dim": 32, "num_decoder_layers": 2}
TINY_MODEL = {**TINY_ENCODER, **TINY_DECODER, "target_bandwidths": [0.6, 1.2, 2.4]}


def tone(seed: int) -> dict[str, np.ndarray]:
    """Two seconds of a sine for the vocals and of another, with a pulse, for the instrumental."""
    time = np.arange(48_000) / 24_000
    vocals = 0.1 * np.sin(2 * np.pi * (300 + 20 * seed) * time)
    instrumental = 0.2 * np.sin(2 * np.pi * (110 + 10 * seed) * time) * (1 + np.sin(2 * np.pi * 2 * time)) / 2
    return {"vocals": vocals.astype(np.float32), "instrumental": instrumental.astype(np.float32)}


def tiny_arguments(folder, **overrides) -> CodecTrainingArguments:
    write_songs(folder / "songs" / "tones", range(3), tone)
    settings = {
        "output_dir": str(folder / "run"),
        "songs_dir": str(folder / "songs"),
        "max_steps": 6,
        "decay_share": 0.3,
        "num_continuous_steps": 3,
        "batch_size": 2,
        "clip_num_frames": 12,
        "warmup_steps": 1,
        "num_codebook_fit_batches": 4,
        "checkpoint_steps": 2,
        "sample_steps": 4,
        "log_steps": 1,
        "mel_scales": ((512, 20), (256, 10)),
        "spectrum_scales": ((1024, 2), (512, 1)),
        "discriminator_windows": (512, 256),
        "discriminator_channels": 4,
        "use_bf16": False,
        "model": TINY_MODEL,
    }
    return CodecTrainingArguments(**{**settings, **overrides})


def make_trainer(folder, **overrides) -> CodecTrainer:
    arguments = tiny_arguments(folder, **overrides)
    return CodecTrainer(arguments, read_songs(arguments.songs_dir))
