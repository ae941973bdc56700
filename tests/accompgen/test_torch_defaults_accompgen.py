"""What a program sets as torch's defaults changes no sample, and is as before afterwards."""

import copy
import pickle

import numpy as np
import pytest
import torch

from accompgen_hf.accompgen.pipeline_accompgen import VocalAccompanimentPipeline
from accompgen_hf.accompgen.torch_defaults_accompgen import usual_torch_defaults
from tiny import tiny_model

VOCALS = {"array": (0.1 * np.sin(np.arange(4800) * 0.1)).astype(np.float32), "sampling_rate": 16_000}
QUICK = {"seed": 1, "preview": True, "show_progress": False}


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=tiny_model(), device="cpu")


@pytest.fixture(scope="module")
def expected(pipe):
    return pipe(VOCALS, **QUICK)["audio"]


@pytest.fixture(params=["bfloat16", "meta"])
def other_defaults(request):
    if request.param == "meta":
        torch.set_default_device("meta")
    else:
        torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.usefixtures("other_defaults")
def test_other_defaults_of_torch_change_no_sample(pipe, expected):
    before = torch.get_default_dtype(), torch.get_default_device()
    np.testing.assert_array_equal(pipe(VOCALS, **QUICK)["audio"], expected)
    stream = pipe.stream(VOCALS, seed=1, preview=True)
    assert len(np.concatenate([audio for _, audio in stream])) == len(expected)
    assert (torch.get_default_dtype(), torch.get_default_device()) == before
    with pytest.raises(RuntimeError), usual_torch_defaults():
        raise RuntimeError
    assert (torch.get_default_dtype(), torch.get_default_device()) == before


@pytest.mark.usefixtures("other_defaults")
def test_the_model_alone_stands_on_the_usual_defaults_too(pipe):
    with usual_torch_defaults():
        input_values = torch.zeros(1, 640 * 12)
    assert pipe.model.generate(input_values, seed=1, preview=True).audio.dtype == torch.float32


def test_a_pickled_pipeline_makes_the_same_audio(pipe, expected):
    other = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(other(VOCALS, **QUICK)["audio"], expected)
    tensors = pipe.model.state_dict()
    assert list(other.model.state_dict()) == list(tensors)  # the names enter the fingerprint
    assert not other.model.training
    codec = copy.deepcopy(pipe.model.codec)
    assert all(torch.equal(tensor, tensors[f"codec.{name}"]) for name, tensor in codec.state_dict().items())


def test_temperature_0_is_the_likeliest_code(pipe):
    greedy = pipe(VOCALS, do_sample=False, **QUICK)["audio"]
    np.testing.assert_array_equal(pipe(VOCALS, temperature=0, **QUICK)["audio"], greedy)
    assert pipe.model.stage_settings(temperature=0.0, fine_kwargs={"temperature": 0.5}) == {
        "semantic": {"do_sample": False},
        "coarse": {"do_sample": False},
        "fine": {"temperature": 0.5},
    }


def test_an_array_and_its_rate_are_one_recording(pipe, expected):
    array, rate = VOCALS["array"], VOCALS["sampling_rate"]
    for pair in ((array, rate), (rate, array), [rate, array], (torch.from_numpy(array), torch.tensor(rate))):
        np.testing.assert_array_equal(pipe(pair, **QUICK)["audio"], expected)
    assert len(pipe([array, array], sampling_rate=rate, **QUICK)) == 2
    assert len(pipe([(array, rate), (rate, array)], **QUICK)) == 2
