"""LoRA adapters: trained, resumed, saved alone, loaded by the stage, and merged into a model."""

from pathlib import Path

import pytest
import torch

from accompgen_hf import AccompGenForConditionalGeneration, AccompGenSemanticForCausalLM
from accompgen_hf.accompgen.manifest_accompgen import verify_manifest
from accompgen_hf.accompgen.modeling_accompgen import fingerprint_of_parts
from accompgen_hf.accompgen.training_record_accompgen import read_record
from accompgen_hf.app import cli
from accompgen_hf.data.shards import Manifest
from accompgen_hf.data.training_tracks import hash_track, read_shard_tracks
from accompgen_hf.model_parts import load_part
from accompgen_hf.training.stages import publishing
from accompgen_hf.training.stages.adapters import LAYER_MATRICES, merge_adapter
from accompgen_hf.training.stages.loop import train_stage
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS, tiny_model
from tiny_shards import make_arguments, write_shards

pytest.importorskip("peft", reason="adapters need peft (extra `train`)")
SEEN = hash_track("Ann - One")


def own_fingerprint(model: AccompGenForConditionalGeneration) -> str:
    return fingerprint_of_parts(model.config, model.semantic_encoder, model.codec)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A whole model that has seen a song."""
    folder = tmp_path_factory.mktemp("base")
    model = tiny_model()
    model.training_tracks = frozenset({SEEN})
    model.config.token_fingerprint = own_fingerprint(model)
    for name in model.stage_configs:
        getattr(model, name).config.token_fingerprint = own_fingerprint(model)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    sizes = {"num_clusters": NUM_CLUSTERS, "codebook_size": CODEBOOK_SIZE}
    folder = write_shards(tmp_path_factory.mktemp("data") / "shards", duration_s=2.0, **sizes)
    manifest = Manifest.load(folder)
    manifest.token_fingerprint = own_fingerprint(tiny_model())
    manifest.save(folder)
    return folder


def adapt(shards: Path, output_dir: Path, base: Path, **fields) -> dict:
    lora = {"lora_rank": 4, "init_from": str(base), "model": {}, "validate_first": True}
    return train_stage(
        make_arguments(shards, output_dir, **{**lora, "learning_rate": 0.03, "save_every": 3, **fields})
    )


def read_adapter(folder: Path) -> dict[str, torch.Tensor]:
    stage = load_adapted(folder, None)
    return {name: weight for name, weight in stage.state_dict().items() if "lora_" in name}


def load_adapted(adapter: Path, base: Path | None) -> AccompGenSemanticForCausalLM:
    stage = load_part(base, "semantic") if base is not None else tiny_model().semantic
    stage.load_adapter(str(adapter))
    return stage.eval()


@pytest.fixture(scope="module")
def trained(shards, base, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("adapted")
    return folder, adapt(shards, folder, base, max_steps=12)


def test_an_adapter_is_saved_alone_and_loaded_by_the_stage(trained, base, shards):
    folder = trained[0]
    files = {path.name for path in (folder / "final").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "training_tracks.json"} <= files
    assert "model.safetensors" not in files
    assert verify_manifest(folder / "final") == []
    assert str(base) not in (folder / "final" / "adapter_config.json").read_text(
        "utf-8"
    )  # nobody's folders are published
    assert read_record(folder / "final") == read_shard_tracks(shards) | {SEEN}
    stage, plain = load_adapted(folder / "final", base), load_part(base, "semantic").eval()
    matrices = {name.split(".lora_A")[0].rpartition(".")[2] for name in stage.state_dict() if ".lora_A" in name}
    assert matrices == set(LAYER_MATRICES)
    heard = {"vocal_semantic_ids": torch.arange(50)[None] % NUM_CLUSTERS}
    ours, theirs = (model.generate_codes(**heard, seed=1) for model in (stage, plain))
    assert not torch.equal(ours, theirs)  # decoding hears the adapter


def test_numbers_before_and_after_are_told(trained):
    summary = trained[1]
    assert summary["validation"]["loss"] < summary["validation_before"]["loss"]


def test_a_killed_run_goes_on_to_the_bit(shards, base, tmp_path):
    whole = adapt(shards, tmp_path / "whole", base, max_steps=6)
    adapt(shards, tmp_path / "half", base, max_steps=6, save_every=3)
    for path in (tmp_path / "half").glob("checkpoint-00000006"):  # as if killed behind step 3
        for file in sorted(path.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        path.rmdir()
    for name in ("summary.json",):
        (tmp_path / "half" / name).unlink()
    again = adapt(shards, tmp_path / "half", base, max_steps=6)
    assert again["validation"]["loss"] == whole["validation"]["loss"]
    assert again["validation_before"] == whole["validation_before"]
    ours, theirs = read_adapter(tmp_path / "half" / "final"), read_adapter(tmp_path / "whole" / "final")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_assembling_merges_the_adapter(trained, base, tmp_path):
    folder = trained[0] / "final"
    arguments = ["assemble", "--base", str(base), "--semantic", str(folder), "-o", str(tmp_path / "band")]
    assert cli.main(arguments) == 0
    model = AccompGenForConditionalGeneration.from_pretrained(tmp_path / "band")
    adapted = load_adapted(folder, base)
    merged = dict(model.semantic.named_parameters())
    layer = adapted.model.layers[0].self_attn.q_proj
    expected = layer.base_layer.weight + layer.get_delta_weight("default")
    name = next(name for name in merged if name.endswith("layers.0.self_attn.q_proj.weight"))
    torch.testing.assert_close(merged[name], expected, atol=1e-6, rtol=0)
    assert read_record(tmp_path / "band") >= {SEEN}
    before = AccompGenForConditionalGeneration.from_pretrained(base)
    assert torch.equal(model.coarse.state_dict()["heads.0.weight"], before.coarse.state_dict()["heads.0.weight"])
    assert model.config.bandwidth == before.config.bandwidth
    heard = {"vocal_semantic_ids": torch.arange(50)[None] % NUM_CLUSTERS}
    assert torch.equal(model.semantic.generate_codes(**heard, seed=1), adapted.generate_codes(**heard, seed=1))
    assert merge_adapter(load_part(base, "semantic"), folder).generation_config.top_k == 250


def test_an_adapter_is_published_with_its_card(trained, monkeypatch):
    monkeypatch.setattr(publishing, "push_folder", lambda folder, repo_id: f"{repo_id} {folder}")
    template = (Path(__file__).parents[3] / "model_cards" / "stage.md").read_text("utf-8")
    assert publishing.publish_stage(trained[0], "me/mine", template) == f"me/mine {trained[0] / 'repository'}"
    assert verify_manifest(trained[0] / "repository") == []
    card = (trained[0] / "repository" / "README.md").read_text("utf-8")
    assert f"{trained[1]['validation']['loss']:.3f}" in card
    assert "{{" not in card
    assert (trained[0] / "repository" / "adapter_model.safetensors").is_file()


def test_a_stage_of_a_whole_model_is_trained_on_without_adapters(shards, base, tmp_path):
    train_stage(make_arguments(shards, tmp_path, init_from=str(base), model={"dropout": 0.1}, max_steps=1))
    stage = AccompGenSemanticForCausalLM.from_pretrained(tmp_path / "final")
    assert stage.config.dropout == 0.1
    assert SEEN in stage.training_tracks


def test_what_does_not_fit_is_refused(shards, base, tmp_path, capsys):
    with pytest.raises(ValueError, match="`lora_rank` must be at least 1 and needs `init_from`"):
        make_arguments(shards, tmp_path, lora_rank=4)
    with pytest.raises(ValueError, match="`lora_alpha` and `lora_target` need `lora_rank`"):
        make_arguments(shards, tmp_path, lora_alpha=4)
    with pytest.raises(ValueError, match=r"`lora_target` must be among q_proj, .*, got heads"):
        adapt(shards, tmp_path, base, lora_target=["heads"])
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert cli.main(["assemble", "--semantic", str(adapter), "-o", str(tmp_path / "band")]) == 2
    assert "`--semantic` is an adapter, which changes a stage: give `--base`" in capsys.readouterr().err
    assert cli.main(["assemble", "--semantic", str(base), "-o", str(tmp_path / "band")]) == 2
    assert "`--coarse` is not named: give `--base`" in capsys.readouterr().err
