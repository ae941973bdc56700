"""The scripts' common options lead to the sources and separators that they name."""

import argparse

import numpy as np
import pytest
import soundfile

from accompgen_hf.data.source_options import (
    add_separator_options,
    add_source_options,
    find_share,
    list_recordings,
    open_separator,
)
from onnx_networks import write_mixing_network


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source")
    add_source_options(parser)
    add_separator_options(parser)
    return parser.parse_args(arguments)


def test_options_reach_the_source_and_its_licences_are_chosen(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), 8000)
    (recording,) = list_recordings(parse("--source", "folder", "--data", str(tmp_path), "--licence", "CC0-1.0"))
    assert recording.licence == "CC0-1.0"
    with pytest.raises(ValueError, match=r"`allow_licenses` CC-BY leaves nothing; there are: unknown"):
        list_recordings(parse("--source", "folder", "--data", str(tmp_path), "--allow_licenses", "CC-BY"))
    with pytest.raises(ValueError, match=r"`data` is needed with `--source fma`: give its folder or dataset"):
        list_recordings(parse("--source", "fma"))


def test_the_share_is_the_options_or_the_launchers(monkeypatch, capsys):
    assert find_share(parse()) == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert find_share(parse()) == (2, 3)
    assert find_share(parse("--shard", "1/4")) == (1, 4)
    for wrong in ("4/4", "1", "a/b"):
        with pytest.raises(SystemExit):
            parse("--shard", wrong)
        assert "must be i/n with 0 <= i < n, such as 0/4" in capsys.readouterr().err


def test_options_reach_the_separator(tmp_path):
    assert open_separator(parse()) is None
    path = str(write_mixing_network(tmp_path / "mine.onnx", np.eye(4), np.ones(2048), 16))
    arguments = ("--separate_n_fft", "6144", "--separate_gain", "1.1", "--separate_stem", "instrumental")
    separator = open_separator(parse("--separate", path, *arguments), device="cpu")
    assert (separator.n_fft, separator.gain, separator.predicted_stem) == (6144, 1.1, "instrumental")
    separator = open_separator(parse("--separate", path, "--separate_preset", "vocals"), device="cpu")
    assert (separator.n_fft, separator.gain, separator.predicted_stem) == (6144, 1.0, "vocals")
