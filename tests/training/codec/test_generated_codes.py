"""Codes with generated fine ones, beside songs on disk, and a decoder that learns from them."""

import functools
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codec_accompgen import encode_in_blocks
from accompgen_hf.training.codec.generated_codes import generate_codes, write_generated_codes
from accompgen_hf.training.codec.material import CONTEXT_FRAMES, draw_coded_clips, read_songs, write_songs
from accompgen_hf.training.codec.run import save_codec
from tiny import tiny_model, tiny_stage_config
from tiny_codec_training import make_trainer, tiny_arguments, tone

EXAMPLES = Path(__file__).parents[3] / "examples"
PARTS = ("drums", "bass", "other")
NUM_FRAMES = 150  # two seconds


def band(seed: int) -> dict[str, np.ndarray]:
    tones = [tone(3 * seed + part)["instrumental"] for part in range(len(PARTS))]
    return {"vocals": tone(seed)["vocals"], **dict(zip(PARTS, tones, strict=True))}


@functools.cache
def make_model():
    kinds = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)
    names = ("semantic_config", "coarse_config", "fine_config")
    configs = [tiny_stage_config(kind, part_names=PARTS) for kind in kinds]
    return tiny_model(**dict(zip(names, configs, strict=True)))


def number_codes(folder: Path, seed: int) -> None:
    """Codes that tell part and frame, for clips to be recognized by."""
    codes = np.zeros((len(PARTS), 8, NUM_FRAMES), np.int16)
    codes[:, 0] = np.arange(len(PARTS))[:, None]
    codes[:, 1] = np.arange(NUM_FRAMES)
    (folder / "codes").mkdir(exist_ok=True)
    np.save(folder / "codes" / f"{seed}.npy", codes)


def test_coarse_codes_are_true_and_fine_ones_the_stages():
    model = make_model()
    parts = torch.from_numpy(np.stack([band(0)[part] for part in PARTS]))
    codes = generate_codes(model, parts, seed=5)
    true = encode_in_blocks(model.codec, parts, model.config.bandwidth)
    assert codes.shape == true.shape == (3, 8, NUM_FRAMES)
    assert torch.equal(codes[:, :4], true[:, :4])
    whole = model.generate(
        torch.zeros(1, NUM_FRAMES // 3 * 640),
        seed=5,
        known_codes={
            "vocal_semantic_ids": torch.zeros(1, NUM_FRAMES // 3 * 2, dtype=torch.long),
            "instrumental_semantic_ids": torch.zeros(1, 3, NUM_FRAMES // 3 * 2, dtype=torch.long),
            "coarse_codes": true[None, :, :4],
        },
    )
    assert torch.equal(codes[:, 4:], whole.fine_codes[0])


def test_codes_are_written_beside_the_songs_that_lack_them(tmp_path, monkeypatch):
    make_model().save_pretrained(tmp_path / "model")
    write_songs(tmp_path / "songs" / "bands", range(2), band)
    number_codes(tmp_path / "songs" / "bands", 1)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    options = ["--model", "model", "--songs_dir", "songs"]
    monkeypatch.setattr(sys, "argv", ["generate_fine_codes.py", *options])
    importlib.import_module("generate_fine_codes").main()
    made, kept = read_songs("songs")
    parts = torch.from_numpy(made.samples[1:].astype(np.float32) / 32767)
    np.testing.assert_array_equal(made.codes, generate_codes(make_model(), parts, seed=0))
    np.testing.assert_array_equal(kept.codes[:, 1], np.tile(np.arange(NUM_FRAMES), (3, 1)))


def test_songs_of_other_parts_are_refused(tmp_path):
    write_songs(tmp_path / "tones", range(1), tone)
    with pytest.raises(ValueError, match=r"`folder` .* must have the tracks drums, bass, other, found vocals, inst"):
        write_generated_codes(make_model(), tmp_path / "tones")
    assert not (tmp_path / "tones" / "codes").exists()


def test_clips_are_of_one_part_and_its_codes(tmp_path):
    arguments = tiny_arguments(tmp_path, clip_shares={"bass": 1.0, "drums": 1.0, "vocals": 3.0})
    write_songs(tmp_path / "songs" / "bands", range(2), band)
    number_codes(tmp_path / "songs" / "bands", 1)
    songs = read_songs(tmp_path / "songs")
    seen = set()
    for step in range(8):
        clips, codes = draw_coded_clips(songs, arguments, step, 320)
        assert clips.shape == (2, 1, (12 + CONTEXT_FRAMES) * 320)
        for clip, of_clip in zip(clips, codes, strict=True):
            part, first = int(of_clip[0, 0]), int(of_clip[1, 0])
            assert torch.equal(of_clip[1], torch.arange(first, first + 12 + CONTEXT_FRAMES))
            expected = songs[1].samples[1 + part, first * 320 :][: clip.shape[1]] / np.float32(32767)
            np.testing.assert_allclose(clip[0], expected)
            seen.add(part)
    assert seen == {0, 1}
    again = draw_coded_clips(songs, arguments, 7, 320)
    assert torch.equal(again[0], clips)
    assert torch.equal(again[1], codes)


def test_a_decoder_learns_what_made_codes_sound_like(tmp_path):
    """Codes that say nothing of the true ones: only updates on them teach the decoder to play the song from them."""
    save_codec(make_trainer(tmp_path / "a").model, tmp_path / "codec")
    write_songs(tmp_path / "b" / "songs" / "bands", range(1), band)
    settings = {"init_from": str(tmp_path / "codec"), "freeze_encoder": True, "clip_shares": {"other": 1.0}}
    settings |= {"max_steps": 200, "learning_rate": 3e-3, "decay_share": 0.01}
    folder = tmp_path / "b" / "songs" / "bands"
    (folder / "codes").mkdir()
    np.save(folder / "codes" / "0.npy", np.random.default_rng(0).integers(0, 16, (3, 8, NUM_FRAMES), dtype=np.int16))
    trainer = make_trainer(tmp_path / "b", **settings, generated_share=1.0)
    losses = [trainer.step()["mel_loss"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_updates_on_made_codes_have_their_share(tmp_path):
    save_codec(make_trainer(tmp_path / "a").model, tmp_path / "codec")
    settings = {"init_from": str(tmp_path / "codec"), "freeze_encoder": True, "max_steps": 1000}
    trainer = make_trainer(tmp_path / "b", **settings, generated_share=0.3)
    drawn = []
    for trainer.completed_steps in range(300):
        drawn.append(trainer.has_generated_codes)
    assert 0.2 < np.mean(drawn) < 0.4
    assert not make_trainer(tmp_path / "c", **settings).has_generated_codes


def test_what_updates_on_made_codes_need_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"`generated_share` must be 0, or with `freeze_encoder` at most 1, got 0.5"):
        tiny_arguments(tmp_path, generated_share=0.5)
    save_codec(make_trainer(tmp_path / "a").model, tmp_path / "codec")
    settings = {"init_from": str(tmp_path / "codec"), "freeze_encoder": True, "generated_share": 1.0}
    with pytest.raises(ValueError, match=r"`generated_share` needs songs with codes, got 1.0 .*generate_fine_codes"):
        make_trainer(tmp_path / "b", **settings).step()
    write_songs(tmp_path / "b" / "songs" / "bands", range(1), band)
    number_codes(tmp_path / "b" / "songs" / "bands", 0)
    with pytest.raises(ValueError, match=r"`clip_shares` must name a part of \['drums', 'bass', 'other'\], got"):
        make_trainer(tmp_path / "b", **settings, clip_shares={"mix": 1.0}).step()
