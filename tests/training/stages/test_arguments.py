"""Arguments: what the YAML says, what the command line changes, what is refused; and Table 1 of the paper."""

from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

import accompgen_hf.singsong.stage_kinds  # registers SingSong's stages  # noqa: F401
from accompgen_hf.data.stage_kinds import STAGE_KINDS
from accompgen_hf.songs.band import PARTS
from accompgen_hf.songs.styles import STYLES
from accompgen_hf.training.stages.arguments import StageTrainingArguments, parse_stage_arguments
from accompgen_hf.training.stages.setup import count_positions

CONFIGS = Path(__file__).parents[3] / "examples" / "configs"


@pytest.fixture
def config_path(tmp_path) -> Path:
    path = tmp_path / "stage.yaml"
    path.write_text("stage: fine\nlearning_rate: 2.0e-4\nmodel:\n  hidden_size: 64\n  num_hidden_layers: 2\n")
    return path


def test_the_command_line_overrides_single_fields_of_the_file(config_path):
    argv = ["--config", str(config_path), "--data", "a", "b", "--output_dir", "out"]
    argv += ["--warmup_steps", "7", "--model.hidden_size", "32", "--betas", "[0.8, 0.9]", "--ema_decay", "null"]
    arguments = parse_stage_arguments([*argv, "--weight_decay", "1e-3", "--shuffle_pairs", "true"])
    assert arguments.data == ["a", "b"]
    assert (arguments.stage, arguments.learning_rate, arguments.warmup_steps) == ("fine", 2e-4, 7)
    assert arguments.model == {"hidden_size": 32, "num_hidden_layers": 2}
    assert (arguments.betas, arguments.ema_decay, arguments.weight_decay) == ([0.8, 0.9], None, 1e-3)
    assert arguments.shuffle_pairs is True
    assert parse_stage_arguments([*argv, "--mixed_precision", "no"]).mixed_precision == "no"


def test_init_from_replaces_the_files_model(config_path):
    arguments = StageTrainingArguments.from_yaml(config_path, data="a", output_dir="out", init_from="checkpoint")
    assert arguments.model == {}


def test_unknown_missing_and_impossible_fields_are_refused(config_path, capsys):
    with pytest.raises(ValueError, match=r"unknown fields \['width'\], missing fields \['data', 'output_dir'\]"):
        StageTrainingArguments.from_yaml(config_path, width=3)
    base = {"stage": "fine", "data": "a", "output_dir": "b"}
    refused = {
        "`stage` must be one of": {"stage": "finest"},
        "`mixed_precision` must be one of": {"mixed_precision": "fp8"},
        "`max_steps` must be at least 1, got 0": {"max_steps": 0},
        "`learning_rate` must be a number, got 'high'": {"learning_rate": "high"},
        "`lora_rank` must be a number, got 'many'": {"lora_rank": "many", "init_from": "x"},
        "`seed` must be a number, got None": {"seed": None},
        "`micro_batch_size` must be at least 1, got 0": {"micro_batch_size": 0},
        "`learning_rate` must be above 0": {"learning_rate": 0.0},
        "`ema_decay` must be between 0 and 1, got 1": {"ema_decay": 1},
        "`peak_tflops` must be above 0, got 0": {"peak_tflops": 0},
        "`sample_every` must be at least 1": {"sample_every": 0},
        r"`report_to` must be among .* got \['paper'\]": {"report_to": ["wandb", "paper"]},
        "`model` may only change": {"init_from": "x", "model": {"hidden_size": 8}},
        "`init_ids_from` lets .* `stage` 'semantic'": {"init_ids_from": "y", "init_from": "x", "stage": "semantic"},
        "`init_codes_from` starts the tables of a new": {"init_codes_from": "codec", "init_from": "x"},
        "`init_codes_from` starts .* `stage` 'semantic'": {"init_codes_from": "codec", "stage": "semantic"},
    }
    for message, change in refused.items():
        with pytest.raises(ValueError, match=message):
            StageTrainingArguments(**{**base, **change})
    for rest, message in ((["--hidden_size", "3"], "unknown argument --hidden_size"), (["--model.x"], "has no value")):
        with pytest.raises(SystemExit):
            parse_stage_arguments(["--config", str(config_path), *rest])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "clip_duration_s", "global_batch_size", "max_steps", "num_positions"),
    [("semantic", 10.0, 180, 100_000, 1001), ("coarse", 5.0, 72, 200_000, 2001), ("fine", 3.0, 120, 150_000, 1801)],
)
def test_the_shipped_files_are_table_1(stage, clip_duration_s, global_batch_size, max_steps, num_positions):
    arguments = StageTrainingArguments.from_yaml(CONFIGS / f"{stage}.yaml", data="a", output_dir="b")
    config = STAGE_KINDS[stage].model_class.config_class(**arguments.model)
    assert (arguments.stage, config.clip_duration_s) == (stage, clip_duration_s)
    assert (arguments.global_batch_size, arguments.max_steps) == (global_batch_size, max_steps)
    assert count_positions(config) == num_positions
    assert (arguments.warmup_steps, arguments.max_grad_norm, arguments.mixed_precision) == (4000, 1.0, "fp16")
    assert (arguments.learning_rate, arguments.betas, arguments.weight_decay) == (3e-4, [0.9, 0.99], 0.01)
    assert (config.condition_dropout, config.relative_position_axis) == (0.1, "token")


def test_a_file_with_the_mark_of_a_windows_program_is_read(tmp_path):
    (tmp_path / "stage.yaml").write_text("stage: fine\nmax_steps: 7\n", "utf-8-sig")
    arguments = StageTrainingArguments.from_yaml(tmp_path / "stage.yaml", data="a", output_dir="b")
    assert (arguments.stage, arguments.max_steps) == ("fine", 7)


def build_on_meta(path: Path) -> torch.nn.Module:
    arguments = StageTrainingArguments.from_yaml(path, data="a", output_dir="b")
    model_class = STAGE_KINDS[arguments.stage].model_class
    with torch.device("meta"):
        return model_class(model_class.config_class(**arguments.model))


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name != "accelerate"],
    ids=lambda path: path.relative_to(CONFIGS).as_posix(),
)
def test_every_shipped_file_loads_and_builds(path):
    config = build_on_meta(path).config
    if "singsong" not in path.parts:
        assert config.num_attention_heads * config.head_dim == config.hidden_size


@pytest.mark.parametrize(("folder", "largest"), [("tiny_second_edition", 2.5e6), ("tiny", 5e6)])
@pytest.mark.parametrize("stage", ["semantic", "coarse", "fine"])
def test_the_tiny_files_build_small_stages(folder, largest, stage):
    model = build_on_meta(CONFIGS / folder / f"{stage}.yaml")
    assert sum(parameter.numel() for parameter in model.parameters()) < largest


@pytest.mark.parametrize(
    ("folder", "num_styles", "num_positions"), [("tiny", 10, (1001, 801, 601)), ("parts", 0, (2001, 2001, 1801))]
)
def test_the_files_of_three_parts_fit_procedural_songs_and_stems(folder, num_styles, num_positions):
    configs = [build_on_meta(CONFIGS / folder / f"{stage}.yaml").config for stage in ("semantic", "coarse", "fine")]
    assert tuple(map(count_positions, configs)) == num_positions
    for config in configs:
        assert config.part_names == PARTS
        assert config.style_names == tuple(STYLES)[:num_styles]
        assert config.relative_position_axis == "time"
    assert configs[0].relative_attention_max_distance == 3 * 128


def test_processes_and_micro_batches_make_the_global_batch():
    arguments = StageTrainingArguments(
        stage="fine", data="a", output_dir="b", global_batch_size=12, micro_batch_size=4
    )
    assert arguments.divide_batch(1) == (4, 3)
    assert arguments.divide_batch(2) == (4, 2)  # 4 and 2
    assert arguments.divide_batch(6) == (2, 1)
    with pytest.raises(ValueError, match=r"`global_batch_size` must be a multiple of the 5 processes, got 12"):
        arguments.divide_batch(5)
    arguments.num_processes = 8
    with pytest.raises(ValueError, match=r"`num_processes` is 8, but this run has 1"):
        arguments.divide_batch(1)


@pytest.mark.parametrize("name", ["one_gpu", "ddp_multi_node", "fsdp2"])
def test_accelerate_reads_the_shipped_launcher_files(name):
    config = load_config_from_file(str(CONFIGS / "accelerate" / f"{name}.yaml"))
    assert config.mixed_precision == "no"  # the stage's file decides
    expected = {"one_gpu": ("NO", 1), "ddp_multi_node": ("MULTI_GPU", 16), "fsdp2": ("FSDP", 8)}
    assert (config.distributed_type.value, config.num_processes) == expected[name]
    if name == "fsdp2":
        options = {action.dest for action in launch_command_parser()._actions}
        assert config.fsdp_config["fsdp_version"] == 2
        assert set(config.fsdp_config) <= options
