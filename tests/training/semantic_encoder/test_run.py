"""Masked prediction on a few real songs: targets carry pitch, training resumes exactly, files say what they hold."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.songs.song import compose_song
from accompgen_hf.training.run_files import MetricsLog, read_metrics
from accompgen_hf.training.semantic_encoder.finish import (
    draw_accuracies,
    fit_pool_centroids,
    probe_encoder,
    save_encoder,
)
from accompgen_hf.training.semantic_encoder.model import (
    SMALL_HUBERT,
    HubertForMaskedPrediction,
    draw_mask,
    initialise_filter_bank,
    make_hubert_config,
    normalise_crops,
    save_rounded_hubert,
)
from accompgen_hf.training.semantic_encoder.pool import PHASES_PER_BEAT, SongPool, label_frames
from accompgen_hf.training.semantic_encoder.run import SemanticEncoderArguments, SemanticEncoderTrainer
from accompgen_hf.training.semantic_encoder.targets import (
    HEARD_FAMILIES,
    NO_CHORD,
    TARGET_FAMILIES,
    SemanticTargets,
    compute_target_features,
    number_beats,
)
from tiny_encoder import TINY_HUBERT, TINY_RUN, chunks_of_two_clips


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Two clips to train on, two to measure on, and their targets."""
    folder = tmp_path_factory.mktemp("parts")
    with chunks_of_two_clips():
        pool, held_out_pool = SongPool(folder / "pool", 2).build(), SongPool(folder / "pool", 2, 790_000).build()
        yield pool, held_out_pool, SemanticTargets(folder / "targets").build(pool, held_out_pool)


def make_trainer(parts, folder, **changes) -> SemanticEncoderTrainer:
    return SemanticEncoderTrainer(SemanticEncoderArguments(str(folder), **{**TINY_RUN, **changes}), *parts)


def make_tone(midi_pitch: float, num_samples: int = 32_000) -> np.ndarray:
    times = np.arange(num_samples) / 16_000
    frequency = 440 * 2 ** ((midi_pitch - 69) / 12)
    return sum(np.sin(2 * np.pi * frequency * k * times) / k for k in range(1, 9)).astype(np.float32)


def test_pitch_target_peaks_at_the_sung_note_and_harmony_at_its_class():
    for midi_pitch in (50, 57, 64, 71):
        features = compute_target_features(make_tone(midi_pitch))
        assert features["pitch"][50].argmax() + 40 == midi_pitch
        assert features["harmony"][50, :12].argmax() == midi_pitch % 12
        assert all(len(view) == 100 for view in features.values())


def test_targets_do_not_depend_on_the_level():
    quiet, loud = compute_target_features(0.01 * make_tone(60)), compute_target_features(make_tone(60))
    for name in HEARD_FAMILIES:
        np.testing.assert_allclose(quiet[name], loud[name], atol=1e-3)


def test_timbre_target_marks_the_onset():
    waveform = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.001
    waveform[16_000:] += make_tone(60, 16_000)
    change = compute_target_features(waveform)["timbre"][:, 40:].sum(1)
    assert abs(int(change.argmax()) - 50) <= 2


def test_target_features_refuse_a_length_off_the_frames():
    with pytest.raises(ValueError, match=r"`waveform` must be .* a multiple of 320"):
        compute_target_features(np.zeros(321, np.float32))


def test_frame_labels_agree_with_the_annotation():
    annotation = compose_song(3, duration_s=10.0)
    labels = label_frames(annotation, 500)
    note = max(annotation.melody, key=lambda note: note.end_s - note.start_s)
    middle = int((note.start_s + note.end_s) / 2 * 50)
    assert labels["midi_pitch"][middle] == note.midi_pitch
    chord = max(annotation.chords, key=lambda chord: chord.end_s - chord.start_s)
    middle = int((chord.start_s + chord.end_s) / 2 * 50)
    assert labels["chord_root"][middle] == chord.root
    assert labels["is_minor_chord"][middle] == ((chord.root + 3) % 12 in chord.pitch_classes)
    beats = annotation.beat_times[(annotation.beat_times > 0.1) & (annotation.beat_times < 9.9)]
    assert labels["is_beat"][(beats * 50).astype(int)].all()
    assert labels["is_beat"].sum() <= 3 * len(annotation.beat_times)
    frames = (beats * 50).astype(int)
    assert (labels["beat_phase"][frames + 1] == 0).all()  # a frame's centre may lie just before the beat
    assert (labels["beat_phase"][frames - 2] == 3).all()


def test_chord_and_beat_are_taught_alike_to_voice_and_band(parts):
    pool, _, targets = parts
    annotation = compose_song(1, duration_s=10.0)
    for kind in ("vocals", "instrumental"):
        chords, beats = (targets.read_ids(pool, name, kind, 1) for name in ("chord", "beat"))
        assert chords.shape == beats.shape == (500,)
        for chord in annotation.chords:
            is_minor = (chord.root + 3) % 12 in chord.pitch_classes
            middle = int((chord.start_s + chord.end_s) / 2 * 50)
            assert chords[middle] == 2 * chord.root + is_minor
        assert set(beats) == {0, 1, 2, 3, PHASES_PER_BEAT}
        assert chords.max() <= NO_CHORD


def test_a_beats_first_frames_are_a_class_of_their_own():
    phases = np.repeat([2, 3, 0, 1, 2, 3, 0], [4, 6, 6, 6, 6, 6, 2])
    now = PHASES_PER_BEAT
    expected = [2] * 4 + [3] * 6 + [now] * 3 + [0] * 3 + [1] * 6 + [2] * 6 + [3] * 6 + [now] * 2
    assert number_beats(phases).tolist() == expected
    assert number_beats(np.zeros(5, np.int8)).tolist() == [0] * 5  # a clip that begins inside a beat's first quarter


def test_pool_is_made_once_and_reads_the_same(parts):
    pool = parts[0]
    again = SongPool(pool.folder, 2).build()
    waveform = again.read_waveform("vocals", 1)
    assert waveform.dtype == np.float32
    assert waveform.shape == (160_000,)
    assert np.array_equal(waveform, pool.read_waveform("vocals", 1))
    assert not list(pool.folder.glob("*.tmp"))
    with pytest.raises(ValueError, match="`num_clips` must be a positive multiple of"):
        SongPool(pool.folder, 3)


def test_mask_hides_whole_spans_and_never_nothing():
    is_masked = draw_mask((64, 200), 0.05, 10, np.random.default_rng(0))
    assert is_masked.any(1).all()
    assert 0.3 < is_masked.float().mean() < 0.5  # 1 - 0.95 ** 10 = 0.40
    rows = draw_mask((4, 50), 0.0, 10, np.random.default_rng(0))
    assert rows.sum(1).tolist() == [10, 10, 10, 10]


def test_first_filters_respond_to_their_pitch_whatever_the_phase():
    model = HubertForMaskedPrediction(make_hubert_config(SMALL_HUBERT), TARGET_FAMILIES)
    initialise_filter_bank(model.hubert)
    conv = model.hubert.feature_extractor.conv_layers[0].conv
    band = 36  # 55 Hz * 2 ** 3 = 440 Hz
    responses = []
    for phase in np.linspace(0, 2 * np.pi, 7):
        tone = torch.sin(2 * np.pi * 440 * torch.arange(1024) / 16_000 + phase)
        magnitudes = (conv.weight[:, 0] @ tone).reshape(-1, 3).clamp(min=0).sum(1)
        assert magnitudes[:65].argmax() == band
        responses.append(magnitudes[band].item())
    assert max(responses) < 1.2 * min(responses)


def test_filter_bank_needs_enough_channels():
    model = HubertForMaskedPrediction(make_hubert_config({**TINY_HUBERT, "conv_dim": [16, 16, 16]}), {"timbre": 4})
    with pytest.raises(ValueError, match="must be 3 times at least 40 bands, got 16"):
        initialise_filter_bank(model.hubert)


def test_crops_are_normalised_alone_and_give_whole_frames():
    crops = np.stack([make_tone(60, 3200), 5 + 0.1 * make_tone(64, 3200)])
    values = normalise_crops(crops, 80)
    assert values.shape == (2, 3280)
    inner = values[:, 40:-40]
    torch.testing.assert_close(inner.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(inner.std(1), torch.ones(2), atol=1e-3, rtol=0)


def test_masked_frames_are_hidden_from_the_encoder():
    model = HubertForMaskedPrediction(make_hubert_config(TINY_HUBERT), {"timbre": 4}).eval()
    is_masked = torch.ones(1, 10, dtype=torch.bool)
    inputs = torch.randn(2, 1, 3200 + 688, generator=torch.Generator().manual_seed(0))
    first, second = (model(values, is_masked)["timbre"] for values in inputs)
    torch.testing.assert_close(first, second)
    heard = [model(values, ~is_masked)["timbre"] for values in inputs]
    assert not torch.allclose(*heard, atol=1e-3)


def test_a_killed_run_goes_on_to_the_same_weights(parts, tmp_path):
    unbroken = make_trainer(parts, tmp_path / "unbroken").train().state_dict()
    make_trainer(parts, tmp_path / "broken").train(stop_at=3)
    assert (tmp_path / "broken" / "checkpoint-00000003").exists()
    resumed = make_trainer(parts, tmp_path / "broken").train().state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in unbroken.items())
    for kind in ("train", "validation"):
        assert [event["step"] for event in read_metrics(tmp_path / "broken", kind)] == [2, 4]
    assert len(list((tmp_path / "broken").glob("checkpoint-*"))) == 2


def test_training_learns_its_two_clips(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path, max_steps=40, learning_rate=1e-2, save_every=40, evaluate_every=20)
    trainer.train()
    first, last = read_metrics(tmp_path, "train")
    assert last["loss"] < first["loss"] - 0.1


def test_a_run_does_not_go_on_under_other_arguments(parts, tmp_path):
    make_trainer(parts, tmp_path).train(stop_at=2)
    with pytest.raises(ValueError, match=r"holds a run with \{'learning_rate': 0.001\}, now asked: \{'learning_rate'"):
        make_trainer(parts, tmp_path, learning_rate=0.1).train()


def test_training_leaves_the_global_random_state_alone(parts, tmp_path):
    state = torch.get_rng_state()
    make_trainer(parts, tmp_path, max_steps=1).train()
    assert torch.equal(state, torch.get_rng_state())


def test_a_gradient_that_is_not_finite_stops_the_run(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path)
    with torch.no_grad():
        trainer.model.projections["timbre"].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"`learning_rate` .* gave a gradient of nan"):
        trainer.train()


def test_finished_encoder_is_half_precision_on_disk_and_float32_in_its_config(parts, tmp_path):
    pool, held_out_pool, _ = parts
    hubert = make_trainer(parts, tmp_path / "run").train()
    save_rounded_hubert(hubert, tmp_path / "hubert")
    blank = AccompGenSemanticEncoder.from_hubert(tmp_path / "hubert", np.zeros((1, 16), np.float32), layer=2)
    centroids, report = fit_pool_centroids(blank, pool, tmp_path / "features", num_clusters=8)
    assert report["num_frames"] == 2000
    encoder = AccompGenSemanticEncoder.from_hubert(tmp_path / "hubert", centroids, layer=2)
    audio = torch.from_numpy(pool.read_waveform("vocals", 0))[None]
    expected = encoder(audio)
    save_encoder(encoder, tmp_path / "final")
    assert json.loads((tmp_path / "final" / "config.json").read_text())["dtype"] == "float32"
    from safetensors.torch import load_file

    dtypes = {name: value.dtype for name, value in load_file(tmp_path / "final" / "model.safetensors").items()}
    assert dtypes.pop("centroids") == torch.float32
    assert set(dtypes.values()) == {torch.float16}
    loaded = AccompGenSemanticEncoder.from_pretrained(tmp_path / "final")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded(audio).features, expected.features)
    assert torch.equal(loaded(audio).semantic_ids, expected.semantic_ids)
    probes = probe_encoder(loaded, pool, held_out_pool)
    assert 0 < probes["vocals"]["pitch_class"]["accuracy"] <= 1
    with torch.no_grad():
        loaded.hubert.encoder.layers[0].attention.k_proj.bias.fill_(0.1)
    with pytest.raises(ValueError, match="`encoder` must have weights rounded to half precision"):
        save_encoder(loaded, tmp_path / "other")


def test_accuracies_are_drawn(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (1, 2):
        for kind in ("train", "validation"):
            log.write(kind, step, **{f"pitch_{part}_accuracy": 0.5 for part in ("masked", "heard")})
    draw_accuracies(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
