"""Hostile and broken models: refused with file, field, expected and found; nothing of them is built or run."""

import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor, pipeline

from accompgen_hf import (
    AccompGenConfig,
    AccompGenFineConfig,
    AccompGenForConditionalGeneration,
    AccompGenProcessor,
)
from accompgen_hf.accompgen.model_checks_accompgen import (
    CODE_MAPS,
    CUSTOM_PIPELINES,
    find_weight_files,
    read_safetensors_header,
)
from tiny import tiny_config, tiny_model, tiny_stage


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny_model().save_pretrained(folder / "composite")
    tiny_stage(AccompGenFineConfig).save_pretrained(folder / "fine")
    return folder


@pytest.fixture
def composite(saved, tmp_path) -> Path:
    return shutil.copytree(saved / "composite", tmp_path / "composite")


@pytest.fixture
def fine(saved, tmp_path) -> Path:
    return shutil.copytree(saved / "fine", tmp_path / "fine")


@pytest.fixture(autouse=True)
def nothing_is_built_or_fetched(monkeypatch):
    """The names of what must not happen, raised as another kind of error than a refusal."""

    def forbidden(*args, **kwargs):
        raise AssertionError(f"must not be called: {args} {kwargs}")

    monkeypatch.setattr("transformers.dynamic_module_utils.get_class_from_dynamic_module", forbidden)
    monkeypatch.setattr("socket.socket.connect", forbidden)
    monkeypatch.setattr("torch.load", forbidden)
    monkeypatch.setattr("builtins.input", forbidden)


def change_config(folder: Path, path: str, value) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    *parents, name = path.split(".")
    target = config
    for parent in parents:
        target = target[parent]
    if value is None:
        del target[name]
    else:
        target[name] = value
    file.write_text(json.dumps(config))


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("trust_remote_code", True, "`trust_remote_code` must not be set by a model, found True"),
        ("_attn_implementation_internal", "evil/kernel", "`_attn_implementation_internal` must not be set by a model"),
        ("codec_config._attn_implementation", "evil/kernel", "`codec_config._attn_implementation` must not be set"),
        ("quantization_config", {"quant_method": "x"}, "`quantization_config` must not be set by a model"),
        ("transformers_weights", "../x", "`transformers_weights` must not be set by a model"),
        ("auto_map", {"AutoConfig": "evil/repo--x.Y"}, "`auto_map` must be .*, found .*evil/repo--x.Y"),
        ("auto_map", {"AutoConfig": "backdoor.AccompGenConfig"}, "`auto_map` must be .*found .*backdoor"),
        ("semantic_config.auto_map", {"AutoModel": "x.Y"}, "`semantic_config.auto_map` must be"),
        ("custom_pipelines", {"vocal-accompaniment": {"impl": "x.Y"}}, "`custom_pipelines` must be"),
        (
            "semantic_encoder_config.hubert_config.hidden_act",
            "evil/repo",
            "must not name a path or another repository",
        ),
        ("fine_config", None, "`fine_config` must be an object with that part's settings, found None"),
        (
            "codec_config",
            "facebook/encodec_24khz",
            "`codec_config` must be an object .*, found 'facebook/encodec_24khz'",
        ),
        ("semantic_config.num_clusters", 10**9, "`semantic_config.num_clusters` must be at most 1048576, found 10+"),
        ("coarse_config.vocab_size", 10**9, "`coarse_config.vocab_size` must be at most 1048576"),
        ("fine_config.num_hidden_layers", 10**6, "`fine_config.num_hidden_layers` must be at most 512"),
        ("semantic_encoder_config.layer", 10**6, "`semantic_encoder_config.layer` must be at most 512"),
        ("semantic_encoder_config.hubert_config.conv_dim", [8] * 1000, "must have at most 512 entries, found 1000"),
        ("noise_std", float("nan"), "`noise_std` must be at most 1048576, found nan"),
        ("bandwidth", "loud", "config.json: .*'bandwidth'.*got str"),
        ("coarse_config.num_clusters", 19, "`vocab_size` must be"),
        ("semantic_encoder_config.num_clusters", 19, "`num_clusters` of semantic_config is 20.* has 19 centroids"),
        ("codec_config.codebook_size", 32, "`codebook_size` of semantic_config is 16, but the codec has 32"),
    ],
)
def test_a_hostile_config_is_refused_when_it_is_read(composite, path, value, message):
    change_config(composite, path, value)
    with pytest.raises(ValueError, match=message):
        AutoConfig.from_pretrained(composite)


def test_a_config_of_another_type_is_refused():
    with pytest.raises(ValueError, match="`model_type` must be 'accompgen', found 'accompgen_fine'"):
        AccompGenConfig.from_dict({"model_type": "accompgen_fine"})


def test_our_own_code_names_are_no_offence_and_are_not_followed(composite):
    change_config(composite, "auto_map", CODE_MAPS["accompgen"])
    change_config(composite, "custom_pipelines", CUSTOM_PIPELINES)
    assert type(AutoModel.from_pretrained(composite)) is AccompGenForConditionalGeneration


def test_a_whole_model_loads_and_leaves_the_global_random_state(composite):
    state = torch.get_rng_state()
    loaded = AutoModel.from_pretrained(composite)
    assert torch.equal(torch.get_rng_state(), state)
    expected = tiny_model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_codebooks_that_the_codec_does_not_decode_are_refused(tmp_path):
    config = tiny_config(bandwidth=1.2)
    AccompGenForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"together must be 4, .* at `bandwidth` 1.2 kbps, found 8"):
        AutoModel.from_pretrained(tmp_path)


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def leave_a_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_off(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-100])


def add_bytes(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data + b"more")


def empty_the_file(folder):
    (folder / "model.safetensors").write_bytes(b"")


def nest_brackets(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)


def cut_off_in_the_header(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:50])


def claim_a_huge_header(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def write_nonsense(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 12) + b"[1, 2, 3, 4]")


def drop_a_weight(folder):
    change_weights(folder, lambda weights: weights.pop("heads.0.weight"))


def add_a_weight(folder):
    change_weights(folder, lambda weights: weights.update({"extra": torch.zeros(2)}))


def give_it_another_shape(folder):
    change_weights(folder, lambda weights: weights.update({"heads.0.weight": torch.zeros(3, 32)}))


def give_it_integers(folder):
    change_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.zeros(32, dtype=torch.int32)}))


def make_it_nan(folder):
    change_weights(folder, lambda weights: weights["heads.0.weight"][0].fill_(float("nan")))


def make_it_infinite(folder):
    change_weights(folder, lambda weights: weights["model.norm.weight"].fill_(float("inf")))


def lose_a_shard(folder):
    remove_weights(folder)
    index = {"weight_map": {"heads.0.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def point_outside(folder):
    remove_weights(folder)
    index = {"weight_map": {"heads.0.weight": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def spoil_the_index(folder):
    remove_weights(folder)
    (folder / "model.safetensors.index.json").write_text("[]")


def repeat_a_weight_in_two_shards(folder):
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def add_an_adapter(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/repo"}')


def add_a_distributed_checkpoint(folder):
    (folder / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_weights, "weights must be in model.safetensors, found no weights"),
        (leave_a_pickle, "weights must be in model.safetensors, found pytorch_model.bin, which can run code"),
        (cut_off, "must be a whole safetensors file, got: .* not fully covered. Was a copy or download cut off"),
        (add_bytes, "must be a whole safetensors file, got: .* not fully covered"),
        (cut_off_in_the_header, "must be a whole safetensors file, got: .* invalid header length"),
        (empty_the_file, "must be a whole safetensors file, got: .* header too small"),
        (claim_a_huge_header, "must be a whole safetensors file, got: .* header too large"),
        (write_nonsense, "must be a whole safetensors file, got: .* invalid JSON in header"),
        (nest_brackets, "must be a whole safetensors file, got: .* invalid JSON in header"),
        (drop_a_weight, "must hold exactly the 31 weights of AccompGenFineForCausalLM; missing: `heads.0.weight`"),
        (add_a_weight, "must hold exactly the 31 weights of AccompGenFineForCausalLM; unknown: `extra`"),
        (give_it_another_shape, r"`heads.0.weight` must have the shape \(16, 32\) .*, found \(3, 32\)"),
        (give_it_integers, "`model.norm.weight` must be one of .*, found I32"),
        (make_it_nan, "`heads.0.weight` must be finite, found NaN or infinity"),
        (make_it_infinite, "`model.norm.weight` must be finite, found NaN or infinity"),
        (lose_a_shard, "must find all its shards, missing: model-00002-of-00002.safetensors"),
        (point_outside, "`weight_map` must name .safetensors files beside it, found '../../secret.safetensors'"),
        (spoil_the_index, "`weight_map` must be an object of tensor names and files"),
        (repeat_a_weight_in_two_shards, "must be in one file, found it in .*a.safetensors too"),
        (add_an_adapter, "adapter_config.json must not be there"),
        (
            add_a_distributed_checkpoint,
            "weights must be in model.safetensors, found the distributed checkpoint shard-",
        ),
    ],
)
def test_broken_weights_are_refused(fine, spoil, message):
    num_weights = len(read_safetensors_header(fine / "model.safetensors"))
    spoil(fine)
    with pytest.raises(ValueError, match=message.replace("31", str(num_weights))):
        AutoModelForCausalLM.from_pretrained(fine)


def test_a_vocabulary_that_the_file_does_not_hold_is_refused_before_allocation(fine):
    change_config(fine, "codebook_size", 1_000_000)
    change_config(fine, "vocab_size", None)
    with pytest.raises(ValueError, match=r"must have the shape \(1000000, 32\)|must have the shape \(8000003, 32\)"):
        AutoModelForCausalLM.from_pretrained(fine)


@pytest.mark.parametrize("name", ["use_safetensors", "ignore_mismatched_sizes"])
def test_the_checks_cannot_be_switched_off(fine, name):
    with pytest.raises(ValueError, match=f"`{name}` must be left out"):
        AutoModelForCausalLM.from_pretrained(fine, **{name: name == "ignore_mismatched_sizes"})


def test_shards_load_like_one_file(fine, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(fine)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(find_weight_files(tmp_path / "sharded")) > 1
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "sharded").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_a_codec_that_lacks_weights_is_not_assembled(tmp_path):
    model = tiny_model()
    model.codec.save_pretrained(tmp_path)
    change_weights(tmp_path, lambda weights: weights.pop(sorted(weights)[0]))
    parts = {name: getattr(model, name) for name in ("semantic", "coarse", "fine", "semantic_encoder")}
    with pytest.raises(ValueError, match=re.escape("`codec` must hold all weights of an EnCodec, ")):
        AccompGenForConditionalGeneration.from_sub_models(
            **parts, codec=tmp_path, bandwidth=2.4, preview_bandwidth=1.2
        )


def test_a_state_dict_in_memory_needs_no_files():
    model = tiny_stage(AccompGenFineConfig)
    loaded = type(model).from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert torch.equal(loaded.heads[0].weight, model.heads[0].weight)


def test_an_adapter_on_the_hub_is_refused_where_peft_would_follow_it(monkeypatch):
    monkeypatch.setattr("accompgen_hf.accompgen.model_checks_accompgen.is_peft_available", lambda: True)
    monkeypatch.setattr(
        "accompgen_hf.accompgen.model_checks_accompgen.cached_file", lambda source, name, **_: f"/cache/{name}"
    )
    with pytest.raises(ValueError, match=r"someone/band: adapter_config\.json must not be there"):
        find_weight_files("someone/band")


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil/repo--backdoor.X"}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "backdoor.X"}}),
        ("coarse_generation_config.json", {"custom_generate": "evil/repo"}),
    ],
)
def test_code_that_other_files_name_is_neither_fetched_nor_run(composite, file, fields):
    AccompGenProcessor().save_pretrained(composite)
    (composite / "backdoor.py").write_text("raise AssertionError('must not run')")
    config = json.loads((composite / file).read_text())
    (composite / file).write_text(json.dumps({**config, **fields}))
    pipe = pipeline("vocal-accompaniment", model=str(composite), device="cpu")
    assert type(pipe.processor) is AccompGenProcessor
    vocals = np.sin(np.arange(3200) * 0.1).astype(np.float32)
    result = pipe(vocals, sampling_rate=16_000, seed=1, preview=True, show_progress=False)
    assert np.isfinite(result["audio"]).all()


@pytest.mark.parametrize("field", ["noise_std", "vocal_target_lufs", "vocal_gate_lufs"])
@pytest.mark.parametrize("value", ["loud", float("nan"), 1e9])
def test_a_processor_with_impossible_numbers_is_refused(tmp_path, field, value):
    AccompGenProcessor().save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(ValueError, match=f"`{field}` must be between"):
        AutoProcessor.from_pretrained(tmp_path)
