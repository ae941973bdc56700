"""Turn any recording into the models' input: HuBERT's and EnCodec's feature extractors behind one call.

vocals -> mono -> 16 kHz -> one gain per recording -> zero-padded to the 40 ms grid -> keyed noise -> `input_values`.
Blocks are normalised one by one in the semantic encoder, so nothing is normalised here.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, EncodecFeatureExtractor, ProcessorMixin, Wav2Vec2FeatureExtractor

from .audio_accompgen import (
    fold_to_mono,
    integrated_loudness,
    is_rate_pair,
    load_audio,
    resample,
    resampled_length,
    soften_peaks,
)
from .configuration_accompgen import GRID_RATE
from .seeds_accompgen import resolve_seeds

NOISE_BLOCK_SAMPLES = 16_000  # the noise is drawn in blocks of 1 s at 16 kHz
VOCAL_GATE_LUFS = -60.0


def output_num_samples(num_samples: int, sampling_rate: int, output_sampling_rate: int = 24_000) -> int:
    """Length of the accompaniment for a recording of `num_samples`: `round(num_samples * output rate / rate)`."""
    return resampled_length(num_samples, sampling_rate, output_sampling_rate)


def padded_num_samples(num_samples: int, sampling_rate: int, padded_sampling_rate: int = 16_000) -> int:
    """Length in samples at `padded_sampling_rate` of the 40 ms steps that cover `num_samples` at `sampling_rate`.

    The exact duration is rounded up, so that padded vocals give an accompaniment that is never shorter than they are.
    """
    num_steps = -(-num_samples * GRID_RATE // sampling_rate)
    return num_steps * padded_sampling_rate // GRID_RATE


def vocal_gain(
    vocals: np.ndarray,
    sampling_rate: int,
    target_lufs: float | None = -20.0,
    gate_lufs: float = VOCAL_GATE_LUFS,
) -> float:
    """The factor that brings a recording to `target_lufs` (BS.1770).

    Returns:
        1.0 if `target_lufs` is `None` (the paper has no level), if the recording is near silence (below `gate_lufs`),
        and if it is too short to measure (under 0.4 s).
    """
    if target_lufs is None:
        return 1.0
    return gain_of_loudness(integrated_loudness(vocals, sampling_rate), target_lufs, gate_lufs)


def gain_of_loudness(loudness: float, target_lufs: float | None = -20.0, gate_lufs: float = VOCAL_GATE_LUFS) -> float:
    """`vocal_gain` of a recording whose loudness in LUFS is known."""
    return 1.0 if target_lufs is None or loudness < gate_lufs else 10 ** ((target_lufs - loudness) / 20)


def level_vocals(
    vocals: np.ndarray,
    sampling_rate: int,
    target_lufs: float | None = -20.0,
    gate_lufs: float = VOCAL_GATE_LUFS,
) -> np.ndarray:
    """Apply `vocal_gain` to a whole recording, never to a clip or window of it. Returns a float32 copy."""
    gain = vocal_gain(vocals, sampling_rate, target_lufs, gate_lufs)
    return np.asarray(vocals, dtype=np.float32) * np.float32(gain)


def vocal_noise(seed: int, item: int, start_sample: int, num_samples: int, noise_std: float = 0.01) -> np.ndarray:
    """White Gaussian noise at 16 kHz that depends on (seed, item, absolute sample) alone (paper §3.2, "Noisy").

    Streams, blocks and whole recordings therefore hear the same noise wherever they are cut.

    Args:
        seed (`int`): Seed of the noise, not negative.
        item (`int`): Index of the recording, not negative.
        start_sample (`int`): Start of the piece in its recording.
        num_samples (`int`): Length of the piece.
        noise_std (`float`): Standard deviation, full scale being 1.0.

    Returns:
        float32 array of shape `(num_samples,)`.

    Raises:
        ValueError: If a number is negative.
    """
    numbers = {"seed": seed, "item": item, "start_sample": start_sample, "num_samples": num_samples}
    for name, value in {**numbers, "noise_std": noise_std}.items():
        if value < 0:
            raise ValueError(f"`{name}` must not be negative, got {value}.")
    seed, item = int(seed), int(item)
    noise = np.zeros(num_samples, dtype=np.float32)
    if noise_std == 0 or num_samples == 0:
        return noise
    end_sample = start_sample + num_samples
    for block in range(start_sample // NOISE_BLOCK_SAMPLES, -(-end_sample // NOISE_BLOCK_SAMPLES)):
        words = [seed & 0xFFFFFFFF, seed >> 32, item & 0xFFFFFFFF, item >> 32, block]
        # RandomState's numbers are frozen for good; those of numpy's newer Generator may change between versions.
        random = np.random.RandomState(np.random.Philox(np.random.SeedSequence(words)))
        values = random.standard_normal(NOISE_BLOCK_SAMPLES).astype(np.float32)
        first = block * NOISE_BLOCK_SAMPLES
        start, end = max(start_sample, first), min(end_sample, first + NOISE_BLOCK_SAMPLES)
        noise[start - start_sample : end - start_sample] = values[start - first : end - first]
    return noise * np.float32(noise_std)


class AccompGenProcessor(ProcessorMixin):
    """Prepares vocals for the semantic encoder, and instrumentals for the semantic encoder and the codec.

    Args:
        semantic_feature_extractor (`Wav2Vec2FeatureExtractor`): HuBERT's extractor, which states the rate and pads.
            Its `do_normalize` is not used: the semantic encoder normalises each block alone.
        codec_feature_extractor (`EncodecFeatureExtractor`): EnCodec's mono extractor.
        vocal_target_lufs (`float`, *optional*): Loudness that one gain per recording gives the vocals, in LUFS; `None`
            leaves them as they are, as the paper does.
        noise_std (`float`): Standard deviation of the noise added to the vocals; the paper's is 0.01.
        vocal_gate_lufs (`float`): Quieter recordings are near silence and not amplified.

    Raises:
        ValueError: If a number is out of its range, or an extractor is not mono or its rate does not fit the grid.
        TypeError: If an extractor is not a feature extractor.
    """

    def __init__(
        self,
        semantic_feature_extractor: Wav2Vec2FeatureExtractor | None = None,
        codec_feature_extractor: EncodecFeatureExtractor | None = None,
        vocal_target_lufs: float | None = -20.0,
        noise_std: float = 0.01,
        vocal_gate_lufs: float = VOCAL_GATE_LUFS,
        **kwargs: Any,
    ):
        if semantic_feature_extractor is None:
            semantic_feature_extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
        if codec_feature_extractor is None:
            codec_feature_extractor = EncodecFeatureExtractor()
        limits = {
            "vocal_target_lufs": (vocal_target_lufs, -60, 0, " LUFS or None"),
            "noise_std": (noise_std, 0, 1, ""),
            "vocal_gate_lufs": (vocal_gate_lufs, -120, 0, " LUFS"),
        }
        for name, (value, low, high, unit) in limits.items():
            is_off = name == "vocal_target_lufs" and value is None
            if not is_off and not (isinstance(value, Real) and low <= value <= high):  # a file may say anything
                raise ValueError(f"`{name}` must be between {low} and {high}{unit}, got {value!r}.")
        super().__init__(semantic_feature_extractor, codec_feature_extractor, **kwargs)
        for extractor in (semantic_feature_extractor, codec_feature_extractor):
            if extractor.feature_size != 1 or extractor.sampling_rate % GRID_RATE:
                raise ValueError(
                    f"`{type(extractor).__name__}` must be mono with a rate that is a multiple of {GRID_RATE} Hz, got "
                    f"feature_size {extractor.feature_size}, sampling_rate {extractor.sampling_rate}."
                )
        self.vocal_target_lufs = vocal_target_lufs
        self.noise_std = noise_std
        self.vocal_gate_lufs = vocal_gate_lufs

    @property
    def model_input_names(self) -> list[str]:
        """Names of the inputs that the processor makes."""
        return ["input_values", "attention_mask", "num_samples"]

    @property
    def sampling_rate(self) -> int:
        """Rate of the semantic encoder's input in Hz."""
        return self.semantic_feature_extractor.sampling_rate

    @property
    def output_sampling_rate(self) -> int:
        """Rate of the codec, and so of the accompaniment, in Hz."""
        return self.codec_feature_extractor.sampling_rate

    def __call__(
        self,
        vocals: Any = None,
        sampling_rate: int | None = None,
        seed: int | Sequence[int] = 0,
        instrumental: Any = None,
        return_tensors: str = "pt",
        allow_truncated: bool = False,
        audio: Any = None,
        padding: bool | str = True,
    ) -> BatchFeature:
        """Prepare one recording, or a list of them as a batch, for `model.generate(**inputs)`.

        Args:
            vocals: Anything `load_audio` takes, or a list of such.
            sampling_rate (`int`): Rate of bare arrays in Hz.
            seed (`int` or sequence of `int`): Seed of the noise. With one seed, item i of a list uses `seed + i`, as
                it would alone.
            instrumental: One instrumental per recording, for training pairs. They get neither level nor noise.
            return_tensors (`str`): "pt" or "np".
            allow_truncated (`bool`): The same as for `load_audio`.
            audio: The same as `vocals`, as Transformers calls it.
            padding (`bool` or `str`): Shorter recordings of a list are filled up to the longest with True or
                "longest", and refused with False.

        Returns:
            `BatchFeature` with `input_values` (B, num_samples) at 16 kHz, `attention_mask` (B, num_samples), and per
            item `num_samples` (B,), the part that is not batch padding, a multiple of 640, and `output_num_samples`
            (B,), the accompaniment's length at 24 kHz. With `instrumental` also `instrumental_input_values`
            (B, num_samples) at 16 kHz and `codec_input_values` (B, 1, num_samples * 3 / 2).

        Raises:
            ValueError, TypeError: If a recording is refused by `load_audio`, or the lists' lengths differ.
        """
        if (vocals is None) == (audio is None):
            raise ValueError("Give the recording once, as `vocals` or as `audio`.")
        vocals = audio if vocals is None else vocals
        if padding not in (True, False, "longest"):
            raise ValueError(f'`padding` must be True or "longest", got {padding!r}.')
        is_batch = isinstance(vocals, (list, tuple)) and not is_rate_pair(vocals)
        sources = list(vocals) if is_batch else [vocals]
        if not sources:
            raise ValueError("`vocals` is an empty list. Give at least one recording.")
        seeds = resolve_seeds(seed, len(sources))
        recordings = [load_audio(source, sampling_rate, allow_truncated=allow_truncated) for source in sources]
        prepared = [
            self.prepare_vocals(waveform, rate, key) for (waveform, rate), key in zip(recordings, seeds, strict=True)
        ]
        if padding is False and len({len(waveform) for waveform in prepared}) > 1:
            raise ValueError("`padding` is False, but the recordings differ in length: leave it out.")
        features = self._pad(prepared)
        features["num_samples"] = np.array([len(waveform) for waveform in prepared], dtype=np.int64)
        features["output_num_samples"] = np.array(
            [output_num_samples(waveform.shape[1], rate, self.output_sampling_rate) for waveform, rate in recordings],
            dtype=np.int64,
        )
        if instrumental is not None:
            others = list(instrumental) if isinstance(instrumental, (list, tuple)) else [instrumental]
            if len(others) != len(sources):
                raise ValueError(f"`instrumental` must be one per recording ({len(sources)}), got {len(others)}.")
            pairs = [
                self.prepare_instrumental(*load_audio(other, sampling_rate, allow_truncated=allow_truncated))
                for other in others
            ]
            features["instrumental_input_values"] = self._pad([pair[0] for pair in pairs])["input_values"]
            codec_features = self.codec_feature_extractor(
                [pair[1] for pair in pairs], sampling_rate=self.output_sampling_rate, return_tensors="np"
            )
            features["codec_input_values"] = codec_features["input_values"]
        return BatchFeature(features, tensor_type=return_tensors)

    def batch_decode(self, output: Any) -> list[np.ndarray]:
        """Take the accompaniments out of a model's output, each as long as its vocals, with peaks bent below 0.98.

        Args:
            output (`AccompGenOutput`): What `generate` returns for a tensor.

        Returns:
            `list` of float32 arrays of shape `(num_samples,)` at `output_sampling_rate`.
        """
        lengths = output.output_num_samples
        lengths = [output.audio.shape[1]] * len(output.audio) if lengths is None else lengths.tolist()
        waveforms = output.audio.float().cpu().numpy()
        return [soften_peaks(row[:length]) for row, length in zip(waveforms, lengths, strict=True)]

    def prepare_vocals(
        self,
        audio: np.ndarray | torch.Tensor,
        sampling_rate: int,
        seed: int = 0,
        item: int = 0,
        gain: float | None = None,
        start_sample: int = 0,
    ) -> np.ndarray:
        """Prepare one recording, or one piece of a stream: mono, 16 kHz, level, padding to the grid, noise.

        Args:
            audio: Waveform of shape `(num_samples,)` or `(channels, num_samples)`.
            gain (`float`, *optional*): Gain of the whole recording, if `audio` is a piece of it. If `None`, it is
                measured.
            start_sample (`int`): Start of the piece in its recording, at 16 kHz.

        Returns:
            float32 array of shape `(num_samples,)`, a multiple of 640 samples. The padding carries noise too.
        """
        waveform = resample(fold_to_mono(audio), sampling_rate, self.sampling_rate)
        if gain is None:
            gain = vocal_gain(waveform, self.sampling_rate, self.vocal_target_lufs, self.vocal_gate_lufs)
        waveform = self._fit(waveform, padded_num_samples(audio.shape[-1], sampling_rate, self.sampling_rate))
        waveform *= np.float32(gain)
        waveform += vocal_noise(seed, item, start_sample, len(waveform), self.noise_std)
        return waveform

    def prepare_instrumental(
        self, audio: np.ndarray | torch.Tensor, sampling_rate: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prepare one instrumental for the semantic encoder (16 kHz) and the codec (24 kHz): mono, padded to the grid.

        Returns:
            Two float32 arrays of the same duration, without level or noise: `(num_samples,)`, a multiple of 640, and
            `(num_samples * 3 / 2,)`.
        """
        mono = fold_to_mono(audio)

        def prepare(rate: int) -> np.ndarray:
            return self._fit(resample(mono, sampling_rate, rate), padded_num_samples(len(mono), sampling_rate, rate))

        return prepare(self.sampling_rate), prepare(self.output_sampling_rate)

    @staticmethod
    def _fit(waveform: np.ndarray, num_samples: int) -> np.ndarray:
        return np.pad(waveform, (0, max(0, num_samples - len(waveform))))[:num_samples]

    def _pad(self, waveforms: list[np.ndarray]) -> dict[str, np.ndarray]:
        padded = self.semantic_feature_extractor.pad(
            {"input_values": waveforms}, padding="longest", return_attention_mask=True, return_tensors="np"
        )
        return {name: padded[name] for name in ("input_values", "attention_mask")}
