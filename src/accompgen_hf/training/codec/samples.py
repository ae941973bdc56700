"""What a codec in training sounds and looks like: a few seconds of songs through it, as audio and spectrograms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec
from accompgen_hf.training.codec.losses import magnitudes
from accompgen_hf.training.codec.material import SongTracks

NUM_SAMPLE_SONGS = 3
SAMPLE_DURATION_S = 5
WINDOW_SIZE = 2048
TOP_HZ = 6000


@torch.no_grad()
def write_samples(model: AccompGenCodec, songs: Sequence[SongTracks], folder: Path, step: int) -> None:
    """Write `step-<step>.png` with spectrograms and one `step-<step>-<song>.wav` per song into a folder.

    The songs are the first, the last and those between at equal distances: some of each folder of `songs_dir`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    was_training = model.training
    model.eval()
    sampling_rate = model.config.sampling_rate
    indices = sorted({round(place) for place in np.linspace(0, len(songs) - 1, NUM_SAMPLE_SONGS)})
    figure = Figure(figsize=(5 * len(indices), 6), layout="constrained")
    columns = figure.subplots(2, len(indices), squeeze=False).T
    for number, (index, (above, below)) in enumerate(zip(indices, columns, strict=True)):
        song = songs[index]
        samples = song.samples[song.rows("instrumental"), : SAMPLE_DURATION_S * sampling_rate]
        waveform = torch.from_numpy(samples.astype(np.float32).sum(axis=0) / 32767)[None]  # (1, N)
        decoded = reconstruct(model, waveform)
        for axes, shown, title in ((above, waveform, "song"), (below, decoded, f"codec, step {step}")):
            draw_spectrogram(axes, shown[0], sampling_rate, title)
        soundfile.write(folder / f"step-{step:07d}-{number}.wav", decoded[0].clamp(-1, 1).numpy(), sampling_rate)
    figure.savefig(folder / f"step-{step:07d}.png", dpi=80)
    model.train(was_training)


@torch.no_grad()
def reconstruct(model: AccompGenCodec, waveform: torch.Tensor) -> torch.Tensor:
    """Encode at the highest bandwidth and decode a waveform `(batch_size, num_samples)`; it comes back on the CPU."""
    parameter = next(model.parameters())
    codes = model.encode(
        waveform[:, None].to(parameter.device), bandwidth=model.config.target_bandwidths[-1]
    ).audio_codes
    return model.decode(codes, [None]).audio_values[:, 0, : waveform.shape[1]].float().cpu()


def draw_spectrogram(axes: Axes, waveform: torch.Tensor, sampling_rate: int, title: str) -> None:
    """Draw magnitudes in dB up to `TOP_HZ` over seconds, 80 dB below the loudest."""
    level = 20 * magnitudes(waveform[None], WINDOW_SIZE)[0].log10().numpy()  # (F, T)
    num_bins = round(TOP_HZ * WINDOW_SIZE / sampling_rate)
    extent = (0, waveform.shape[0] / sampling_rate, 0, TOP_HZ)
    axes.imshow(
        level[:num_bins],
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="inferno",
        vmin=level.max() - 80,
        vmax=level.max(),
    )
    axes.set_title(title)
