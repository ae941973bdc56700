"""STEM files as MUSDB18 has them, small: five AAC streams in an mp4, written by PyAV."""

import av
import numpy as np

from accompgen_hf.data.corpora import STEM_STREAMS

RATE = 44100


def tones(seconds: float = 0.5) -> dict[str, np.ndarray]:
    """A tone per stem, on other sides; the mix is their sum."""
    phase = 2 * np.pi * np.arange(round(seconds * RATE)) / RATE
    stems = {
        name: np.stack([0.1 * np.sin(frequency * phase), 0.05 * np.sin(frequency * phase)]).astype(np.float32)
        for name, frequency in zip(STEM_STREAMS[1:], (200, 300, 500, 800), strict=True)
    }
    return {"mix": sum(stems.values()), **stems}


def write_stem_file(path, stems: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        streams = [container.add_stream("aac", rate=RATE, layout="stereo", bit_rate=256_000) for _ in stems]
        for stream, audio in zip(streams, stems.values(), strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout="stereo")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
