"""Tables that start from the codec's codebooks keep their geometry."""

import pytest
import torch
from tests.tiny import STAGE_SIZES, init_codebooks, tiny_codec_config, tiny_model, tiny_stage
from tests.tiny_singsong import SIZES as SINGSONG_SIZES
from transformers import EncodecModel

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.code_tables import (
    EMBEDDING_RMS,
    FIRST_CODEBOOK,
    HEAD_NORM,
    start_tables_from_centroids,
    start_tables_from_codec,
)
from accompgen_hf.training.stages.setup import load_stage


@pytest.fixture(scope="module")
def codec():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = EncodecModel(tiny_codec_config()).eval()
    init_codebooks(model)
    return model


def codebook(codec, index):
    return codec.quantizer.layers[index].codebook.embed


@pytest.mark.parametrize(
    ("config_class", "segment_index", "first"),
    [(AccompGenCoarseConfig, -1, 0), (AccompGenFineConfig, 0, 0), (AccompGenFineConfig, -1, 4)],
)
def test_distances_of_embeddings_are_those_of_codebook_vectors(codec, config_class, segment_index, first):
    stage = tiny_stage(config_class)
    start_tables_from_codec(stage, codec, seed=0)
    segment = stage.config.segments[segment_index]
    size = segment.codebook_size
    scales = []
    for index in range(segment.num_codebooks):
        rows = stage.model.embed_tokens.weight[segment.offset + index * size :][:size]
        found, expected = (
            torch.cdist(rows, rows),
            torch.cdist(codebook(codec, first + index), codebook(codec, first + index)),
        )
        scales.append((found.sum() / expected.sum()).item())
        torch.testing.assert_close(found / scales[0], expected, atol=1e-3, rtol=1e-3)
    assert max(scales) / min(scales) < 1.001  # one scale for all codebooks: a frame's embeddings add up to the frame


def test_heads_point_along_their_own_codebooks(codec):
    stage = tiny_stage(AccompGenFineConfig)
    start_tables_from_codec(stage, codec, seed=0)
    for index, head in enumerate(stage.heads):
        vectors = codebook(codec, 4 + index)
        expected = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
        found = torch.nn.functional.cosine_similarity(head.weight[:, None], head.weight[None], dim=-1)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert head.weight.norm(dim=1).mean().item() == pytest.approx(HEAD_NORM, rel=1e-4)


def test_only_code_tables_change_and_the_scale_is_as_documented(codec):
    stage = tiny_stage(AccompGenCoarseConfig)
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    start_tables_from_codec(stage, codec, seed=0)
    segment = stage.config.target_segment
    for name, tensor in stage.state_dict().items():
        if name == "model.embed_tokens.weight":
            assert torch.equal(tensor[: segment.offset], before[name][: segment.offset])
            assert tensor[segment.offset :].pow(2).mean().sqrt().item() == pytest.approx(EMBEDDING_RMS, rel=1e-3)
        elif not name.startswith("heads."):
            assert torch.equal(tensor, before[name]), name


def test_the_seed_decides_the_rotation(codec):
    weights = []
    for seed in (0, 0, 1):
        stage = tiny_stage(AccompGenCoarseConfig)
        start_tables_from_codec(stage, codec, seed)
        weights.append(stage.heads[0].weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_plan_of_parts_starts_every_parts_head_from_the_centroids():
    named = {"part_names": ("drums", "bass", "other")}
    stage = tiny_stage(AccompGenSemanticConfig, **named)
    size = stage.config.target_segment.codebook_size
    centroids = torch.randn(size, 8, generator=torch.Generator().manual_seed(0))
    start_tables_from_centroids(stage, centroids, seed=0)
    assert len(stage.heads) == 3
    around = centroids - centroids.mean(0)
    expected = torch.nn.functional.cosine_similarity(around[:, None], around[None], dim=-1)
    for head in stage.heads:
        found = torch.nn.functional.cosine_similarity(head.weight[:, None], head.weight[None], dim=-1)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_run_starts_from_the_codec_that_it_is_told(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    config = tiny_stage(AccompGenCoarseConfig).config
    model = {name: getattr(config, name) for name in (*STAGE_SIZES, "clip_duration_s", "window_overlap_s")}
    told = {
        "stage": "coarse",
        "data": "d",
        "output_dir": "o",
        "model": model,
        "init_codes_from": str(tmp_path),
        "seed": 4,
    }
    stage = load_stage(StageTrainingArguments(**told))
    expected = tiny_stage(AccompGenCoarseConfig)
    start_tables_from_codec(expected, codec, seed=4)
    assert all(
        torch.equal(ours.weight, theirs.weight) for ours, theirs in zip(stage.heads, expected.heads, strict=True)
    )


def test_a_stage_without_codes_is_refused(codec):
    with pytest.raises(ValueError, match="`init_codes_from` is for the coarse and the fine stage"):
        start_tables_from_codec(tiny_stage(AccompGenSemanticConfig), codec, seed=0)


def test_a_codec_of_other_codebooks_is_refused(codec):
    with pytest.raises(ValueError, match="`init_codes_from` must be a codec of at least 4 codebooks with 32 codes"):
        start_tables_from_codec(tiny_stage(AccompGenCoarseConfig, codebook_size=32), codec, seed=0)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    tiny_model().semantic_encoder.save_pretrained(folder)
    return folder


def read_centroids(folder):
    return AccompGenSemanticEncoder.from_pretrained(folder).centroids.detach()


@pytest.mark.parametrize("config_class", [AccompGenSemanticConfig, AccompGenCoarseConfig])
def test_distances_of_id_embeddings_are_those_of_centroids(config_class, encoder_folder):
    stage, centroids = tiny_stage(config_class, hidden_size=32), read_centroids(encoder_folder)
    start_tables_from_centroids(stage, centroids, seed=0)
    expected = torch.cdist(centroids, centroids)
    for segment in stage.config.segments[:2]:
        rows = stage.get_input_embeddings().weight[segment.offset : segment.offset + segment.num_ids]
        found = torch.cdist(rows, rows)
        torch.testing.assert_close(found * (expected.sum() / found.sum()), expected, atol=1e-3, rtol=1e-3)
        assert rows.pow(2).mean().sqrt().item() == pytest.approx(EMBEDDING_RMS)
    if config_class is AccompGenSemanticConfig:
        head = stage.heads[0].weight
        found = torch.cdist(head, head)
        torch.testing.assert_close(found * (expected.sum() / found.sum()), expected, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match=r"`init_ids_from` must have \d+ centroids, one per semantic id, got 3"):
        start_tables_from_centroids(stage, centroids[:3], seed=0)


def test_other_semantic_ids_leave_everything_else_of_a_trained_stage(encoder_folder, tmp_path):
    trained = tiny_stage(AccompGenCoarseConfig, token_fingerprint="a" * 64)
    trained.save_pretrained(tmp_path / "trained")
    folders = {"init_from": str(tmp_path / "trained"), "init_ids_from": str(encoder_folder)}
    stage = load_stage(StageTrainingArguments("coarse", "data", "out", **folders, seed=5))
    assert stage.config.token_fingerprint is None
    before, after = trained.state_dict(), stage.state_dict()
    name = "model.embed_tokens.weight"
    assert all(torch.equal(after[key], value) for key, value in before.items() if key != name)
    is_changed = (after[name] != before[name]).any(dim=1)
    for segment in stage.config.segments:
        own = is_changed[segment.offset : segment.offset + segment.num_ids]
        assert own.all() if segment.is_semantic else not own.any()
    assert not is_changed[: stage.config.segments[0].offset].any()


def test_a_new_stage_starts_from_centroids_and_a_fine_one_has_none(encoder_folder):
    sizes = {**STAGE_SIZES, "hidden_size": 32}
    options = {"model": sizes, "init_ids_from": str(encoder_folder), "seed": 2}
    stage = load_stage(StageTrainingArguments("semantic", "data", "out", **options))
    segment = stage.config.segments[0]
    rows = stage.get_input_embeddings().weight[segment.offset : segment.offset + segment.num_ids]
    assert rows.pow(2).mean().sqrt().item() == pytest.approx(EMBEDDING_RMS)
    load_stage(StageTrainingArguments("fine", "data", "out", **options))


@pytest.mark.parametrize("stage_name", ["singsong", "singsong_fine"])
def test_the_baseline_starts_from_the_same_geometry(stage_name, codec, encoder_folder, tmp_path):
    codec.save_pretrained(tmp_path)
    fields = {"init_codes_from": str(tmp_path), "init_ids_from": str(encoder_folder)}
    stage = load_stage(StageTrainingArguments(stage_name, "data", "out", model=SINGSONG_SIZES, **fields))
    centroids = read_centroids(encoder_folder)
    for segment in stage.config.segments:
        ids = segment.is_semantic
        vectors = centroids if ids else codebook(codec, FIRST_CODEBOOK[segment.name])
        expected = torch.cdist(vectors, vectors)
        rows = slice(segment.offset, segment.offset + segment.codebook_size)
        tables = [stage.get_input_embeddings().weight[rows]]
        tables += [stage.lm_head.weight[rows]] if segment in stage.config.target_segments else []
        for table in tables:
            found = torch.cdist(table, table)
            torch.testing.assert_close(found * (expected.sum() / found.sum()), expected, atol=1e-2, rtol=1e-2)
