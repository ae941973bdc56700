"""A stand-in for demucs whose stems are known shares of the song."""

import sys
import types

import pytest
import torch


class StandInDemucs:
    """As demucs describes itself: normalised (1, 2, num_samples) in, (1, sources, 2, num_samples) out."""

    samplerate = 44100
    sources = ("drums", "bass", "other", "vocals")


def apply_model(model, mix, shifts, split, overlap, device):
    assert (shifts, split) == (0, True)
    assert abs(float(mix.std()) - 1) < 1e-3
    return torch.stack([0.2 * mix, 0.1 * mix, 0.3 * mix, 0.4 * mix], dim=1)


def install_demucs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in where demucs would be imported from."""
    pretrained, apply = types.ModuleType("demucs.pretrained"), types.ModuleType("demucs.apply")
    pretrained.get_model, apply.apply_model = lambda name: StandInDemucs(), apply_model
    for name, module in {
        "demucs": types.ModuleType("demucs"),
        pretrained.__name__: pretrained,
        apply.__name__: apply,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
