"""SingSong as one model: its parts, its folder, and its place in the evaluation."""

import json

import pytest
import torch

from accompgen_hf.singsong.accompaniment import SingSongForAccompaniment
from accompgen_hf.singsong.modeling import SingSongForConditionalGeneration
from tiny import NUM_CLUSTERS, tiny_model
from tiny_singsong import tiny_accompaniment, tiny_singsong


@pytest.fixture(scope="module")
def model() -> SingSongForAccompaniment:
    return tiny_accompaniment()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("singsong")
    model.save_pretrained(path)
    return path


def test_tokens_and_audio_become_codes_and_audio(model):
    vocal_ids = torch.randint(NUM_CLUSTERS, (2, 12), generator=torch.Generator().manual_seed(0))
    heard = []
    output = model.generate(vocal_semantic_ids=vocal_ids, seed=1, callback=lambda *event: heard.append(event))
    assert output.instrumental_semantic_ids.shape == (2, 12)
    assert output.coarse_codes.shape == output.fine_codes.shape == (2, 4, 18)
    torch.testing.assert_close(output.audio, model.decode(torch.cat([output.coarse_codes, output.fine_codes], 1)))
    assert output.audio.shape == (2, 18 * 320)
    assert {stage for stage, _ in heard} == {"semantic", "coarse", "fine"}
    preview = model.generate(vocal_semantic_ids=vocal_ids, seed=1, preview=True)
    assert preview.fine_codes is None
    assert torch.equal(preview.coarse_codes, output.coarse_codes)
    waveform = 0.1 * torch.randn(1, 1920, generator=torch.Generator().manual_seed(1))
    from_audio = model(waveform, seed=4)
    assert torch.equal(from_audio.vocal_semantic_ids, model.semantic_encoder(waveform).semantic_ids)
    with pytest.raises(ValueError, match="`input_values` or `vocal_semantic_ids`, and not both"):
        model.generate(waveform, vocal_semantic_ids=vocal_ids)


def test_the_folder_gives_the_same_codes_and_settings(model, folder):
    loaded = SingSongForAccompaniment.from_pretrained(folder)
    vocal_ids = torch.arange(8)[None]
    first, second = (each.generate(vocal_semantic_ids=vocal_ids, seed=1) for each in (model, loaded))
    assert torch.equal(first.audio, second.audio)
    assert loaded.config.token_fingerprint == model.config.token_fingerprint
    assert loaded.config.coarse_config.silence_codes == model.config.coarse_config.silence_codes
    assert set(loaded.config.coarse_config.silence_codes) == {"vocal_semantic_ids"}
    assert loaded.singsong.generation_config.top_k == 250


def test_parts_of_other_tokens_are_refused(folder, tmp_path):
    parts = tiny_model()
    stranger = tiny_singsong(token_fingerprint="a" * 64)
    assert isinstance(stranger, SingSongForConditionalGeneration)
    own = tiny_accompaniment()
    with pytest.raises(ValueError, match=r"`token_fingerprint` of stage `singsong` is aaa.*the parts given here"):
        SingSongForAccompaniment.from_sub_models(
            stranger, own.singsong_fine, parts.semantic_encoder, parts.codec, bandwidth=2.4, preview_bandwidth=1.2
        )
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["fine_config"]["token_fingerprint"] = "b" * 64
    own.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ValueError, match="`token_fingerprint` of the singsong_fine config is bbb"):
        SingSongForAccompaniment.from_pretrained(tmp_path)
