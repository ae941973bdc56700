"""Arranged bands: quiet verses and loud choruses, fills and walks into a section, a crash on it, a last chord."""

import hashlib

import numpy as np
import pytest

from accompgen_hf.songs.annotation import SongAnnotation
from accompgen_hf.songs.band import DRUMMER, BandNote, part_of, perform
from accompgen_hf.songs.band_arrangement import arrange_bass, arrange_drums, draw_fill
from accompgen_hf.songs.composition import compose_song
from accompgen_hf.songs.song import synthesize_song
from accompgen_hf.songs.styles import STYLES

SAMPLING_RATE = 24000
SEEDS = range(12)
# Of the first five songs' notes, rounded: how songs of the other compositions were before there were arranged ones.
NOTES = {"plain": "bf2f5f58", "lead_sheets": "0aa78c17", "tunes": "8dcf35ac"}


@pytest.fixture(scope="module")
def performances() -> list[tuple[SongAnnotation, list[BandNote]]]:
    annotations = [compose_song(seed, whole_song=True, composition="arranged") for seed in SEEDS]
    return [(annotation, perform(annotation)) for annotation in annotations]


def within(notes: list[BandNote], start_s: float, end_s: float) -> list[BandNote]:
    return [note for note in notes if start_s - 0.02 <= note.start_s < end_s - 0.02]


def has_kit(annotation: SongAnnotation) -> bool:
    return STYLES[annotation.style].kit != "orchestra"


@pytest.mark.parametrize("composition", ["plain", "lead_sheets", "tunes"])
def test_bands_of_the_other_compositions_play_what_they_always_played(composition):
    digest = hashlib.sha256()
    for seed in range(800_000, 800_005):
        for note in perform(compose_song(seed, composition=composition)):
            rounded = (*note[:2], *(round(float(value), 5) for value in note[2:6]), note.layer)
            digest.update(repr(rounded).encode())
    assert digest.hexdigest()[:8] == NOTES[composition]


def test_verses_are_softer_and_thinner_than_choruses(performances):
    forces, counts = [], []
    for annotation, notes in performances:
        levels = dict.fromkeys(("verse", "chorus"), ())
        for section in annotation.song_sections:
            if section.name in levels:
                played = within(notes, section.start_s, section.end_s)
                rate = len(played) / (section.end_s - section.start_s)
                levels[section.name] = (*levels[section.name], (np.mean([n.velocity for n in played]), rate))
        verse, chorus = (np.mean(levels[name], axis=0) for name in ("verse", "chorus"))
        forces.append(verse[0] / chorus[0])
        counts.append(verse[1] / chorus[1])
    assert max(forces) < 0.95
    assert np.mean(counts) < 0.85


def test_the_last_chorus_is_the_loudest_section(performances):
    for annotation, _ in performances:
        loudest = annotation.song_sections[int(np.argmax(annotation.song_intensities))]
        assert loudest.name == "chorus"
        assert loudest.end_s == annotation.song_sections[-1].start_s
        assert len(annotation.song_intensities) == len(annotation.song_sections)


def test_a_fill_ends_every_section_and_a_crash_begins_the_next(performances):
    louder = []
    for annotation, notes in filter(lambda performance: has_kit(performance[0]), performances):
        strokes = [note for note in notes if note.layer == DRUMMER]
        half_s = annotation.meter * annotation.beat_s / 2
        for before, section in zip(annotation.song_sections[1:], annotation.song_sections[2:], strict=False):
            onset = section.start_s
            assert any(abs(n.start_s - onset) < 0.02 and n.pitch == "crash" for n in strokes)
            if before.end_s - before.start_s < 5 * half_s:
                continue  # a bar before the last that is no fill itself is needed
            filled, ordinary = (
                sum(
                    note.pitch in ("snare", "tom_high", "tom_mid", "tom_low")
                    for note in within(strokes, a, a + half_s)
                )
                for a in (onset - half_s, onset - 3 * half_s)
            )
            louder.append(filled > ordinary)
    assert np.mean(louder) > 0.9


def test_the_bass_walks_up_to_the_next_section(performances):
    steps = []
    for annotation, notes in performances:
        bass = [note for note in notes if part_of(note, annotation) == "bass"]
        for section in annotation.song_sections[1:]:
            first = [n for n in bass if abs(n.start_s - section.start_s) < 0.02]
            last = [n for n in bass if n.start_s < section.start_s - 0.02]
            if first:  # some lines of reggae begin after the downbeat
                steps.append(first[0].pitch - last[-1].pitch)
    assert np.mean([step in (1, 2) for step in steps]) > 0.95


def test_the_last_chord_rings_and_the_drums_stop(performances):
    for annotation, notes in performances:
        end_s = annotation.song_sections[-1].end_s
        last = [note for note in notes if note.start_s > end_s - 0.02]
        assert all(note.start_s < end_s + 0.02 for note in last)
        assert all(note.duration_s > 2.0 for note in last if note.layer != DRUMMER)
        assert {note.pitch for note in last if note.layer == DRUMMER} <= {"kick", "crash"}
        assert {(note.pitch - annotation.tonic) % 12 for note in last if note.layer != DRUMMER} <= {0, 3, 4, 7}
        assert len(last) >= 3


def test_some_excerpts_hold_the_songs_end_and_keep_the_beat_up_to_it():
    excerpts = [compose_song(seed, duration_s=24.0, composition="arranged") for seed in range(60)]
    ending = [a for a in excerpts if abs(a.start_s + a.duration_s - a.song_duration_s) < 1e-6]
    assert 1 <= len(ending) <= 20
    beats = ending[0].beat_times
    np.testing.assert_allclose(np.diff(beats), ending[0].beat_s)
    tail = ending[0].window(ending[0].song_duration_s - 4.0, 4.0)
    song = synthesize_song(tail, with_parts=True)
    rings = slice(-SAMPLING_RATE, None)  # the last second lies 1.5 s behind the last stroke
    assert np.abs(song.parts["other"][rings]).max() > 0.01
    assert np.sum(song.parts["drums"][rings] ** 2) < 0.01 * np.sum(song.parts["drums"] ** 2)


def test_the_band_sounds_louder_in_a_chorus():
    differences = []
    for seed in range(3):
        whole = compose_song(seed, whole_song=True, composition="arranged")
        verse, chorus = (next(s for s in whole.song_sections if s.name == name) for name in ("verse", "chorus"))
        first, last = sorted((verse, chorus), key=lambda section: section.start_s)
        song = synthesize_song(whole.window(first.start_s, last.end_s - first.start_s), 16000)
        levels = [
            np.mean(song.instrumental[round((s.start_s - first.start_s) * 16000) :][: 16000 * 6] ** 2)
            for s in (verse, chorus)
        ]
        differences.append(10.0 * np.log10(levels[1] / levels[0]))
    assert np.mean(differences) > 1.5


def test_patterns_are_thinned_and_filled_as_written():
    assert arrange_bass("r-r-r-r-r-r-r-r-", 0.5, [], False) == "r-------r-------"
    assert arrange_bass("r-r-r-r-r-r-r-r-", 1.1, [], False) == "r-o-r-o-r-o-r-o-"
    assert arrange_bass("r-------r-------", 0.7, [], True) == "r-------w---v---"
    assert arrange_bass("r-------r-------", 0.7, [8], True) == "r-------r---w-v-"
    assert arrange_bass("r-----------", 0.7, [], True) == "r---w---v---"
    grids = ({"kick": "X.......", "hat": "x.o.x.o."}, {"kick": "X...X...", "hat": "x.x.x.x."})
    assert arrange_drums(grids, 0.5, 0) == {"kick": "X.......", "hat": "x...x..."}
    assert arrange_drums(grids, 0.7, 0) == grids[0]
    assert arrange_drums(grids, 1.1, 0)["tambourine"] == "o.x.o.x."
    assert {frozenset(arrange_drums(grids, 0.9, seed)) for seed in range(20)} == {
        frozenset(("kick", "hat")),
        frozenset(("kick", "hat", "open_hat")),
        frozenset(("kick", "ride")),
    }
    rng = np.random.default_rng(0)
    for meter in (3, 4):
        for kit in ("rock", "orchestra"):
            assert len(draw_fill(rng, 1.0, 4 * meter, kit, True)) == 4 * meter
    assert draw_fill(rng, 1.0, 16, "orchestra", False) == ""
