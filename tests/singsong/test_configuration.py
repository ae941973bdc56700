"""The vocabulary of SingSong's models, and their sizes against T5 v1.1's and our second default's."""

import importlib
import json
from pathlib import Path

import pytest
import torch
import yaml

import accompgen_hf  # noqa: F401  (registers the classes)
from accompgen_hf.data.stage_kinds import STAGE_KINDS
from accompgen_hf.singsong.configuration import SingSongAccompanimentConfig, SingSongConfig, SingSongFineConfig
from accompgen_hf.singsong.modeling import SingSongFineForConditionalGeneration, SingSongForConditionalGeneration
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.code_tables import start_tables_from_codec
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS, tiny_model
from tiny_singsong import tiny_singsong

CONFIGS = Path(__file__).resolve().parents[2] / "examples" / "configs"
MODELS = {"singsong": SingSongForConditionalGeneration, "singsong_fine": SingSongFineForConditionalGeneration}
T5_VOCAB_SIZE = 32_128


def read_arguments(path: Path) -> StageTrainingArguments:
    return StageTrainingArguments.from_yaml(path, data="shards", output_dir="run")


def build_on_meta(path: Path) -> torch.nn.Module:
    arguments = read_arguments(path)
    model_class = STAGE_KINDS[arguments.stage].model_class
    with torch.device("meta"):
        model = model_class(model_class.config_class(**arguments.model))
    model.tie_weights()
    return model


def count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_no_id_means_two_things():
    config = SingSongConfig()
    assert [(segment.name, segment.offset, segment.num_ids) for segment in config.segments] == [
        ("vocal_semantic_ids", 3, 500),
        ("instrumental_semantic_ids", 503, 500),
        ("coarse_codes", 1003, 4096),
    ]
    assert config.vocab_size == 3 + 500 + 500 + 4 * 1024
    assert SingSongFineConfig().vocab_size == 3 + 8 * 1024
    assert (config.pad_token_id, config.decoder_start_token_id, config.null_token_id) == (0, 1, 2)
    assert config.eos_token_id is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 32_128}, "`vocab_size` must be 5099"),
        ({"clip_duration_s": 1.01}, "`clip_duration_s` must be a multiple of 0.04 s"),
        ({"num_layers": 2, "num_decoder_layers": 3}, "`num_decoder_layers` must equal `num_layers` 2, got 3"),
        ({"clip_duration_s": 2.0, "window_overlap_s": 2.0}, "`window_overlap_s` must be at least 0 and below"),
    ],
)
def test_fields_that_fit_nothing_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        SingSongConfig(**fields)


def test_a_config_read_from_disk_is_checked(tmp_path):
    SingSongAccompanimentConfig(
        codec_config={"codebook_size": 16}, coarse_config={"d_model": 32, "num_clusters": 20}
    ).save_pretrained(tmp_path)
    loaded = SingSongAccompanimentConfig.from_pretrained(tmp_path)
    assert loaded.coarse_config.d_model == 32
    assert loaded.coarse_config.scale_decoder_outputs is False
    content = json.loads((tmp_path / "config.json").read_text("utf-8"))
    content["coarse_config"]["auto_map"] = {"AutoModel": "somebody/else--model.Model"}
    (tmp_path / "config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=r"`coarse_config.auto_map` must be"):
        SingSongAccompanimentConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(("size", "published"), [("base", 247_577_856), ("xl", 2_849_757_184)])
@pytest.mark.parametrize("stage", ["singsong", "singsong_fine"])
def test_base_and_xl_are_t5_v1_1_but_for_the_vocabulary(size, published, stage):
    model = build_on_meta(CONFIGS / "singsong" / size / f"{stage}.yaml")
    without_codes = count_parameters(model) - 2 * model.config.vocab_size * model.config.d_model
    assert without_codes + 2 * T5_VOCAB_SIZE * model.config.d_model == published


def test_the_sharding_config_wraps_the_blocks_that_t5_names():
    settings = yaml.safe_load((CONFIGS / "accelerate" / "fsdp2.yaml").read_text("utf-8"))["fsdp_config"]
    assert settings["fsdp_auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
    # Without a name of its own it wraps what the model class names.
    named = settings.get("fsdp_transformer_layer_cls_to_wrap")
    model = build_on_meta(CONFIGS / "singsong" / "xl" / "singsong.yaml")
    assert set(model._no_split_modules) == {"T5Block"}
    assert named is None or "T5Block" in named
    assert model.supports_gradient_checkpointing
    assert read_arguments(CONFIGS / "singsong" / "xl" / "singsong.yaml").ema_decay is None


def test_tiny_has_the_parameters_and_the_training_of_the_second_edition(monkeypatch):
    """The comparison is fair: within 10 % of its parameters; as many steps of as many clips as long."""
    files = {stage: CONFIGS / "tiny_second_edition" / f"{stage}.yaml" for stage in ("semantic", "coarse", "fine")}
    theirs = {stage: read_arguments(path) for stage, path in files.items()}
    ours = {stage: read_arguments(CONFIGS / "singsong" / "tiny" / f"{stage}.yaml") for stage in MODELS}
    sizes = [count_parameters(build_on_meta(CONFIGS / "singsong" / "tiny" / f"{stage}.yaml")) for stage in MODELS]
    their_sizes = [count_parameters(build_on_meta(path)) for path in files.values()]
    assert sum(sizes) == pytest.approx(sum(their_sizes), rel=0.1)

    monkeypatch.syspath_prepend(CONFIGS.parent)
    steps = importlib.import_module("make_tiny_singsong").match_steps()
    assert steps == (theirs["coarse"].max_steps, theirs["fine"].max_steps)
    for stage, run in ours.items():
        assert run.global_batch_size == theirs["fine" if stage == "singsong_fine" else "coarse"].global_batch_size
    clips = {stage: run.model["clip_duration_s"] for stage, run in {**ours, **theirs}.items()}
    assert (clips["singsong"], clips["singsong_fine"]) == (clips["coarse"], clips["fine"])


def test_the_codec_gives_both_models_their_first_code_tables():
    codec = tiny_model().codec
    coarse, fine = tiny_singsong(SingSongConfig), tiny_singsong(SingSongFineConfig)
    for model, first, offset in ((coarse, 0, 3 + 2 * NUM_CLUSTERS), (fine, 4, 3 + 4 * CODEBOOK_SIZE)):
        before = model.shared.weight[:offset].clone()
        start_tables_from_codec(model, codec, seed=0)
        vectors = codec.quantizer.layers[first + 1].codebook.embed
        rows = slice(offset + CODEBOOK_SIZE, offset + 2 * CODEBOOK_SIZE)
        for table in (model.shared.weight[rows], model.lm_head.weight[rows]):
            # As many dimensions as the codec's: distances between codes are the codec's, up to one factor.
            distances, expected = torch.pdist(table.detach()), torch.pdist(vectors)
            expected = expected * (distances.sum() / expected.sum())
            torch.testing.assert_close(distances, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(model.encoder.embed_tokens.weight, model.shared.weight)
        if model is coarse:
            assert torch.equal(model.shared.weight[:offset], before)
