"""The tempo of a voice alone."""

import numpy as np

from accompgen_hf.evaluation.systems.corpus import relative_key
from accompgen_hf.evaluation.systems.retrieval import RetrievalSystem
from accompgen_hf.songs.song import compose_song, generate_song
from listed_corpus import ListedCorpus, excerpt, window

RATE = 24_000


def test_tempo_and_key_follow_the_voice_more_often_than_by_chance():
    """The truth comes from the songs' scores; retrieval hears the vocals alone."""
    corpus = []
    for seed in range(850_000, 850_100):
        song = compose_song(seed)
        corpus.append(excerpt(f"song-{seed}", song.tempo_bpm, song.tonic, song.mode))
    system = RetrievalSystem(ListedCorpus(corpus))
    shares = {"retrieval": [], "random": []}
    for seed in range(800_100, 800_110):
        song = generate_song(seed)
        truth = song.annotation
        keys = ((truth.tonic, truth.mode), relative_key(truth.tonic, truth.mode))
        for name, found in (("retrieval", system.find(song.vocals, RATE, window())), ("random", corpus)):
            in_key = np.mean([(item.tonic, item.mode) in keys for item in found])
            in_tempo = np.mean([abs(item.tempo_bpm - truth.tempo_bpm) <= 4 for item in found])
            shares[name].append((in_key, in_tempo))
    retrieval, random = (np.mean(shares[name], axis=0) for name in ("retrieval", "random"))
    assert np.all(retrieval > 2 * random), (retrieval, random)
