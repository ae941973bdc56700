"""`model.generate(**processor(audio, sampling_rate=...))`, the idiom of Transformers: one recording, and batches."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import accompgen_hf
from accompgen_hf import AccompGenForConditionalGeneration, AccompGenProcessor, VocalAccompanimentPipeline
from accompgen_hf.accompgen.padded_batches_accompgen import list_known_codes
from tiny import tiny_model

RATE = 24_000
CODES = ("vocal_semantic_ids", "instrumental_semantic_ids", "coarse_codes", "fine_codes")


@pytest.fixture(scope="module")
def model() -> AccompGenForConditionalGeneration:
    return tiny_model()


@pytest.fixture(scope="module")
def processor() -> AccompGenProcessor:
    return AccompGenProcessor()


def make_vocals(num_samples: int, seed: int = 0) -> np.ndarray:
    tone = 0.2 * np.sin(2 * np.pi * (200 + 70 * seed) * np.arange(num_samples) / RATE)
    return (tone + 0.02 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def test_what_the_processor_gives_goes_into_generate_and_forward(model, processor):
    vocals = make_vocals(5001)
    inputs = processor(vocals, sampling_rate=RATE, seed=3)
    output = model.generate(**inputs, seed=3)
    assert output.audio.shape == (1, 5001)  # as long as the vocals, to the sample
    assert torch.equal(model.forward(**inputs, seed=3).audio, output.audio)
    assert torch.equal(model(**processor(audio=vocals, sampling_rate=RATE, seed=3), seed=3).audio, output.audio)
    expected = VocalAccompanimentPipeline(model=model)(vocals, sampling_rate=RATE, seed=3)["audio"]
    np.testing.assert_array_equal(processor.batch_decode(output)[0], expected)


def test_every_item_of_a_padded_batch_is_cut_to_its_length_and_equals_itself_alone(model, processor):
    takes = [make_vocals(length, seed) for seed, length in enumerate((4801, 9600, 2400))]
    output = model.generate(**processor(audio=takes, sampling_rate=RATE, padding=True, seed=[5, 6, 7]), seed=5)
    assert output.audio.shape == (3, 9600)
    assert output.output_num_samples.tolist() == [4801, 9600, 2400]
    waveforms = processor.batch_decode(output)
    for item, take in enumerate(takes):
        alone = model.generate(**processor(take, sampling_rate=RATE, seed=5 + item), seed=5 + item)
        for name in CODES:
            codes = getattr(output, name)[item]
            num_frames = getattr(alone, name).shape[-1]
            assert torch.equal(codes[..., :num_frames], getattr(alone, name)[0])
            assert bool((codes[..., num_frames:] == -1).all())
        assert waveforms[item].shape == take.shape
        torch.testing.assert_close(output.audio[item, : len(take)], alone.audio[0], atol=1e-5, rtol=0)
        assert not output.audio[item, len(take) :].any()


def test_a_mask_alone_says_what_is_padding(model, processor):
    takes = [make_vocals(4800), make_vocals(9600, 1)]
    inputs = processor(takes, sampling_rate=RATE)
    by_mask = model.generate(inputs["input_values"], attention_mask=inputs["attention_mask"], seed=1)
    assert by_mask.output_num_samples.tolist() == [4800, 9600]
    assert torch.equal(by_mask.audio, model.generate(**inputs, seed=1).audio)


def test_codes_of_a_padded_batch_are_known_to_the_next_call(model, processor):
    inputs = processor([make_vocals(4800), make_vocals(9600, 1)], sampling_rate=RATE)
    preview = model.generate(**inputs, seed=1, preview=True)
    known = {name: preview[name] for name in CODES if name in preview}
    assert torch.equal(
        model.generate(**inputs, seed=1, known_codes=known).audio, model.generate(**inputs, seed=1).audio
    )


def test_lengths_and_masks_that_do_not_fit_are_refused(model, processor):
    inputs = processor([make_vocals(4800), make_vocals(9600, 1)], sampling_rate=RATE)
    values, mask = inputs["input_values"], inputs["attention_mask"]
    with pytest.raises(ValueError, match=r"`attention_mask` must have the shape of `input_values`, \(2, 6400\)"):
        model.generate(values, attention_mask=mask[:, :-1])
    with pytest.raises(ValueError, match="`attention_mask` must mark padding at the end of a row alone"):
        model.generate(values, attention_mask=mask.flip(1))
    with pytest.raises(ValueError, match=r"`num_samples` must be one number per row of `input_values` \(2\)"):
        model.generate(values, num_samples=torch.tensor([640]))
    with pytest.raises(ValueError, match="`num_samples` must be multiples of 640 between 640 and 6400, got 1000"):
        model.generate(values, num_samples=torch.tensor([1000, 6400]))
    with pytest.raises(ValueError, match="`output_num_samples` must be between 1 and what a row gives, got 9601"):
        model.generate(values, num_samples=[3200, 6400], output_num_samples=[4800, 9601])
    with pytest.raises(ValueError, match="`attention_mask`, `num_samples` and `output_num_samples` belong to a batch"):
        model.generate(list(values), attention_mask=mask)


def test_the_processor_takes_the_words_of_transformers(processor):
    take = make_vocals(4800)
    by_name = processor(audio=take, sampling_rate=RATE, padding="longest")
    assert torch.equal(by_name["input_values"], processor(take, sampling_rate=RATE)["input_values"])
    with pytest.raises(ValueError, match="Give the recording once, as `vocals` or as `audio`"):
        processor(take, audio=take, sampling_rate=RATE)
    with pytest.raises(ValueError, match="Give the recording once, as `vocals` or as `audio`"):
        processor(sampling_rate=RATE)
    with pytest.raises(ValueError, match="`padding` must be True or \"longest\", got 'max_length'"):
        processor(take, sampling_rate=RATE, padding="max_length")
    with pytest.raises(ValueError, match="`padding` is False, but the recordings differ in length"):
        processor([take, make_vocals(9600)], sampling_rate=RATE, padding=False)
    assert len(processor((RATE, take))["input_values"]) == 1  # a pair of rate and array is one recording


def test_the_readmes_lines_run(model, processor, monkeypatch, tmp_path):
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    [block] = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "batch_decode" in block]
    VocalAccompanimentPipeline(model=model, processor=processor).save_pretrained(tmp_path)
    monkeypatch.setattr(accompgen_hf, "DEFAULT_MODEL", str(tmp_path))
    names = {"accompgen_hf": accompgen_hf, "verse": make_vocals(8820), "chorus": make_vocals(17_640, 1)}
    exec(compile(block, "README.md", "exec"), names)
    assert names["band_of_verse"].shape == (4800,)
    assert names["band_of_chorus"].shape == (9600,)


def test_known_codes_are_one_dict_for_a_batch_and_a_list_for_recordings():
    batch = {"vocal_semantic_ids": torch.tensor([[1, 2, 3, 4], [5, 6, -1, -1]])}
    first, second = list_known_codes(batch, [1280, 640], 2)
    assert first["vocal_semantic_ids"].tolist() == [[1, 2, 3, 4]]
    assert second["vocal_semantic_ids"].tolist() == [[5, 6]]
    assert list_known_codes([{}, batch], None, 2) == [{}, batch]
    assert list_known_codes(None, [1280, 640], 2) == list_known_codes(None, None, 2) == [{}, {}]
    with pytest.raises(ValueError, match=r"one dict for a batch in one tensor.*got list for one tensor"):
        list_known_codes([batch, batch], [1280, 640], 2)
    with pytest.raises(ValueError, match="a list of dicts for a list of recordings, got dict for a list"):
        list_known_codes(batch, None, 2)
