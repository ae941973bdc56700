"""A stage's listener: saved with it, used in windows of recordings and streams, and refused where there is none."""

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.accompgen.listener_accompgen import LISTENING_CONTEXT_S
from accompgen_hf.accompgen.windows_accompgen import WindowedRecording, frames_per_step, run_next_windows
from tiny import NUM_CLUSTERS, PARTS, listening_stage, random_codes, tiny_stage, voice_of


def test_a_new_listener_says_nothing():
    stage = tiny_stage(AccompGenSemanticConfig, has_listener=True, part_names=PARTS)
    heard = stage.listener.hear(torch.arange(100) % NUM_CLUSTERS, 20, 30)
    assert heard.shape == (30, 3, NUM_CLUSTERS)
    torch.testing.assert_close(heard, torch.zeros_like(heard), atol=1e-5, rtol=0)


def test_it_is_saved_and_loaded_with_its_stage(tmp_path):
    stage, voice = listening_stage(part_names=PARTS), torch.arange(100) % NUM_CLUSTERS
    stage.generation_config.listening_scale = 2.0
    stage.save_pretrained(tmp_path)
    loaded = type(stage).from_pretrained(tmp_path)
    assert torch.equal(loaded.listener.hear(voice, 20, 30), stage.listener.hear(voice, 20, 30))
    voice = voice_of(stage, 2.0)
    codes = loaded.generate_codes(vocal_semantic_ids=voice, seed=1)
    assert torch.equal(codes, stage.generate_codes(vocal_semantic_ids=voice, seed=1, listening_scale=2.0))
    assert not torch.equal(codes, stage.generate_codes(vocal_semantic_ids=voice, seed=1, listening_scale=0.0))


@pytest.mark.parametrize("settings", [{}, {"engine": "torch"}, {"cache_implementation": "dynamic"}])
def test_much_of_it_decides_alone(settings):
    stage = listening_stage(part_names=PARTS)
    voice = voice_of(stage, 1.0)
    codes = stage.generate_codes(vocal_semantic_ids=voice, seed=1, listening_scale=1e6, **settings)
    assert torch.equal(codes[0], stage.listener.hear(voice[0], 0, 50).argmax(-1).T)


def test_rows_of_a_batch_hear_their_own_voice():
    stage = listening_stage()
    voices = voice_of(stage, 2.2, 2)
    together = stage.generate_codes(vocal_semantic_ids=voices, seed=3, listening_scale=3.0)
    assert torch.equal(together[1:], stage.generate_codes(vocal_semantic_ids=voices[1:], seed=4, listening_scale=3.0))


@pytest.mark.parametrize("duration_s", [0.4, 1.0, 5.0, 40.0])
def test_a_recording_in_pieces_hears_what_the_whole_one_does(duration_s):
    stage = listening_stage()
    voice = voice_of(stage, duration_s)
    whole = stage.generate_codes(vocal_semantic_ids=voice, seed=0, listening_scale=3.0)
    recording, pieces = WindowedRecording(stage.config, 0, heard_s=LISTENING_CONTEXT_S), []
    settings = {"listening_scale": 3.0}
    for piece in voice.split(10, dim=1):
        recording.append({"vocal_semantic_ids": piece})
        while run_next_windows(stage, [recording], settings=settings):
            pass
        pieces.append(recording.take())
        held = recording._held["vocal_semantic_ids"].shape[-1]
        most_steps = 2 * recording.plan.window_steps + 2 * round(LISTENING_CONTEXT_S * 25)
        assert held <= most_steps * frames_per_step("vocal_semantic_ids")
    recording.finish()
    while run_next_windows(stage, [recording], settings=settings):
        pass
    pieces.append(recording.take())
    found = torch.cat([piece["instrumental_semantic_ids"] for piece in pieces if piece], dim=-1)
    assert torch.equal(found, whole)


def test_it_hears_beyond_its_window():
    stage = listening_stage()
    voice = voice_of(stage, 8.0)
    other = torch.cat([voice[:, :100], voice_of(stage, 6.0)], dim=1)  # the first window lasts a second
    first, second = (
        stage.generate_codes(vocal_semantic_ids=ids, seed=0, listening_scale=10.0)[:, :50] for ids in (voice, other)
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), True, "much"])
def test_another_scale_is_refused(scale):
    stage = listening_stage()
    with pytest.raises(ValueError, match="`listening_scale` must be a number from 0 on, got"):
        stage.generate_codes(vocal_semantic_ids=voice_of(stage, 1.0), listening_scale=scale)


@pytest.mark.parametrize("config_class", [AccompGenSemanticConfig, AccompGenCoarseConfig])
def test_a_stage_without_one_is_refused(config_class):
    stage = tiny_stage(config_class)
    conditioning = {segment.name: random_codes(segment, 1, 1.0) for segment in stage.config.segments[:-1]}
    with pytest.raises(ValueError, match="`listening_scale` must be 0 for a stage without a listener"):
        stage.generate_codes(**conditioning, listening_scale=1.0)


def test_evidence_of_another_shape_is_refused():
    stage = tiny_stage(AccompGenSemanticConfig)
    inputs = build_stage_inputs(stage.config, {"vocal_semantic_ids": voice_of(stage, 1.0)})
    inputs.pop("labels")
    with pytest.raises(ValueError, match=r"`evidence` must have shape \(1, 50, 20\), got \(1, 49, 20\)"):
        stage.generate(**inputs, evidence=torch.zeros(1, 49, NUM_CLUSTERS))
