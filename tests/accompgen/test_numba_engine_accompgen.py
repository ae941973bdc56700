"""Compiled steps against the stage's own forward, and when they are taken."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers.cache_utils import DynamicCache
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen import generation_accompgen as generation
from accompgen_hf.accompgen import numba_engine_accompgen as engine
from accompgen_hf.accompgen import prefill_accompgen as prefill_module
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.fast_decoding_accompgen import FastStageDecoder
from accompgen_hf.accompgen.logits_accompgen import (
    AccompGenCodebookLogitsProcessor,
    AccompGenEvidenceLogitsProcessor,
)
from accompgen_hf.accompgen.numba_batches_accompgen import CompiledBatch
from accompgen_hf.accompgen.numba_engine_accompgen import CompiledStageDecoder, pack_weights, read_choice
from accompgen_hf.accompgen.prefill_accompgen import Prefill, prefill_of
from reference import assert_equal_up_to_ties, reference_decode
from tiny import random_clip, tiny_stage

numba = pytest.importorskip("numba")
products = pytest.importorskip("accompgen_hf.accompgen.numba_products_accompgen")
SRC = Path(__file__).resolve().parents[2] / "src"
NAMES = ("input_ids", "segment_ids", "segment_positions")
SAMPLING = {"temperature": 0.9, "top_k": 10, "top_p": 0.95}


def forced_logits(stage, num_known: int = 0, num_rows: int = 2, with_deaf_rows: bool = False):
    """Logits of compiled steps behind a prompt of given codes, fed with more of them, beside one whole forward's.

    Deaf rows have no conditioning, as the second half of the rows has with guidance.
    """
    config, target = stage.config, stage.config.target_segment
    conditioning, codes = random_clip(config, num_rows, 0.24)
    whole = build_stage_inputs(config, conditioning, codes)
    is_conditioning = whole["segment_ids"] < len(config.segments) - 1
    length = int(is_conditioning[0].sum()) + 1 + num_known
    if with_deaf_rows:
        deaf = whole["input_ids"].masked_fill(is_conditioning, config.null_token_id)
        whole["input_ids"] = torch.cat([whole["input_ids"], deaf])
    with torch.inference_mode():
        expected = stage(**{name: whole[name] for name in NAMES}, use_cache=False).logits
        prompt = [whole[name][:, :length] for name in NAMES]
        num_positions, forced = whole["input_ids"].shape[1], whole["input_ids"][:num_rows, length:]
        asked = (num_positions, LogitsProcessorList(), prompt[0][:num_rows], forced)
        decoder = CompiledStageDecoder(stage, prompt[2], *asked)
        decoder.prefill(*prompt)
        of_first_segment = int((whole["segment_ids"] == 0).sum())
        is_joined = with_deaf_rows and not config.bidirectional_prefix
        assert decoder.num_alike == (of_first_segment if is_joined else 0)
        for new in range(decoder.num_new):
            slot = num_known + new
            first = target.offset + slot % target.num_codebooks * target.codebook_size
            own = expected[:, length - 1 + new, first : first + target.codebook_size]
            yield decoder.logits[:, : target.codebook_size].clone(), own
            assert torch.equal(decoder.decode(new, new + 1)[:, 0], forced[:, new])


@pytest.mark.parametrize("config_class", [AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig])
@pytest.mark.parametrize("axis", ["token", "time"])
@pytest.mark.parametrize("fields", [{}, {"bidirectional_prefix": True}, {"head_dim": 32, "intermediate_size": 50}])
def test_logits_of_every_slot_equal_one_whole_forward(config_class, axis, fields):
    stage = tiny_stage(config_class, relative_position_axis=axis, **fields)
    for logits, expected in forced_logits(stage):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("config_class", [AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig])
@pytest.mark.parametrize(
    "fields", [{"relative_position_axis": "time"}, {"relative_position_axis": "token"}, {"bidirectional_prefix": True}]
)
def test_equal_keys_of_rows_without_conditioning_become_one(config_class, fields):
    for logits, expected in forced_logits(tiny_stage(config_class, **fields), with_deaf_rows=True):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_rows", [1, 3, 4, 7])
def test_a_prefix_and_any_number_of_rows_change_nothing(num_rows):
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    for logits, expected in forced_logits(stage, 8, num_rows):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_share_heads_inner_units_and_logits(two_threads):
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time", num_attention_heads=3)
    for logits, expected in forced_logits(stage):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_two_threads_give_the_same_codes_whenever_they_are_asked(two_threads):
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    conditioning, _ = random_clip(stage.config, 2, 0.8)
    codes = stage.generate_codes(**conditioning, seed=1, engine="numba")
    assert all(torch.equal(stage.generate_codes(**conditioning, seed=1, engine="numba"), codes) for _ in range(3))


def begin(stage, num_new: int = 8) -> CompiledStageDecoder:
    """A decoder behind its prompt that takes the likeliest codes."""
    inputs = build_stage_inputs(stage.config, random_clip(stage.config, 2, 0.24)[0])
    prompt = [inputs[name] for name in NAMES]
    num_positions = prompt[0].shape[1] + num_new
    decoder = CompiledStageDecoder(stage, prompt[2], num_positions, LogitsProcessorList(), prompt[0])
    decoder.prefill(*prompt)
    return decoder


@torch.no_grad()
def test_int8_rounds_every_weight_with_a_scale_per_output_and_nothing_else():
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    stage.weight_format = "int8"
    in_int8 = begin(stage)
    assert in_int8.weights.qkv[0].dtype == np.int8
    stage.weight_format = None
    for name, weight in stage.named_parameters():
        if name.endswith("_proj.weight") or name.startswith("heads."):
            scale = weight.abs().amax(1, keepdim=True) / 127
            weight.copy_((weight / scale).round() * scale)
    rounded = begin(stage)
    # The prompt runs with the weights as they are; what is behind it is compared.
    in_int8.cache = tuple(array.copy() for array in rounded.cache)
    in_int8.logits[:] = rounded.logits
    assert torch.equal(in_int8.decode(0, 7), rounded.decode(0, 7))
    torch.testing.assert_close(in_int8.logits, rounded.logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_stage_from_a_float16_checkpoint_is_read_as_float16_without_loss(monkeypatch):
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    assert pack_weights(stage).format is None  # its weights need all their bits
    stage.half().float()
    in_float16 = begin(stage)
    assert in_float16.weights.format == "float16"
    for logits, expected in forced_logits(stage):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    monkeypatch.setattr(products, "WIDENS_HALF", False)  # as on an old processor
    next(stage.parameters()).mul_(1)  # another version of the same weights
    in_float32 = begin(stage)
    assert in_float32.weights.format is None
    assert torch.equal(in_float16.decode(0, 7), in_float32.decode(0, 7))
    assert np.array_equal(in_float16.logits, in_float32.logits)


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("settings", [SAMPLING, None, {"top_p": 0.5}, {"top_k": 3}], ids=str)
def test_codes_are_those_of_decoding_by_hand(guidance_scale, settings):
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    inputs = build_stage_inputs(stage.config, random_clip(stage.config, 2, 0.08)[0])
    del inputs["labels"]
    num_new = 24
    uniforms = torch.rand(2, num_new, generator=torch.Generator().manual_seed(4))
    how = {"do_sample": False} if settings is None else {"top_k": 0, "temperature": 1.0, **settings}
    sequences = stage.generate(
        **inputs, uniforms=uniforms, guidance_scale=guidance_scale, max_new_tokens=num_new, engine="numba", **how
    )
    by_hand = (None, {}) if settings is None else (uniforms, settings)
    expected, margins = reference_decode(stage, inputs, num_new, by_hand[0], guidance_scale, **by_hand[1])
    assert_equal_up_to_ties(sequences[:, -num_new:], expected, margins)


def test_windows_that_continue_give_the_codes_of_the_torch_engine():
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    conditioning, _ = random_clip(stage.config, 2, 1.6)
    settings = {**SAMPLING, "seed": 5, "guidance_scale": 3.0}
    compiled = stage.generate_codes(**conditioning, **settings, engine="numba")
    assert torch.equal(compiled, stage.generate_codes(**conditioning, **settings, engine="torch"))


@pytest.mark.parametrize("fields", [{}, {"bidirectional_prefix": True}, {"relative_position_axis": "time"}])
def test_a_prompt_gives_the_keys_and_values_of_the_stages_forward(fields, monkeypatch):
    monkeypatch.setattr(prefill_module, "QUERY_BLOCK", 8)
    stage = tiny_stage(AccompGenCoarseConfig, **fields)
    inputs = build_stage_inputs(stage.config, random_clip(stage.config, 2, 0.24)[0])
    prompt = [inputs[name] for name in NAMES]
    cache, prefill = DynamicCache(), Prefill(stage)
    with torch.inference_mode():
        expected = stage.model(*prompt, cache)[0]
        for num_newest in (1, 11):  # with a bias made anew, and with the one that was kept
            newest, found = prefill.run(*prompt, num_newest=num_newest)
            torch.testing.assert_close(newest, expected[:, -num_newest:], atol=1e-4, rtol=0)
            for layer, (keys, values) in zip(cache.layers, found, strict=True):
                torch.testing.assert_close(keys, layer.keys, atol=1e-4, rtol=0)
                torch.testing.assert_close(values, layer.values, atol=1e-4, rtol=0)


def test_a_prompt_of_another_layout_gets_a_bias_of_its_own():
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    prefill = Prefill(stage)
    with torch.inference_mode():
        for duration_s in (0.24, 0.4):
            inputs = build_stage_inputs(stage.config, random_clip(stage.config, 1, duration_s)[0])
            prompt = [inputs[name] for name in NAMES]
            expected = stage.model(*prompt)[0][:, -1:]
            torch.testing.assert_close(prefill.run(*prompt)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("is_deaf", [False, True])
@pytest.mark.parametrize("fields", [{}, {"bidirectional_prefix": True}, {"relative_position_axis": "time"}])
def test_a_prompt_that_begins_as_the_kept_layout_takes_its_bias(fields, is_deaf):
    stage = tiny_stage(AccompGenCoarseConfig, **fields)
    inputs = build_stage_inputs(stage.config, *random_clip(stage.config, 1, 0.24))
    whole, num_target = [inputs[name] for name in NAMES], int((inputs["segment_ids"] == 2).sum())
    if is_deaf:
        whole[0] = whole[0].masked_fill(whole[1] < 2, stage.config.null_token_id)
    prefill, made = Prefill(stage), []
    num_alike = prefill.count_alike(*whole[:2])
    assert (num_alike > 0) == (is_deaf and not fields.get("bidirectional_prefix"))
    with torch.inference_mode():
        expected = stage.model(*whole)[0]
        stage.model.relative_bias.register_forward_hook(lambda *_: made.append(1))
        for length in (whole[0].shape[1], whole[0].shape[1] - num_target + 1, whole[0].shape[1] - 3):
            newest, _ = prefill.run(*[ids[:, :length] for ids in whole], None, num_alike)
            torch.testing.assert_close(newest[:, 0], expected[:, length - 1], atol=1e-4, rtol=0)
    assert len(made) == 1


def test_evidence_and_steps_share_a_prefill_until_a_weight_changes():
    stage = tiny_stage(AccompGenSemanticConfig)
    shared = prefill_of(stage)
    assert prefill_of(stage) is shared
    assert pack_weights(stage).prefill is shared
    with torch.no_grad():
        stage.model.relative_bias.weight.add_(1)
    assert prefill_of(stage) is not shared
    assert pack_weights(stage).prefill is prefill_of(stage)


def test_a_changed_weight_is_heard_in_the_next_call():
    stage = tiny_stage(AccompGenSemanticConfig)
    weights = pack_weights(stage)
    assert pack_weights(stage) is weights
    with torch.no_grad():
        stage.model.layers[0].mlp.up_proj.weight.mul_(-1)
    assert pack_weights(stage) is not weights


def test_eight_threads_give_the_codes_of_serial_calls():
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    conditioning, _ = random_clip(stage.config, 1, 0.8)
    barrier = threading.Barrier(8)

    def generate(seed):
        barrier.wait()
        return stage.generate_codes(**conditioning, seed=seed, engine="numba")

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(generate, range(8)))
    for seed, codes in enumerate(together):
        assert torch.equal(codes, stage.generate_codes(**conditioning, seed=seed, engine="numba"))


def test_a_listener_hears_of_every_slot_and_may_stop():
    stage = tiny_stage(AccompGenCoarseConfig, relative_position_axis="time")
    conditioning, _ = random_clip(stage.config, 1, 0.4)
    seconds = []
    stage.generate_codes(**conditioning, seed=1, engine="numba", callback=seconds.append)
    assert len(seconds) == 0.4 * 75 * 4
    assert sum(seconds) == pytest.approx(0.4)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.generate_codes(**conditioning, seed=1, engine="numba", callback=stop)


# ---- when they are taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "fields", "is_compiled"),
    [
        ({}, {}, True),
        ({"engine": "numba"}, {}, True),
        ({"engine": "torch"}, {}, False),
        ({"engine": "numba", "min_p": 0.05}, {}, False),
        ({"engine": "numba", "use_cache": False}, {}, False),
        ({"engine": "numba", "cache_implementation": "dynamic"}, {}, False),
        ({"engine": "numba"}, {"head_dim": 8}, False),
    ],
)
def test_they_step_back_for_what_they_do_not_cover(monkeypatch, settings, fields, is_compiled):
    calls = []
    monkeypatch.setattr(generation, "CompiledBatch", lambda *args: calls.append(1) or CompiledBatch(*args))
    stage = tiny_stage(AccompGenSemanticConfig, **fields)
    stage.generate_codes(**random_clip(stage.config, 1, 0.08)[0], seed=1, **settings)
    assert bool(calls) == is_compiled


def test_bfloat16_takes_the_torch_engine(monkeypatch):
    calls = []
    monkeypatch.setattr(generation, "FastStageDecoder", lambda *args: calls.append(1) or FastStageDecoder(*args))
    stage = tiny_stage(AccompGenSemanticConfig).to(torch.bfloat16)
    stage.generate_codes(**random_clip(stage.config, 1, 0.08)[0], seed=1, engine="numba")
    assert calls


def test_an_unknown_engine_is_refused():
    stage = tiny_stage(AccompGenSemanticConfig)
    with pytest.raises(ValueError, match=r"`engine` must be one of \('numba', 'torch'\), or None .* got 'jax'"):
        stage.generate_codes(**random_clip(stage.config, 1, 0.08)[0], engine="jax")


def test_processors_are_read_in_their_order_and_others_refused():
    mask = AccompGenCodebookLogitsProcessor(None, None, 0)
    warpers = [TemperatureLogitsWarper(0.5), TopKLogitsWarper(7), TopPLogitsWarper(0.8, min_tokens_to_keep=2)]
    assert read_choice(LogitsProcessorList([mask, *warpers])) == (1.0, 0.5, 7, 0.8, 2, None, None)
    assert read_choice(LogitsProcessorList([mask])) == (1.0, 1.0, 0, 1.0, 1, None, None)
    evidence = AccompGenEvidenceLogitsProcessor(torch.zeros(1, 2, 3), None, None, 0)
    assert read_choice(LogitsProcessorList([mask, evidence, *warpers])).evidence is evidence.evidence
    assert read_choice(LogitsProcessorList([mask, *warpers, evidence])) is None
    assert read_choice(LogitsProcessorList([mask, *warpers[::-1]])) is None
    assert read_choice(LogitsProcessorList([mask, warpers[0], warpers[0]])) is None
    assert read_choice(LogitsProcessorList([mask, MinPLogitsWarper(0.1)])) is None
    assert read_choice(LogitsProcessorList([mask, TopKLogitsWarper(7, filter_value=-5.0)])) is None


# ---- numba itself -------------------------------------------------------------------------------------------------

GENERATE = """
import sys
import torch
import accompgen_hf
assert "numba" not in sys.modules, "imported with the package"
from tiny import random_clip, tiny_stage
stage = tiny_stage(accompgen_hf.AccompGenSemanticConfig)
print(stage.generate_codes(**random_clip(stage.config, 1, 0.08)[0], seed=1).tolist())
"""


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess:
    paths = [str(SRC), str(SRC.parent / "tests")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


def test_without_numba_the_torch_engine_answers_and_asking_for_numba_names_the_cure():
    hidden = GENERATE.replace("import sys", "import sys; sys.modules['numba'] = None", 1).replace("assert", "# ")
    code = hidden + "stage.generate_codes(**random_clip(stage.config, 1, 0.08)[0], seed=1, engine='numba')"
    done = run_python(code)
    assert done.stdout.strip()
    assert done.returncode != 0
    assert 'Decoding by compiled steps needs numba: `pip install ".[fast]"`' in done.stderr


def test_the_package_does_not_import_it_and_the_first_generation_does():
    done = run_python(GENERATE + "assert 'numba' in sys.modules")
    assert done.returncode == 0, done.stderr[-3000:]


def add_one(value):
    return value + 1


def test_a_machine_without_a_folder_for_the_cache_is_no_error(monkeypatch):
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    assert products.compiled(add_one)(1) == 2


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path, caplog):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", refuse)
    function = products.compiled(add_one)
    monkeypatch.setattr(engine, "load_kernels", lambda: function)
    with caplog.at_level("INFO"):
        engine._compile_once((1,))
    assert function(1) == 2
    assert "could not be kept for the next start: [Errno 28] No space left" in caplog.text


def test_compiling_is_announced_in_one_line_and_loading_is_not(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(products._Notice, "has_spoken", False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for argument in (1, 1.0, 1):
        products.compile_for(products.compiled(add_one), (argument,))
    assert [record.message[:46] for record in caplog.records] == ["Compiling the decoding step for this machine, "]
    monkeypatch.setattr(products._Notice, "has_spoken", False)
    products.compile_for(products.compiled(add_one), (1,))
    assert len(caplog.records) == 1


def test_their_functions_are_those_of_torch():
    values = np.linspace(-9, 9, 2001, dtype=np.float32)
    got = np.array([products.gelu(value) for value in values])
    np.testing.assert_allclose(got, F.gelu(torch.from_numpy(values)).numpy(), atol=3e-6)
    negative = np.linspace(-80, 0, 2001, dtype=np.float32)
    got = np.array([products.exp_of_negative(value) for value in negative])
    np.testing.assert_allclose(got, np.exp(negative.astype(np.float64)), rtol=1e-5)
