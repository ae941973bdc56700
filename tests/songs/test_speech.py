"""Flite and its voices; what is missing is named with the way out."""

import importlib.util
import shutil
import subprocess

import numpy as np
import pytest

from accompgen_hf.songs.lyrics import write_line
from accompgen_hf.songs.speech import FLITE_VOICES, VOWELS, require_speech, speak

needs_speech = pytest.mark.skipif(
    shutil.which("flite") is None or importlib.util.find_spec("pyworld") is None,
    reason="needs flite (Debian: flite) and pyworld",
)


@needs_speech
def test_flite_speaks_as_many_syllables_as_the_vocabulary_counts():
    line = write_line(np.random.default_rng(3), 12)
    phones = speak(" ".join(line), "slt").phones
    assert sum(name in VOWELS for name, _, _ in phones) == 12
    starts = [start_s for _, start_s, _ in phones]
    assert starts == sorted(starts)


def test_missing_flite_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ImportError, match=r'need the program flite \(Debian: `apt install flite`\).*singers="vowels"'):
        require_speech()


def test_unknown_voices_are_named():
    with pytest.raises(ValueError, match="`voice` must be one of awb, rms, kal16, slt, got 'nobody'"):
        speak("hello", "nobody")


@needs_speech
def test_flite_that_does_not_speak_is_named(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no memory")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(RuntimeError, match="flite could not speak 'hush' with the voice 'slt': no memory"):
        speak("hush", "slt")


@needs_speech
def test_a_voice_at_another_rate_is_named(monkeypatch):
    monkeypatch.setitem(FLITE_VOICES, "kal", 1.0)
    with pytest.raises(RuntimeError, match="flite's voice 'kal' must speak at 16000 Hz, got 8000"):
        speak("hello", "kal")
