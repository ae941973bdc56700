"""Beats and chords under a voice: what is found in ids that were drawn from known beats, and sums over all paths."""

import itertools

import numpy as np
import pytest

from accompgen_hf.accompgen.listening_accompgen import (
    NO_PITCH,
    NUM_CHORDS,
    PHASES_PER_BEAT,
    find_beat_phases,
    find_chords,
    settle_chords,
    weigh_codes,
)


def draw_voice(bpm: float, offset: float, num_frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ids 0 to 11, each a little more often sung in its own part of the beat; and the true part of every step."""
    parts = (((np.arange(num_frames) + 0.5) / 50 * bpm / 60 + offset) % 1 * PHASES_PER_BEAT).astype(int)
    is_told = rng.random(num_frames) < 0.25
    ids = np.where(is_told, parts, rng.integers(PHASES_PER_BEAT, size=num_frames))
    beats = (np.arange(num_frames // 2) + 0.5) / 25 * bpm / 60 + offset
    return ids, (beats % 1 * PHASES_PER_BEAT).astype(int)


def told_beats() -> np.ndarray:
    shares = np.full((PHASES_PER_BEAT, PHASES_PER_BEAT), 0.75 / PHASES_PER_BEAT) + 0.25 * np.eye(PHASES_PER_BEAT)
    return np.log(shares * PHASES_PER_BEAT)


@pytest.mark.parametrize(("bpm", "offset"), [(72.3, 0.4), (97.0, 0.0), (151.7, 0.85)])
def test_beats_are_found_in_ids_that_tell_them_in_a_quarter_of_the_frames(bpm, offset):
    ids, parts = draw_voice(bpm, offset, 900, np.random.default_rng(1))
    phases, begins = find_beat_phases(told_beats(), ids)
    assert phases.shape == (450, PHASES_PER_BEAT)
    np.testing.assert_allclose(phases.sum(1), 1.0)
    far = np.abs(phases.argmax(1) - parts)
    assert np.mean(np.minimum(far, PHASES_PER_BEAT - far) <= 1) > 0.95
    assert begins.sum() == pytest.approx(18 * bpm / 60, abs=1.5)


def test_ids_that_tell_no_beat_leave_every_part_as_likely():
    phases, _ = find_beat_phases(np.zeros((5, PHASES_PER_BEAT)), np.zeros(600, int))
    np.testing.assert_allclose(phases, 1 / PHASES_PER_BEAT, atol=0.02)


def test_chords_are_the_sum_over_all_keys_and_paths():
    rng = np.random.default_rng(0)

    def shares(*shape: int) -> np.ndarray:
        values = rng.random(shape)
        return values / values.sum(-1, keepdims=True)

    pitch_of_voice, pitch_of_chord = shares(6, NO_PITCH + 1), shares(2, 12)
    first_chord, next_chord = shares(2, NUM_CHORDS), shares(2, NUM_CHORDS, NUM_CHORDS)
    ids, begins = np.array([0, 3, 1, 1, 5, 2]), np.array([0.3, 0.6, 0.0])
    found = find_chords(pitch_of_voice, pitch_of_chord, first_chord, next_chord, ids, begins)
    says = np.empty((6, NUM_CHORDS))
    for index, chord in itertools.product(range(6), range(NUM_CHORDS)):
        root, is_minor = divmod(chord, 2)
        sung = sum(pitch_of_voice[index, p] * pitch_of_chord[is_minor, (p - root) % 12] * 12 for p in range(12))
        says[index, chord] = np.log(sung + pitch_of_voice[index, NO_PITCH])
    likely = np.exp(0.14 * says[ids].reshape(3, 2, NUM_CHORDS).mean(1))
    expected = np.zeros((3, NUM_CHORDS))
    for is_minor, tonic in itertools.product(range(2), range(12)):
        above = [2 * ((chord // 2 - tonic) % 12) + chord % 2 for chord in range(NUM_CHORDS)]
        moves = next_chord[is_minor][np.ix_(above, above)]
        stays = np.eye(NUM_CHORDS)
        paths = (
            (first_chord[is_minor][above] * likely[0])[:, None, None]
            * (0.4 * stays + 0.6 * moves)[:, :, None]
            * likely[1][None, :, None]
            * stays[None]
            * likely[2]
        )
        for step, others in enumerate(((1, 2), (0, 2), (0, 1))):
            expected[step] += paths.sum(others)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-10)


def test_what_is_heard_for_certain_weighs_codes_by_its_own_ratio():
    ratios = np.array([[[2.0, 0.5], [1.0, 0.0]]])  # one part, two codes, two things
    chances = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    expected = np.log([[[2.0, 1.0]], [[1.25, 0.5]], [[0.5, 1e-3]]])
    np.testing.assert_allclose(weigh_codes(chances, ratios), expected)


def test_parts_agree_on_the_likeliest_chord():
    chances = np.full((2, NUM_CHORDS), 0.1 / 22)
    chances[0, [4, 9]], chances[1, [4, 9]] = (0.46, 0.44), (0.4, 0.5)
    settled = settle_chords(chances)
    assert settled.argmax(1).tolist() == [4, 9]
    np.testing.assert_allclose(settled.max(1), 0.9)
    np.testing.assert_allclose(settled.sum(1), 1.0)
    # Bass and other know one id each for both chords: of what was heard, they would weigh chord 4 against 9 by chance.
    ratios = np.ones((2, 2, NUM_CHORDS))
    ratios[:, 0, 4], ratios[:, 1, 9] = 12.0, 12.0
    heard, agreed = weigh_codes(chances, ratios), weigh_codes(settled, ratios)
    assert np.abs(heard[..., 0] - heard[..., 1]).max() < 0.3
    assert (agreed[0, :, 0] - agreed[0, :, 1] > 2).all()
    assert (agreed[1, :, 1] - agreed[1, :, 0] > 2).all()
