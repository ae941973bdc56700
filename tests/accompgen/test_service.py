"""What a server needs of one pipeline object: threads, cancelling, global state, memory."""

import gc
import logging
import os
import random
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from accompgen_hf import VocalAccompanimentPipeline
from tiny import tiny_model


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=tiny_model(), device="cpu")


def vocals(index: int, num_samples: int = 6400) -> np.ndarray:
    return (0.3 * np.sin(np.arange(num_samples) * (0.02 + 0.01 * index))).astype(np.float32)


def accompany(pipe, index: int, **options) -> np.ndarray:
    settings = {"sampling_rate": 16_000, "seed": index, "show_progress": False, **options}
    return pipe(vocals(index), **settings)["audio"]


def test_eight_threads_give_the_audio_of_serial_calls(pipe):
    options = [
        {"guidance_scale": 1.0 + index % 3, "top_k": 4 + index, "preview": index % 2 == 0} for index in range(8)
    ]
    serial = [accompany(pipe, index, **options[index]) for index in range(8)]
    barrier = threading.Barrier(8)

    def run(index: int) -> np.ndarray:
        barrier.wait(timeout=60)
        return accompany(pipe, index, **options[index])

    with ThreadPoolExecutor(8) as threads:
        parallel = list(threads.map(run, range(8)))
    for alone, together in zip(serial, parallel, strict=True):
        assert np.array_equal(alone, together)
    assert len({audio.tobytes() for audio in serial}) == 8


def test_a_call_leaves_the_global_state_as_it_was(pipe):
    def state():
        return (
            random.getstate(),
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            list(warnings.filters),
            warnings.showwarning,
            logging.getLogger("transformers").level,
            dict(os.environ),
            pipe.model.semantic.generation_config.to_dict(),
        )

    before = state()
    accompany(pipe, 0)
    assert state() == before


def test_the_callback_stops_the_work_within_one_window(pipe):
    class Cancelled(Exception):
        pass

    heard = []

    def callback(stage, seconds):
        heard.append((stage, seconds))
        if len(heard) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        pipe(vocals(0, 48_000), sampling_rate=16_000, seed=0, callback=callback, show_progress=False)
    assert [stage for stage, _ in heard] == ["semantic", "semantic"]
    assert accompany(pipe, 1).shape == (9600,)  # and the object goes on working


@pytest.mark.slow
def test_a_hundred_calls_leave_the_memory_within_five_percent(pipe):
    def resident_bytes() -> int:
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc/self/statm")

    def call(index: int) -> None:
        if index % 5 == 4:
            with pytest.raises(ValueError, match="audio"):
                pipe(b"not audio", seed=index)
        else:
            accompany(pipe, index % 8)

    for index in range(20):
        call(index)
    before = resident_bytes()
    for index in range(100):
        call(index)
    after = resident_bytes()
    print(f"resident memory {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after 100 calls")
    assert after < 1.05 * before
