"""The stream of the task: exact lengths, chunks of any size, level, rates, previews that go on, and every refusal."""

import resource
import time

import numpy as np
import pytest
import torch

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.audio_accompgen import ChunkResampler, integrated_loudness, resample
from accompgen_hf.accompgen.loudness_accompgen import LoudnessMeter
from accompgen_hf.accompgen.streaming_accompgen import AccompanimentStream
from tiny import quick_model, tiny_model

RATE = 22_050
SETTINGS = {"guidance_scale": 1.0}


@pytest.fixture(scope="module")
def pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=tiny_model())


def make_vocals(duration_s: float = 1.3, channels: int = 1) -> np.ndarray:
    num_samples = round(duration_s * RATE) + 7
    noise = np.random.default_rng(0).standard_normal((channels, num_samples))
    tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(num_samples) / RATE)
    audio = (tone + 0.02 * noise).astype(np.float32)
    return audio[0] if channels == 1 else audio


def as_dict(vocals: np.ndarray) -> dict:
    return {"array": vocals, "sampling_rate": RATE}


def chunks_of(vocals: np.ndarray, size: int):
    return (vocals[..., start : start + size] for start in range(0, vocals.shape[-1], size))


def join(stream) -> np.ndarray:
    return np.concatenate([audio for _, audio in stream])


@pytest.fixture(scope="module")
def whole(pipe) -> dict:
    return pipe(as_dict(make_vocals()), seed=3, window_batch_size=1, return_codes=True, **SETTINGS)


@pytest.mark.parametrize("output_sampling_rate", [None, "input"])
def test_a_stream_is_the_call_bit_for_bit_and_gapless(pipe, whole, output_sampling_rate):
    settings = {"output_sampling_rate": output_sampling_rate, "window_batch_size": 1, **SETTINGS}
    expected = pipe(as_dict(make_vocals()), known_codes=whole, **settings)
    stream = pipe.stream(as_dict(make_vocals()), seed=3, output_sampling_rate=output_sampling_rate, **SETTINGS)
    end_s = 0.0
    pieces = []
    for start_s, audio in stream:
        assert start_s == pytest.approx(end_s)
        assert audio.dtype == np.float32
        end_s += len(audio) / stream.sampling_rate
        pieces.append(audio)
    assert len(pieces) > 2
    assert (stream.seed, stream.sampling_rate) == (3, expected["sampling_rate"])
    assert stream.num_samples == len(expected["audio"])
    np.testing.assert_array_equal(np.concatenate(pieces), expected["audio"])
    assert stream.lead_sheet == expected["lead_sheet"] == whole["lead_sheet"]
    assert pipe.stream(as_dict(make_vocals()), seed=3, lead_sheet=False, **SETTINGS).lead_sheet is None


@pytest.mark.parametrize("size", [501, RATE])
def test_chunks_are_the_whole_at_the_same_level(pipe, size):
    vocals = make_vocals(channels=2)
    settings = {"seed": 3, "preview": True, "vocals_lufs": -21.0, **SETTINGS}
    expected = pipe(as_dict(vocals), window_batch_size=1, **settings)["audio"]
    np.testing.assert_array_equal(join(pipe.stream(as_dict(vocals), **settings)), expected)
    chunks = (torch.from_numpy(chunk) for chunk in chunks_of(vocals, size))
    np.testing.assert_array_equal(join(pipe.stream(chunks, sampling_rate=RATE, **settings)), expected)


def test_the_level_of_chunks_is_that_of_the_first_ten_seconds(pipe):
    vocals = np.resize(make_vocals(), 12 * RATE)
    vocals[10 * RATE :] *= 3.0
    heard = resample(vocals, RATE, 16_000)[:160_000]
    settings = {"seed": 1, "preview": True, "window_batch_size": 16, **SETTINGS}
    first = next(pipe.stream(chunks_of(vocals, 4000), sampling_rate=RATE, **settings))
    level = integrated_loudness(heard, 16_000)
    expected = next(pipe.stream(as_dict(vocals), vocals_lufs=level, **settings))
    np.testing.assert_array_equal(first[1], expected[1])


class EarPipe:
    """In the model's place: keeps what the stream lets it hear."""

    def stream(self, pieces, **_settings):
        self.heard = []
        for piece in pieces:
            self.heard.append(piece)
            yield torch.zeros(len(piece) * 3 // 2)


def hear(pipe, vocals: np.ndarray, size: int = 4000) -> np.ndarray:
    ear = EarPipe()
    list(AccompanimentStream(ear, pipe.processor, chunks_of(vocals, size), RATE, seed=1))
    return torch.cat(ear.heard).numpy()


@pytest.mark.parametrize("silence_s", [12, 70])
def test_chunks_that_begin_with_silence_get_the_level_of_their_first_sound(pipe, silence_s):
    vocals = np.concatenate([np.zeros(silence_s * RATE, np.float32), 0.05 * np.resize(make_vocals(), 11 * RATE)])
    heard = hear(pipe, vocals)
    expected = pipe.processor.prepare_vocals(vocals, RATE, seed=1)
    assert len(heard) == len(expected)
    sung = slice(silence_s * 16_000, None)
    assert np.corrcoef(heard[sung], expected[sung])[0, 1] > 0.999
    assert 20 * np.log10(heard[sung].std() / expected[sung].std()) == pytest.approx(0, abs=0.2)


def test_silence_is_held_back_for_a_minute_at_most(pipe):
    seconds = iter(range(100))
    chunks = (np.zeros(RATE, np.float32) for _ in seconds)
    next(AccompanimentStream(EarPipe(), pipe.processor, chunks, RATE, seed=1))
    assert 60 <= next(seconds) <= 62


@pytest.mark.parametrize("vocals_lufs", [None, -21.0])
def test_chunks_whose_channels_cancel_each_other_out_are_heard_as_one(pipe, vocals_lufs):
    vocals = make_vocals()
    ear = EarPipe()
    chunks = chunks_of(np.stack([vocals, -vocals]), 1000)
    with pytest.warns(UserWarning, match="The channels of `vocals` cancel each other out"):
        list(AccompanimentStream(ear, pipe.processor, chunks, RATE, 1, vocals_lufs))
    alone = EarPipe()
    list(AccompanimentStream(alone, pipe.processor, chunks_of(vocals, 1000), RATE, 1, vocals_lufs))
    np.testing.assert_array_equal(torch.cat(ear.heard), torch.cat(alone.heard))


def test_a_preview_goes_on_to_the_whole(pipe, whole):
    preview = pipe(as_dict(make_vocals()), seed=3, preview=True, window_batch_size=1, return_codes=True, **SETTINGS)
    stages = set()
    rest = pipe(
        as_dict(make_vocals()),
        known_codes=preview,
        window_batch_size=1,
        callback=lambda stage, seconds: stages.add(stage),
        **SETTINGS,
    )
    assert stages == {"fine"}
    assert rest["seed"] == 3
    np.testing.assert_array_equal(rest["audio"], whole["audio"])
    np.testing.assert_array_equal(
        join(pipe.stream(as_dict(make_vocals()), known_codes=preview, **SETTINGS)), rest["audio"]
    )


def test_a_list_takes_a_list_of_known_codes(pipe, whole):
    short = as_dict(make_vocals(0.2))
    preview = pipe(short, seed=9, preview=True, return_codes=True, **SETTINGS)
    results = pipe([as_dict(make_vocals()), short], known_codes=[whole, preview], batch_size=2, **SETTINGS)
    assert [result["seed"] for result in results] == [3, 9]
    np.testing.assert_allclose(results[0]["audio"], whole["audio"], atol=1e-5)
    with pytest.raises(ValueError, match="`known_codes` must be one result per recording"):
        pipe(short, known_codes=preview, num_variations=2)
    with pytest.raises(ValueError, match="`known_codes` must belong to this recording"):
        pipe(short, known_codes=whole, **SETTINGS)


def test_what_cannot_be_streamed_is_refused(pipe):
    with pytest.raises(ValueError, match="`sampling_rate` is needed with chunks of vocals"):
        pipe.stream(iter([make_vocals()]))
    with pytest.raises(ValueError, match=r"`vocals` must last at least 0\.1 s, got 100 samples at 22050 Hz"):
        list(pipe.stream(iter([make_vocals()[:100]]), sampling_rate=RATE))
    with pytest.raises(TypeError, match="A chunk of vocals must be an array or tensor, got str"):
        list(pipe.stream(iter(["a"]), sampling_rate=RATE))
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        list(pipe.stream(iter([np.full(RATE, np.nan, np.float32)]), sampling_rate=RATE))


@pytest.mark.parametrize("rates", [(44_100, 16_000), (24_000, 44_100), (16_000, 16_000), (8_000, 16_000)])
def test_resampled_chunks_are_the_resampled_whole(rates):
    audio = np.random.default_rng(0).standard_normal(rates[0] + 123).astype(np.float32)
    resampler, meter, pieces, start = ChunkResampler(*rates), LoudnessMeter(1, rates[0]), [], 0
    for size in np.random.default_rng(1).integers(1, 5000, 1000):
        pieces.append(resampler.push(audio[start : start + size]))
        meter.push(audio[None, start : start + size])
        start += size
    pieces.append(resampler.finish())
    np.testing.assert_array_equal(np.concatenate(pieces), resample(audio, *rates))
    sides, resampler = np.stack([audio, audio[::-1]]), ChunkResampler(*rates, num_channels=2)
    pieces = [resampler.push(sides[:, start : start + 997]) for start in range(0, len(audio), 997)]
    joined = np.concatenate([*pieces, resampler.finish()], axis=1)
    np.testing.assert_array_equal(joined, resample(sides, *rates))
    assert meter.loudness() == integrated_loudness(audio, rates[0])


@pytest.mark.slow
def test_an_hour_of_vocals_is_exactly_as_long_and_needs_no_more_memory():
    """OMP_NUM_THREADS=1 pytest -m slow tests/test_streaming_accompgen.py -k hour"""
    pipe = VocalAccompanimentPipeline(model=quick_model())
    second = make_vocals(1.0)[:RATE]

    def hour():
        for _ in range(3600):
            yield second
        yield second[:11]

    stream = pipe.stream(hour(), seed=1, sampling_rate=RATE, window_batch_size=64, **SETTINGS)
    for _ in range(3):
        next(stream)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in stream:
        pass
    growth_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert stream.num_samples == round((3600 * RATE + 11) * 24_000 / RATE)
    assert growth_mib <= 300


@pytest.mark.slow
def test_ten_times_the_song_costs_at_most_eleven_times_as_much():
    """OMP_NUM_THREADS=1 pytest -m slow tests/test_streaming_accompgen.py -k eleven"""
    pipe = VocalAccompanimentPipeline(model=quick_model())

    def cost_of(num_seconds: int) -> float:
        vocals = (make_vocals(1.0)[:RATE] for _ in range(num_seconds))
        start = time.process_time()
        for _ in pipe.stream(vocals, seed=1, sampling_rate=RATE, window_batch_size=16, **SETTINGS):
            pass
        return time.process_time() - start

    cost_of(20)  # warms up
    assert cost_of(600) <= 11 * cost_of(60)
