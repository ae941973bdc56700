"""Every script takes a part's own folder, or a whole model where it needs a part."""

import shutil
from pathlib import Path

import pytest
import torch

from accompgen_hf import DEFAULT_MODEL
from accompgen_hf.app.open_pipeline import load_pipeline
from accompgen_hf.model_parts import PART_CLASSES, is_whole_model, load_part, resolve_model
from tiny import tiny_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A whole model, and each of its parts in a folder of its own."""
    folder = tmp_path_factory.mktemp("models")
    model = tiny_model()
    model.save_pretrained(folder / "whole")
    for part in PART_CLASSES:
        getattr(model, part).save_pretrained(folder / part)
    return folder


@pytest.mark.parametrize("part", PART_CLASSES)
def test_a_part_is_found_in_its_own_folder_and_in_a_whole_model(folders, part):
    own, of_whole = (load_part(folders / name, part).state_dict() for name in (part, "whole"))
    assert own.keys() == of_whole.keys()
    assert all(torch.equal(own[name], of_whole[name]) for name in own)


def test_without_a_network_an_unknown_model_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="'me/nothing' is no folder here, and not found as a Hub id: We couldn't"):
        load_part("me/nothing", "codec")
    with pytest.raises(OSError, match="'me/nothing' is no folder here"):
        load_pipeline("me/nothing", "cpu")
    with pytest.raises(OSError, match=r"'\./nothing' is no folder here, and no Hub id, such as owner/name"):
        load_pipeline("./nothing", "cpu")


def test_the_defaults_name_is_the_default_unless_a_folder_has_it(folders, tmp_path, monkeypatch):
    assert resolve_model("accompgen-tiny") == DEFAULT_MODEL
    assert is_whole_model("accompgen-tiny")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folders / "codec", tmp_path / "accompgen-tiny")
    assert resolve_model("accompgen-tiny") == "accompgen-tiny"
    assert not is_whole_model("accompgen-tiny")
