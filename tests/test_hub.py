"""Saving, describing and verifying whole repositories."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import EvalResult, ModelCard
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline

from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenForConditionalGeneration,
    AccompGenSemanticConfig,
    VocalAccompanimentPipeline,
)
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.training_record_accompgen import read_record
from accompgen_hf.app import cli
from accompgen_hf.data.training_tracks import hash_track
from accompgen_hf.hub import (
    PLAIN_CARD,
    base_card_values,
    build_stage_tokenizer,
    fill_card,
    list_stage_words,
    push_folder,
    save_repository,
    save_stage_repository,
    stage_card_values,
    verify_repository,
)
from tiny import (
    STAGE_CLASSES,
    random_clip,
    tiny_codec_config,
    tiny_config,
    tiny_model,
    tiny_part_model,
    tiny_stage,
    tiny_stage_config,
)

VOCALS = np.sin(np.arange(8000) * 0.1).astype(np.float32)


def test_half_precision_is_stored_but_float32_is_loaded(tmp_path):
    pipe = VocalAccompanimentPipeline(model=tiny_model(), device="cpu")
    folder = save_repository(pipe, tmp_path / "repo", half_precision=True, card="# Card\n")
    stored = load_file(folder / "model.safetensors")
    assert stored["coarse.heads.0.weight"].dtype == torch.float16
    assert stored["semantic_encoder.centroids"].dtype == torch.float32
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert (folder / "README.md").read_text() == "# Card\n"

    loaded = pipeline("vocal-accompaniment", model=str(folder), device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    rounded = pipe.model.coarse.heads[0].weight.half().float()
    assert torch.equal(loaded.model.coarse.heads[0].weight, rounded)
    assert loaded(VOCALS, sampling_rate=16_000, seed=1)["audio"].shape == (12_000,)


def test_weights_that_float16_cannot_hold_leave_nothing_behind(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.fine.heads[0].weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"`fine\.heads\.0\.weight` must be finite and fit float16"):
        save_repository(VocalAccompanimentPipeline(model=model, device="cpu"), tmp_path / "repo", half_precision=True)
    assert list(tmp_path.iterdir()) == []


def test_the_words_of_a_vocabulary_stand_where_the_flat_vocabulary_has_them():
    for config_class in STAGE_CLASSES:
        config = tiny_stage_config(config_class)
        tokenizer = build_stage_tokenizer(config)
        assert tokenizer.get_vocab_size() == config.vocab_size
        conditioning, target = random_clip(config)
        inputs = build_stage_inputs(config, conditioning, target)
        words = tokenizer.decode(inputs["input_ids"][0].tolist())
        assert tokenizer.encode(words).ids == inputs["input_ids"][0].tolist()
        first = conditioning[config.conditioning_names[0]][0].flatten()[0].item()
        kind = "coarse1" if config_class is AccompGenFineConfig else "vocal"
        assert words.startswith(f"<{kind}_{first}> ")


def test_codebooks_are_counted_as_the_codec_counts_them():
    words = list_stage_words(AccompGenFineConfig())
    assert words[:4] == ["<pad>", "<bos>", "<null>", "<coarse1_0>"]
    assert words[3 + 1024 + 1003] == "<coarse2_1003>"
    assert words[3 + 4 * 1024] == "<fine5_0>"
    assert words[-1] == "<fine8_1023>"
    assert list_stage_words(AccompGenSemanticConfig())[3 + 17] == "<vocal_17>"
    assert list_stage_words(AccompGenCoarseConfig())[3 + 500 + 17] == "<instrumental_17>"


def test_a_word_that_is_no_code_is_an_error():
    with pytest.raises(Exception, match="WordLevel error"):
        build_stage_tokenizer(tiny_stage_config(AccompGenSemanticConfig)).encode("<vocal_20>")


def test_a_stage_repository_has_model_vocabulary_card_and_manifest(tmp_path):
    stage = tiny_stage(AccompGenCoarseConfig)
    template = (Path(__file__).parents[1] / "model_cards" / "stage.md").read_text("utf-8")
    card = fill_card(template, {**stage_card_values(stage), "repository": "me/coarse"})
    folder = save_stage_repository(stage, tmp_path / "coarse", card, include_code=True)
    assert verify_repository(folder) == []
    assert "not measured" in (folder / "README.md").read_text()
    assert "| styles | none |" in card
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"]["AutoModelForCausalLM"] == "modeling_accompgen_stages.AccompGenCoarseForCausalLM"
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(loaded.heads[0].weight, stage.heads[0].weight)
    assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<instrumental_3>") == 3 + 20 + 3


def test_cards_list_the_parts_and_styles_that_can_be_asked_for():
    parts, styles = "`drums`, `bass`, `other`", "`bossa_nova`, `rock`"
    model = tiny_part_model()
    stage = (Path(__file__).parents[1] / "model_cards" / "stage.md").read_text("utf-8")
    for text, values, names in (
        (PLAIN_CARD, base_card_values(model), ("`parts`", "`style`")),
        (stage, stage_card_values(model.coarse), ("parts", "styles")),
    ):
        card = fill_card(text, {**values, "license": "other", "name": "band"})
        assert f"| {names[0]} | {parts} |" in card
        assert f"| {names[1]} | {styles} |" in card
    plain = fill_card(PLAIN_CARD, {**base_card_values(tiny_model()), "license": "other", "name": "band"})
    assert "| `parts` | none: it plays the whole band as one |" in plain
    assert "| `style` | none |" in plain


def test_a_card_says_what_was_measured_and_what_was_not():
    template = (Path(__file__).parents[1] / "model_cards" / "base.md").read_text("utf-8")
    result = EvalResult("audio-to-audio", "procedural songs", "accompgen-songs", "cross-entropy", 3.2)
    text = fill_card(
        template,
        base_card_values(tiny_model()),
        datasets=["fma"],
        metrics=["cross-entropy"],
        model_name="band",
        results=[result],
    )
    card = ModelCard(text)
    assert card.data.pipeline_tag == "audio-to-audio"
    assert "vocal-accompaniment" in card.data.tags
    assert (card.data.license, card.data.datasets, card.data.metrics) == ("apache-2.0", ["fma"], ["cross-entropy"])
    assert card.data.to_dict()["model-index"][0]["results"][0]["metrics"][0]["value"] == 3.2
    assert "{{" not in text
    assert "(0.07 M parameters over three stages" in text


def test_a_card_that_would_not_be_found_is_refused():
    with pytest.raises(ValueError, match="`template` must say `pipeline_tag: audio-to-audio`, got 'text-generation'"):
        fill_card("---\npipeline_tag: text-generation\n---\n", {})
    with pytest.raises(ValueError, match="`model_name` must be given with `results`"):
        fill_card(PLAIN_CARD, {}, results=[EvalResult("a", "b", "c", "d", 1.0)])


def test_the_plain_card_begins_with_the_call_that_works():
    body = PLAIN_CARD.split("# {{name}}")[1].strip()
    assert body.startswith("```python\nimport accompgen_hf")
    assert 'pipeline("vocal-accompaniment", model="{{name}}")' in body.split("```")[1]
    assert "library_name: accompgen_hf" in PLAIN_CARD  # Transformers' own snippet would ask for another task


def test_a_changed_folder_is_not_pushed(tmp_path):
    folder = save_stage_repository(tiny_stage(AccompGenFineConfig), tmp_path / "fine")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"`folder` must be as it was saved, .* is not: config.json: changed"):
        push_folder(folder, "someone/fine")


def test_the_command_line_assembles_parts(tmp_path, capsys):
    codec = tiny_codec_config(codebook_size=1024, target_bandwidths=[3.0, 6.0])
    stages = {
        f"{name}_config": tiny_stage_config(config_class, codebook_size=1024)
        for name, config_class in zip(("semantic", "coarse", "fine"), STAGE_CLASSES, strict=True)
    }
    config = tiny_config(codec_config=codec, **stages, bandwidth=6.0, preview_bandwidth=3.0)
    model = AccompGenForConditionalGeneration(config)
    parts = ("semantic", "coarse", "fine", "semantic_encoder", "codec")
    for part in parts[:3]:
        getattr(model, part).training_tracks = frozenset({hash_track(part)})
    for part in parts:
        getattr(model, part).save_pretrained(tmp_path / part)
    options = [f"--{part.replace('_', '-')}={tmp_path / part}" for part in parts]
    assert cli.main(["assemble", *options, "-o", str(tmp_path / "band"), "--license", "mit", "--half"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "band")]
    assert read_record(tmp_path / "band") == {hash_track(part) for part in parts[:3]}
    assert verify_repository(tmp_path / "band") == []
    card = ModelCard.load(tmp_path / "band" / "README.md")
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "audio-to-audio")
    assert "# band" in card.text
    loaded = AutoModel.from_pretrained(tmp_path / "band")
    assert loaded.config.token_fingerprint in card.text
    assert str(tmp_path) not in (tmp_path / "band" / "config.json").read_text()  # nobody's folders are published
    (tmp_path / "fine" / "model.safetensors").unlink()
    assert cli.main(["assemble", *options, "-o", str(tmp_path / "band")]) == 1
    assert "weights must be in model.safetensors, found no weights" in capsys.readouterr().err
    assert verify_repository(tmp_path / "band") == []


def test_the_command_line_verifies(tmp_path, capsys):
    folder = str(save_stage_repository(tiny_stage(AccompGenFineConfig), tmp_path / "fine"))
    assert cli.main(["verify", folder]) == 0
    assert "every file is as it was saved" in capsys.readouterr().out
    weights = tmp_path / "fine" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 16
    weights.write_bytes(data)
    assert cli.main(["verify", folder]) == 1
    assert "model.safetensors: changed, expected sha256" in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
