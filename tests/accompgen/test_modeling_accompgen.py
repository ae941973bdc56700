"""The composite: five parts on disk and back, tokens in half precision, learning, and parity of its codec."""

import copy
import hashlib
import importlib.machinery
import importlib.util
import json
import resource
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModel,
    EncodecConfig,
    EncodecModel,
    GenerationConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    set_seed,
)

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenConfig,
    AccompGenFineConfig,
    AccompGenForConditionalGeneration,
    AccompGenSemanticConfig,
    AccompGenSemanticEncoder,
)
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks, encode_in_blocks
from accompgen_hf.accompgen.modeling_accompgen import encode_silence, fingerprint_of_parts
from tiny import (
    CODEBOOK_SIZE,
    NUM_CLUSTERS,
    STAGE_CLASSES,
    random_clip,
    tiny_hubert_config,
    tiny_model,
    tiny_stage,
    tiny_stage_config,
)

STAGES = {"semantic": AccompGenSemanticConfig, "coarse": AccompGenCoarseConfig, "fine": AccompGenFineConfig}
DEVICE_AND_THREADS = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def model() -> AccompGenForConditionalGeneration:
    return tiny_model()


def make_vocals(duration_s: float = 0.12, batch_size: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch_size, round(16_000 * duration_s), generator=generator)


def assert_equal_outputs(first, second) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def sha256(values: torch.Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


# ---- generation ----------------------------------------------------------------------------------------------------


def test_vocals_become_tokens_of_all_stages_and_audio_at_24_khz(model):
    output = model.generate(make_vocals(0.2, 2), seed=1)
    assert {name: tuple(value.shape) for name, value in output.items()} == {
        "audio": (2, 4800),
        "vocal_semantic_ids": (2, 10),
        "instrumental_semantic_ids": (2, 10),
        "coarse_codes": (2, 4, 15),
        "fine_codes": (2, 4, 15),
    }
    assert output.audio.dtype == torch.float32
    assert torch.isfinite(output.audio).all()
    assert torch.equal(output.vocal_semantic_ids, model.semantic_encoder(make_vocals(0.2, 2)).semantic_ids)


def test_the_stages_are_chained_and_decoded_as_equation_1_says(model):
    output = model.generate(make_vocals(), seed=1)
    heard = {"vocal_semantic_ids": output.vocal_semantic_ids}
    instrumental = model.semantic.generate_codes(**heard, seed=1)
    coarse = model.coarse.generate_codes(**heard, instrumental_semantic_ids=instrumental, seed=1)
    fine = model.fine.generate_codes(coarse_codes=coarse, seed=1)
    assert torch.equal(output.instrumental_semantic_ids, instrumental)
    assert torch.equal(output.coarse_codes, coarse)
    assert torch.equal(output.fine_codes, fine)
    with torch.no_grad():  # transformers' EnCodec itself; its output is longer than the frames: trimmed
        decoded = model.codec.decode(torch.cat([coarse, fine], 1)[None], [None]).audio_values
    torch.testing.assert_close(output.audio, decoded[:, 0, : coarse.shape[-1] * 320], atol=1e-6, rtol=0)


def test_a_preview_decodes_the_same_coarse_codes_alone(model):
    whole = model.generate(make_vocals(), seed=1)
    preview = model.generate(make_vocals(), seed=1, preview=True)
    assert "fine_codes" not in preview
    assert torch.equal(preview.coarse_codes, whole.coarse_codes)
    with torch.no_grad():
        decoded = model.codec.decode(preview.coarse_codes[None], [None]).audio_values[:, 0, :2880]
    torch.testing.assert_close(preview.audio, decoded, atol=1e-6, rtol=0)
    assert not torch.equal(preview.audio, whole.audio)


def test_another_voice_gets_another_accompaniment(model):
    tone = 0.3 * torch.sin(torch.arange(6400) * 0.2)[None]
    first, second = (model.generate(vocals, seed=1) for vocals in (make_vocals(0.4), tone))
    assert not torch.equal(first.vocal_semantic_ids, second.vocal_semantic_ids)
    assert not torch.equal(first.instrumental_semantic_ids, second.instrumental_semantic_ids)
    assert not torch.equal(first.coarse_codes, second.coarse_codes)
    assert not torch.equal(first.audio, second.audio)


def test_one_seed_gives_one_accompaniment_bit_for_bit(model):
    first = model.generate(make_vocals(), seed=1)
    assert_equal_outputs(model.generate(make_vocals(), seed=1), first)
    assert_equal_outputs(model(make_vocals(), seed=1), first)  # forward is generate
    assert not torch.equal(model.generate(make_vocals(), seed=2).coarse_codes, first.coarse_codes)
    assert not torch.equal(model.generate(make_vocals()).coarse_codes, model.generate(make_vocals()).coarse_codes)


def test_set_seed_of_transformers_decides_where_no_seed_is_given(model):
    outputs = []
    for seed in (3, 3, 4):
        set_seed(seed)
        outputs.append(model.generate(make_vocals()))
    assert_equal_outputs(outputs[0], outputs[1])
    assert not torch.equal(outputs[0].coarse_codes, outputs[2].coarse_codes)


def test_a_generation_config_of_the_callers_own_is_taken(model):
    config = GenerationConfig(do_sample=True, temperature=3.0, top_k=5, guidance_scale=1.0)
    one_by_one = model.generate(make_vocals(), seed=1, temperature=3.0, top_k=5, guidance_scale=1.0)
    assert_equal_outputs(model.generate(make_vocals(), seed=1, generation_config=config), one_by_one)


@pytest.mark.parametrize(
    ("setting", "cure"),
    [
        ({"max_new_tokens": 20}, "an accompaniment is as long as its vocals: give a shorter recording"),
        ({"max_length": 20}, "an accompaniment is as long as its vocals"),
        ({"streamer": object()}, "`callback` hears of every step, and `stream` gives audio away"),
        ({"return_dict_in_generate": True}, "the stages run window by window"),
        ({"coarse_kwargs": {"max_new_tokens": 4}}, "an accompaniment is as long as its vocals"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_has_no_meaning_for_a_recording_is_refused_by_name(model, setting, cure):
    name = next(iter(setting.get("coarse_kwargs", setting)))
    with pytest.raises(ValueError, match=f"`{name}` cannot be set for a whole recording: {cure}"):
        model.generate(make_vocals(), **setting)
    if "coarse_kwargs" not in setting:
        heard = {"vocal_semantic_ids": torch.zeros(1, 4, dtype=torch.long)}
        with pytest.raises(ValueError, match=f"`{name}` cannot be set for a whole recording"):
            model.semantic.generate_codes(**heard, **setting)


def test_global_random_state_is_left_alone(model):
    state = torch.get_rng_state()
    model.generate(make_vocals(), preview=True)
    model.semantic_encoder(make_vocals())
    assert torch.equal(torch.get_rng_state(), state)


def test_item_i_of_a_batch_is_that_item_alone_with_seed_plus_i(model):
    vocals = make_vocals(0.12, 3)
    together = model.generate(vocals, seed=5)
    assert_equal_outputs(model.generate(vocals, seed=[5, 6, 7]), together)
    for item in range(3):
        alone = model.generate(vocals[item : item + 1], seed=5 + item)
        for name in ("instrumental_semantic_ids", "coarse_codes", "fine_codes"):
            assert torch.equal(alone[name][0], together[name][item])
        torch.testing.assert_close(alone.audio[0], together.audio[item], atol=1e-5, rtol=0)


def test_settings_of_one_stage_leave_the_stages_before_it_alone(model):
    base = model.generate(make_vocals(), seed=1)
    fine = model.generate(make_vocals(), seed=1, fine_kwargs={"temperature": 3.0})
    assert torch.equal(fine.coarse_codes, base.coarse_codes)
    assert not torch.equal(fine.fine_codes, base.fine_codes)
    coarse = model.generate(make_vocals(), seed=1, coarse_kwargs={"do_sample": False})
    assert torch.equal(coarse.instrumental_semantic_ids, base.instrumental_semantic_ids)
    assert not torch.equal(coarse.coarse_codes, base.coarse_codes)
    for_all = model.generate(make_vocals(), seed=1, do_sample=False, guidance_scale=1.0)
    one_by_one = {f"{stage}_kwargs": {"do_sample": False, "guidance_scale": 1.0} for stage in STAGES}
    assert_equal_outputs(model.generate(make_vocals(), seed=1, **one_by_one), for_all)
    # A stage's own setting stands above the setting for all.
    mixed = model.generate(make_vocals(), seed=1, temperature=3.0, semantic_kwargs={"temperature": 0.9})
    assert torch.equal(mixed.instrumental_semantic_ids, base.instrumental_semantic_ids)


def test_the_callback_hears_every_stage_out_and_can_stop(model):
    seconds = dict.fromkeys(STAGES, 0.0)

    def note(stage, just_finished):
        seconds[stage] += just_finished

    model.generate(make_vocals(0.12, 2), seed=1, callback=note)
    assert seconds == pytest.approx(dict.fromkeys(STAGES, 0.24))

    def stop(stage, just_finished):
        if stage == "coarse":
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        model.generate(make_vocals(), callback=stop)


def test_a_shape_or_setting_that_does_not_fit_is_refused(model):
    with pytest.raises(ValueError, match="`input_values` must have a positive multiple of 640 samples"):
        model.generate(torch.zeros(1, 1000))
    with pytest.raises(ValueError, match=r"`input_values` must be \(batch_size, num_samples\)"):
        model.generate(torch.zeros(640))
    with pytest.raises((ValueError, TypeError), match="temprature"):
        model.generate(make_vocals(), temprature=1.0)
    with pytest.raises(ValueError, match="`num_beams` is not supported by AccompGenCoarseForCausalLM"):
        model.generate(make_vocals(), coarse_kwargs={"num_beams": 2})


# ---- on disk -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("composite")
    saved = copy.deepcopy(model)
    saved.semantic.generation_config.update(temperature=1.1, guidance_scale=2.0)
    saved.coarse.generation_config.update(top_k=9)
    saved.coarse.generation_config.style_guided_parts = []  # of ours, in a config that a stage's file began
    saved.coarse.generation_config._from_model_config = True
    saved.fine.generation_config.update(top_p=0.8)
    saved.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("auto_class", [None, AutoModel])
def test_a_saved_composite_has_the_same_weights_logits_and_tokens(folder, model, auto_class):
    loaded, info = (auto_class or AccompGenForConditionalGeneration).from_pretrained(folder, output_loading_info=True)
    assert type(loaded) is AccompGenForConditionalGeneration
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    expected = dict(model.named_parameters()) | dict(model.named_buffers())  # non-persistent buffers, too
    found = dict(loaded.named_parameters()) | dict(loaded.named_buffers())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (loaded.semantic.generation_config.temperature, loaded.semantic.generation_config.guidance_scale) == (
        1.1,
        2,
    )
    assert loaded.coarse.generation_config.top_k == 9
    assert loaded.coarse.generation_config.style_guided_parts == []
    assert loaded.fine.generation_config.top_p == 0.8
    settings = {"temperature": 0.9, "top_k": 250, "top_p": 1.0, "guidance_scale": 3.0}
    assert_equal_outputs(
        loaded.generate(make_vocals(), seed=1, **settings), model.generate(make_vocals(), seed=1, **settings)
    )


def test_saving_again_changes_nothing_and_adds_no_code(folder, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    AccompGenForConditionalGeneration.from_pretrained(folder).save_pretrained(once)
    AccompGenForConditionalGeneration.from_pretrained(once).save_pretrained(twice)
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in once.iterdir()} == {path.name for path in twice.iterdir()} == names
    for name in names:
        assert (twice / name).read_bytes() == (once / name).read_bytes(), name
    assert (once / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert not [name for name in names if name.endswith(".py")]
    config = json.loads((folder / "config.json").read_text())
    assert "auto_map" not in config
    assert "custom_pipelines" not in config


def test_half_precision_keeps_encoder_centroids_and_codec_in_float32(folder, model):
    for dtype in (torch.float16, torch.bfloat16):
        half = AccompGenForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        for name, tensor in half.state_dict().items():
            if name.startswith(("semantic_encoder.", "codec.")):
                assert tensor.dtype != dtype, name
            elif tensor.is_floating_point():
                assert tensor.dtype == dtype, name
        vocals = make_vocals(0.4)
        output = half.generate(vocals, seed=1)
        assert torch.equal(output.vocal_semantic_ids, model.semantic_encoder(vocals).semantic_ids)
        torch.testing.assert_close(
            output.audio, model.decode(torch.cat([output.coarse_codes, output.fine_codes], 1)), atol=1e-6, rtol=0
        )


def test_half_of_a_living_model_keeps_centroids_and_measures_distances_in_float32(model):
    half = copy.deepcopy(model).half()
    assert half.semantic_encoder.centroids.dtype == torch.float32
    assert torch.equal(half.semantic_encoder.centroids, model.semantic_encoder.centroids)
    features = 100 + torch.randn(1, 50, 16, generator=torch.Generator().manual_seed(0))
    features = features.half()  # in half precision, 100 + x leaves no room for distances between centroids
    assert torch.equal(half.semantic_encoder.quantize(features), model.semantic_encoder.quantize(features.float()))
    output = half.generate(make_vocals(), seed=1)
    assert torch.isfinite(output.audio).all()
    assert 0 <= output.coarse_codes.min() <= output.coarse_codes.max() < CODEBOOK_SIZE


def test_the_files_are_safetensors_with_the_parts_under_their_names(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        parts = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118
    assert parts == {"semantic_encoder", "semantic", "coarse", "fine", "codec"}
    names = {path.name for path in folder.iterdir()}
    assert {f"{stage}_generation_config.json" for stage in STAGES} <= names


# ---- from parts ----------------------------------------------------------------------------------------------------


def parts_of(model) -> dict:
    names = ("semantic", "coarse", "fine", "semantic_encoder", "codec")
    return {name: copy.deepcopy(getattr(model, name)) for name in names}


BANDWIDTHS = {"bandwidth": 2.4, "preview_bandwidth": 1.2}


def test_parts_and_their_folders_assemble_to_the_same_composite(model, tmp_path):
    parts = parts_of(model)
    parts["coarse"].generation_config.update(temperature=0.6)
    assembled = AccompGenForConditionalGeneration.from_sub_models(**parts, **BANDWIDTHS)
    assert not assembled.training
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in assembled.state_dict().items())
    assert assembled.coarse.generation_config.temperature == 0.6
    for name, part in parts.items():
        part.save_pretrained(tmp_path / name)
    folders = {name: tmp_path / name if name != "fine" else str(tmp_path / name) for name in parts}
    from_disk = AccompGenForConditionalGeneration.from_sub_models(**folders, **BANDWIDTHS)
    assert from_disk.config.token_fingerprint == assembled.config.token_fingerprint
    assert from_disk.coarse.generation_config.temperature == 0.6
    assert_equal_outputs(from_disk.generate(make_vocals(), seed=1), assembled.generate(make_vocals(), seed=1))


def test_a_hubert_folder_and_centroids_make_the_encoder(model, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        hubert = HubertModel(tiny_hubert_config(num_hidden_layers=10))
    hubert.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    centroids = torch.randn(NUM_CLUSTERS, 16, generator=torch.Generator().manual_seed(4))
    parts = parts_of(model)
    parts["semantic_encoder"] = tmp_path
    assembled = AccompGenForConditionalGeneration.from_sub_models(**parts, centroids=centroids, **BANDWIDTHS)
    expected = AccompGenSemanticEncoder.from_hubert(tmp_path, centroids)
    vocals = make_vocals(0.4)
    assert torch.equal(assembled.semantic_encoder(vocals).semantic_ids, expected(vocals).semantic_ids)


def test_stages_of_other_tokens_are_refused_naming_both_sides(model):
    parts = parts_of(model)
    fingerprint = AccompGenForConditionalGeneration.from_sub_models(**parts, **BANDWIDTHS).config.token_fingerprint
    for stage in STAGES:
        parts[stage].config.token_fingerprint = fingerprint
    AccompGenForConditionalGeneration.from_sub_models(**parts, **BANDWIDTHS)
    other = "0" * 64
    parts["coarse"].config.token_fingerprint = other
    message = f"(`token_fingerprint` of|.*)stage `coarse`.*{other}.*the parts given here.*{fingerprint}"
    with pytest.raises(ValueError, match=message):
        AccompGenForConditionalGeneration.from_sub_models(**parts, **BANDWIDTHS)


@pytest.mark.parametrize("changed", ["centroids", "codec", "noise_std", "vocal_target_lufs"])
def test_every_part_and_setting_that_makes_tokens_is_compared(model, changed):
    parts = parts_of(model)
    fingerprint = fingerprint_of_parts(model.config, model.semantic_encoder, model.codec)
    for stage in STAGES:
        parts[stage].config.token_fingerprint = fingerprint
    AccompGenForConditionalGeneration.from_sub_models(**parts, **BANDWIDTHS)
    settings = {}
    if changed == "centroids":
        parts["semantic_encoder"].centroids.roll(1, 0)
        parts["semantic_encoder"].centroids.copy_(parts["semantic_encoder"].centroids.flip(0).clone())
    elif changed == "codec":
        parts["codec"].quantizer.layers[0].codebook.embed.mul_(1.01)
    else:
        settings[changed] = 0.02 if changed == "noise_std" else -23.0
    with pytest.raises(ValueError, match="stage `semantic`"):
        AccompGenForConditionalGeneration.from_sub_models(**parts, **BANDWIDTHS, **settings)


def test_parts_of_other_sizes_are_refused(model):
    parts = parts_of(model)
    parts["fine"] = tiny_stage(AccompGenFineConfig, codebook_size=32)
    with pytest.raises(Exception, match="`codebook_size` of fine_config is 32, but the codec has 16"):
        AccompGenForConditionalGeneration.from_sub_models(**parts, **BANDWIDTHS)


def test_the_codes_of_silence_fill_short_windows(model):
    assembled = AccompGenForConditionalGeneration.from_sub_models(**parts_of(model), **BANDWIDTHS)
    config = assembled.config
    silence = encode_silence(config, model.semantic_encoder, model.codec)
    assert config.semantic_config.silence_codes == {"vocal_semantic_ids": silence["vocal_semantic_ids"]}
    assert set(config.coarse_config.silence_codes) == {"vocal_semantic_ids", "instrumental_semantic_ids"}
    assert config.fine_config.silence_codes == {"coarse_codes": silence["coarse_codes"]}
    assert assembled.fine.config.silence_codes == config.fine_config.silence_codes
    # A long silence, encoded by the parts themselves, is mostly these codes.
    zeros = model.semantic_encoder(torch.zeros(1, 32_000)).semantic_ids[0]
    assert (zeros == silence["instrumental_semantic_ids"][0]).float().mean() > 0.5
    codes = encode_in_blocks(model.codec, torch.zeros(1, 48_000), 2.4)[0, :4]
    assert ((codes == torch.tensor(silence["coarse_codes"])[:, None]).float().mean(-1) > 0.5).all()


# ---- learning, and a new process -----------------------------------------------------------------------------------


def overfit(stage, conditioning: dict, target: torch.Tensor, num_steps: int) -> float:
    """Train on one batch as the paper does; returns the last loss."""
    inputs = build_stage_inputs(stage.config, conditioning, target)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0.01)
    stage.train()
    for _ in range(num_steps):
        loss = stage(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimizer.step()
    stage.eval()
    with torch.no_grad():
        return float(stage(**inputs).loss)


def new_stage(config_class, **fields):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return STAGE_CLASSES[config_class](tiny_stage_config(config_class, **fields))


NEW_PROCESS = """
import hashlib, json, sys
import torch
from transformers import AutoModel, AutoModelForCausalLM
import accompgen_hf

given = json.load(open(sys.argv[1]))
greedy = {"do_sample": False, "guidance_scale": 1.0}
results = {}
for axis in ("token", "time"):
    stage = AutoModelForCausalLM.from_pretrained(given[f"one_{axis}"])
    conditioning = {name: torch.tensor(codes) for name, codes in given["conditioning"].items()}
    results[f"one_{axis}"] = stage.generate_codes(**conditioning, **greedy).tolist()
composite = AutoModel.from_pretrained(given["composite"])
output = composite.generate(torch.tensor(given["vocals"]), seed=11)
results["audio"] = hashlib.sha256(output.audio.numpy().tobytes()).hexdigest()
results["coarse_codes"] = output.coarse_codes.tolist()
json.dump(results, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def new_process(folder, tmp_path_factory) -> types.SimpleNamespace:
    """One stage per axis overfitted on one clip, and the composite, read and run again by another process."""
    place = tmp_path_factory.mktemp("new_process")
    losses = {}
    for axis in ("token", "time"):
        fields = {"clip_duration_s": 0.16, "window_overlap_s": 0.0, "relative_position_axis": axis}
        stage = new_stage(AccompGenCoarseConfig, **fields)
        conditioning, target = random_clip(stage.config, 1, 0.16)
        losses[axis] = overfit(stage, conditioning, target, 120)
        stage.save_pretrained(place / axis)
    vocals = make_vocals(0.2)
    given = {
        "one_token": str(place / "token"),
        "one_time": str(place / "time"),
        "conditioning": {name: codes.tolist() for name, codes in conditioning.items()},
        "composite": str(folder),
        "vocals": vocals.tolist(),
    }
    (place / "given.json").write_text(json.dumps(given))
    source = str(Path(sys.modules["accompgen_hf"].__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", NEW_PROCESS, str(place / "given.json"), str(place / "results.json")],
        env={**DEVICE_AND_THREADS, "PYTHONPATH": source, "PATH": "", "HOME": str(place)},
        check=True,
        timeout=300,
    )
    results = json.loads((place / "results.json").read_text())
    return types.SimpleNamespace(losses=losses, target=target, vocals=vocals, results=results)


@pytest.mark.parametrize("axis", ["token", "time"])
def test_one_clip_is_learned_saved_and_generated_again_in_a_new_process(new_process, axis):
    assert new_process.losses[axis] < 0.1
    assert new_process.results[f"one_{axis}"] == new_process.target.tolist()


def test_a_new_process_gives_the_same_tokens_and_the_same_audio_bits(new_process, folder):
    loaded = AccompGenForConditionalGeneration.from_pretrained(folder)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # bit-equality is promised for one thread count
    try:
        output = loaded.generate(new_process.vocals, seed=11)
    finally:
        torch.set_num_threads(num_threads)
    assert new_process.results["coarse_codes"] == output.coarse_codes.tolist()
    assert new_process.results["audio"] == sha256(output.audio)


@pytest.mark.parametrize("axis", ["token", "time"])
def test_swapping_the_vocals_swaps_the_accompaniments(axis):
    stage = new_stage(AccompGenSemanticConfig, clip_duration_s=0.4, window_overlap_s=0.0, relative_position_axis=axis)
    conditioning, target = random_clip(stage.config, 2, 0.4)
    assert overfit(stage, conditioning, target, 150) < 0.1
    greedy = {"do_sample": False, "guidance_scale": 1.0}
    assert torch.equal(stage.generate_codes(**conditioning, **greedy), target)
    swapped = {name: codes.flip(0) for name, codes in conditioning.items()}
    assert torch.equal(stage.generate_codes(**swapped, **greedy), target.flip(0))


# ---- EnCodec -------------------------------------------------------------------------------------------------------


@pytest.fixture
def original_encodec(monkeypatch):
    """The original package, or a skip; it asks for torchaudio while importing but not for coding."""
    if importlib.util.find_spec("encodec") is None:
        pytest.skip("the original `encodec` package is not installed (extra `encodec`; its metadata say CC BY-NC)")
    try:
        import torchaudio  # noqa: F401
    except Exception:  # beside CPU torch it may exist and fail to load
        stub = types.ModuleType("torchaudio")
        stub.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        monkeypatch.setitem(sys.modules, "torchaudio", stub)
    try:
        import encodec
        from encodec import modules, quantization
    except Exception as error:
        pytest.skip(f"the original `encodec` package does not import: {error}")
    return types.SimpleNamespace(model=encodec.EncodecModel, modules=modules, quantization=quantization)


def as_transformers_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("coder.model.", "coder.layers.").replace("quantizer.vq.layers", "quantizer.layers")
        name = name.replace("._codebook.", ".codebook.")
        name = name.replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".conv.")
        name = name.replace(".weight_g", ".parametrizations.weight.original0")
        renamed[name.replace(".weight_v", ".parametrizations.weight.original1")] = tensor
    return renamed


def test_codes_and_audio_equal_those_of_the_original_encodec(original_encodec):
    sizes = {"dimension": 32, "n_filters": 4, "norm": "weight_norm", "causal": True}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        original = original_encodec.model(
            original_encodec.modules.SEANetEncoder(**sizes),
            original_encodec.modules.SEANetDecoder(**sizes),
            original_encodec.quantization.ResidualVectorQuantizer(dimension=32, n_q=8, bins=1024),
            target_bandwidths=[1.5, 3.0, 6.0],
            sample_rate=24_000,
            channels=1,
        ).eval()
        # Codebooks from encoder outputs: far from them, every frame would get one code and prove nothing.
        residual = original.encoder(0.3 * torch.randn(1, 1, 24_000 * 20))[0].T
        for layer in original.quantizer.vq.layers:
            codebook = layer._codebook
            codebook.embed.copy_(residual[torch.randperm(len(residual))[:1024]])
            codebook.inited.fill_(1)
            residual = residual - codebook.embed[torch.cdist(residual, codebook.embed).argmin(-1)]
        waveform = 0.3 * torch.randn(2, 24_000)
    config = EncodecConfig(target_bandwidths=[1.5, 3.0, 6.0], num_filters=4, hidden_size=32, codebook_dim=32)
    ours = EncodecModel(config).eval()
    ours.load_state_dict(as_transformers_names(original.state_dict()))
    for bandwidth, num_codebooks in ((6.0, 8), (3.0, 4)):
        original.set_target_bandwidth(bandwidth)
        with torch.no_grad():
            [(expected, _)] = original.encode(waveform[:, None])
            audio = original.decode([(expected, None)])[:, 0]
        codes = encode_in_blocks(ours, waveform, bandwidth)
        assert codes.shape == (2, num_codebooks, 75)
        assert torch.equal(codes, expected)
        assert len(codes.unique()) > 200  # the codes say something
        torch.testing.assert_close(decode_in_blocks(ours, codes), audio[:, :24_000], atol=1e-5, rtol=1e-4)


# ---- real size -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_papers_base_size_runs_two_seconds_end_to_end(capsys):
    hubert = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "do_stable_layer_norm": True,
        "feat_extract_norm": "layer",
        "conv_bias": True,
    }
    config = AccompGenConfig(semantic_encoder_config={"hubert_config": hubert})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AccompGenForConditionalGeneration(config).eval()
    assert len(model.semantic_encoder.hubert.encoder.layers) == 9
    assert len(model.codec.quantizer.layers) >= 8
    starts, marks = {}, []

    def note(stage, seconds):
        starts.setdefault(stage, time.perf_counter())

    def mark(name: str, begin: float) -> None:
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        marks.append(f"{name}: {time.perf_counter() - begin:.1f} s, peak {peak_gb:.2f} GiB")

    vocals = make_vocals(2.0)
    begin = time.perf_counter()
    heard = {"vocal_semantic_ids": model.semantic_encoder(vocals).semantic_ids}
    mark("semantic encoder", begin)
    heard["instrumental_semantic_ids"] = None
    for stage, name in (("semantic", "instrumental_semantic_ids"), ("coarse", "coarse_codes"), ("fine", "fine_codes")):
        begin = time.perf_counter()
        part = getattr(model, stage)
        heard[name] = part.generate_codes(**{key: heard[key] for key in part.config.conditioning_names}, seed=1)
        mark(f"{stage} stage", begin)
    begin = time.perf_counter()
    audio = model.decode(torch.cat([heard["coarse_codes"], heard["fine_codes"]], 1))
    mark("codec", begin)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    with capsys.disabled():
        print(f"\n2 s of audio, {num_parameters / 1e6:.0f} M parameters in all, {torch.get_num_threads()} threads")
        print("\n".join(marks))
    assert audio.shape == (1, 48_000)
    assert torch.isfinite(audio).all()
    assert heard["fine_codes"].shape == (1, 4, 150)
