"""The task with parts and a style: stems by name that add up to the accompaniment, also where its peaks are bent."""

import functools
import tracemalloc
import weakref

import numpy as np
import pytest
import torch

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen import pipeline_accompgen
from accompgen_hf.accompgen.audio_accompgen import bend_parts, soften_peaks
from tiny import tiny_model, tiny_part_model

STEPS_OF_24_BITS = 2**-23


@functools.cache
def make_pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=tiny_part_model())


def make_vocals(duration_s: float = 0.5, rate: int = 22_050) -> dict:
    tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(round(duration_s * rate)) / rate)
    return {"array": tone.astype(np.float32), "sampling_rate": rate}


@pytest.mark.parametrize("rate", [None, "input"])
def test_stems_add_up_to_the_accompaniment(rate):
    result = make_pipe()(make_vocals(), seed=3, style="rock", output_sampling_rate=rate)
    assert list(result["stems"]) == ["drums", "bass", "other"]
    total = sum(stem.astype(np.float64) for stem in result["stems"].values())
    assert np.abs(total - result["audio"]).max() <= 2 * STEPS_OF_24_BITS
    assert all(stem.dtype == np.float32 for stem in result["stems"].values())
    assert not np.array_equal(result["stems"]["drums"], result["stems"]["bass"])


def test_a_choice_of_parts_a_stream_and_known_codes():
    asked = {"seed": 3, "style": "rock", "parts": ["drums", "other"], "window_batch_size": 1}
    result = make_pipe()(make_vocals(), return_codes=True, **asked)
    assert list(result["stems"]) == ["drums", "other"]
    assert result["coarse_codes"].shape[:2] == (2, 4)
    stream = make_pipe().stream(make_vocals(), **asked)
    pieces = [{"audio": audio, **stream.stems} for _, audio in stream]
    assert len(pieces) > 1
    for name, expected in {"audio": result["audio"], **result["stems"]}.items():
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), expected)
    again = make_pipe()(make_vocals(), known_codes=result, parts=["drums", "other"], window_batch_size=1)
    np.testing.assert_array_equal(again["audio"], result["audio"])


def test_a_stream_at_another_rate_gives_the_stems_of_the_call():
    asked = {"seed": 3, "output_sampling_rate": "input", "window_batch_size": 1}
    result = make_pipe()(make_vocals(), **asked)
    stream = make_pipe().stream(make_vocals(), seed=3, output_sampling_rate="input")
    pieces = [stream.stems for _ in stream]
    for name, expected in result["stems"].items():
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), expected)


def test_every_recording_of_a_list_may_have_a_style_of_its_own():
    vocals, asked = make_vocals(), {"window_batch_size": 1, "parts": ["bass"], "preview": True}
    alone = {style: make_pipe()(vocals, seed=3, style=style, **asked)["audio"] for style in ("rock", "bossa_nova")}
    together = make_pipe()([vocals] * 3, seed=[3, 3, 3], style=["rock", "bossa_nova", "rock"], **asked)
    for result, style in zip(together, ("rock", "bossa_nova", "rock"), strict=True):
        np.testing.assert_array_equal(result["audio"], alone[style])
    varied = make_pipe()([vocals] * 2, seed=3, style=["rock", None], num_variations=2, **asked)
    np.testing.assert_array_equal(varied[0][0]["audio"], alone["rock"])
    plain = make_pipe()(vocals, seed=5, **asked)
    np.testing.assert_array_equal(varied[1][0]["audio"], plain["audio"])
    with pytest.raises(ValueError, match="`style` must be one name or a list of 2, got 1"):
        make_pipe()([vocals] * 2, style=["rock"])


def test_what_a_model_has_not_is_refused_with_what_it_has():
    with pytest.raises(ValueError, match="`parts` must be a list of names out of drums, bass, other, got"):
        make_pipe()(make_vocals(), parts=["guitar"])
    with pytest.raises(ValueError, match="`style` must be one of any, bossa_nova, rock, got 'polka'"):
        make_pipe()(make_vocals(), style="polka")
    plain = VocalAccompanimentPipeline(model=tiny_model())
    assert "stems" not in plain(make_vocals(0.12), seed=1)
    with pytest.raises(ValueError, match="`style` must be left out: this model knows no styles"):
        plain(make_vocals(0.12), style="rock")


def test_bent_peaks_of_a_sum_bend_every_part_alike():
    generator = torch.Generator().manual_seed(0)
    parts = (2 * torch.rand(3, 5000, generator=generator) - 1).numpy()
    total = parts.sum(axis=0)
    bent = soften_peaks(total)
    scaled = bend_parts(parts, total, bent)
    assert np.abs(scaled.sum(axis=0, dtype=np.float64) - bent).max() <= 2 * STEPS_OF_24_BITS
    is_bent = np.abs(total) > 0.9
    assert is_bent.any()
    np.testing.assert_allclose(scaled[0, is_bent] / parts[0, is_bent], (bent / total)[is_bent], rtol=1e-5)
    np.testing.assert_array_equal(scaled[:2, ~is_bent], parts[:2, ~is_bent])


def peak_of(call, *arrays) -> int:
    """Bytes that a call takes at most, its result among them."""
    tracemalloc.start()
    try:
        call(*arrays)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_peaks_of_long_recordings_are_bent_in_the_memory_of_the_result():
    parts = np.random.default_rng(0).uniform(-1, 1, (3, 1 << 22)).astype(np.float32)
    total = parts.sum(axis=0)
    bent = soften_peaks(total)
    assert peak_of(soften_peaks, total) < 1.5 * total.nbytes
    assert peak_of(bend_parts, parts, total, bent) < 1.5 * parts.nbytes
    expected = bend_parts(parts, total, bent)
    assert peak_of(bend_parts, parts, total, bent, parts) < 0.5 * parts.nbytes
    assert np.array_equal(parts, expected)


def test_a_songs_sounds_stay_where_the_model_has_laid_them_down(monkeypatch):
    pipe, mix, is_gone = make_pipe(), pipeline_accompgen.mix, []
    noise = np.random.default_rng(0).normal(size=(1, 3, 12_480)).astype(np.float32)
    parts, audio = noise.copy(), noise.sum(1)
    reference = weakref.ref(audio)
    outputs = [{"audio": torch.from_numpy(audio), "stems": torch.from_numpy(parts)}]  # tensors hold the arrays
    del audio
    monkeypatch.setattr(pipe.model, "generate", lambda *args, **kwargs: [outputs.pop()])

    def mix_and_look(*args):
        is_gone.append(reference() is None)
        return mix(*args)

    monkeypatch.setattr(pipeline_accompgen, "mix", mix_and_look)
    result = pipe(make_vocals(), seed=3)
    assert is_gone == [True]
    assert all(np.shares_memory(stem, parts) for stem in result["stems"].values())
    total = noise[0].sum(0)[:12_000]
    np.testing.assert_array_equal(result["audio"], soften_peaks(total))
    expected = bend_parts(noise[0, :, :12_000], total, soften_peaks(total))
    np.testing.assert_array_equal(np.stack(list(result["stems"].values())), expected)
