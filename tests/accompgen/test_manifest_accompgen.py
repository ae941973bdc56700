"""The code beside the weights, which runs where the package is not installed, and the manifest of hashes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from accompgen_hf import AccompGenFineConfig, VocalAccompanimentPipeline
from accompgen_hf.accompgen.manifest_accompgen import MANIFEST, verify_manifest
from accompgen_hf.accompgen.whole_files_accompgen import hash_file
from tiny import tiny_model, tiny_stage

# Stands before every run of another interpreter: there is no such package there.
HIDE_THE_PACKAGE = """
import sys
class Hide:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "accompgen_hf":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
"""
LOAD = """
import hashlib, json, os
import numpy as np, transformers
pipe = transformers.pipeline(model=sys.argv[1], trust_remote_code=True, device="cpu")
vocals = np.sin(np.arange(8000) * 0.1).astype(np.float32)
audio = pipe(vocals, sampling_rate=16_000, seed=1, show_progress=False)["audio"]
pipe.save_pretrained(sys.argv[2])
module = type(pipe.model).__module__
hash = hashlib.sha256(audio.tobytes()).hexdigest()
print(json.dumps({"module": module, "hash": hash, "version": transformers.__version__}))
"""
SAVE = """
import sys
import transformers
from accompgen_hf import VocalAccompanimentPipeline
from tiny import tiny_model
VocalAccompanimentPipeline(model=tiny_model(), device="cpu").save_pretrained(sys.argv[1], include_code=True)
"""


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=tiny_model(), device="cpu")


def make_audio(pipe) -> np.ndarray:
    vocals = np.sin(np.arange(8000) * 0.1).astype(np.float32)
    return pipe(vocals, sampling_rate=16_000, seed=1, show_progress=False)["audio"]


def run_python(code: str, *arguments, cache, python_path: str = "") -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(cache), "PYTHONPATH": python_path}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cache, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_folder_with_code_runs_where_the_package_is_not_installed(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "repo", include_code=True)
    output = run_python(HIDE_THE_PACKAGE + LOAD, tmp_path / "repo", tmp_path / "again", cache=tmp_path)
    said = json.loads(output.splitlines()[-1])
    assert said["module"].startswith("transformers_modules.")
    (tmp_path / "expected").write_bytes(make_audio(pipe).tobytes())
    assert said["hash"] == hash_file(tmp_path / "expected")
    # What remote code saves plainly is plain, and the package reads it.
    assert not list((tmp_path / "again").glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "again" / "config.json").read_text())
    assert verify_manifest(tmp_path / "again") == []


@pytest.mark.slow
@pytest.mark.parametrize("saves", ["this", "other"])
def test_two_versions_of_transformers_read_each_other(pipe, tmp_path, saves):
    other = os.environ.get("ACCOMPGEN_OTHER_TRANSFORMERS")
    if not other:
        pytest.skip(
            "ACCOMPGEN_OTHER_TRANSFORMERS names no folder with another transformers (docs/measured/reliability.md)"
        )
    root = os.path.dirname(os.path.dirname(__file__))
    own = os.pathsep.join([os.path.join(root, "src"), os.path.join(root, "tests")])
    repo = tmp_path / "repo"
    if saves == "this":
        pipe.save_pretrained(repo, include_code=True)
    else:
        run_python(SAVE, repo, cache=tmp_path, python_path=os.pathsep.join([other, own]))
    path = other if saves == "this" else ""
    output = run_python(HIDE_THE_PACKAGE + LOAD, repo, tmp_path / "again", cache=tmp_path, python_path=path)
    said = json.loads(output.splitlines()[-1])
    (tmp_path / "expected").write_bytes(make_audio(pipe).tobytes())
    assert said["hash"] == hash_file(tmp_path / "expected")
    import transformers

    assert (said["version"] == transformers.__version__) == (saves == "other")


def test_plain_saving_takes_the_code_away_again(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, include_code=True)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["custom_pipelines"]["vocal-accompaniment"]["impl"] == "pipeline_accompgen.VocalAccompanimentPipeline"
    (tmp_path / "my_accompgen.py").write_text("# the user's own")
    pipe.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.py")] == ["my_accompgen.py"]
    for name in ("config.json", "processor_config.json"):
        assert not {"auto_map", "custom_pipelines"} & set(json.loads((tmp_path / name).read_text()))


def test_the_manifest_names_a_flipped_bit_a_missing_and_a_new_file(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert verify_manifest(tmp_path) == []
    (tmp_path / "README.md").write_text("edited on the Hub")
    assert verify_manifest(tmp_path) == []
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    (tmp_path / "processor_config.json").unlink()
    (tmp_path / "backdoor.py").touch()
    problems = verify_manifest(tmp_path)
    assert [problem.split(",")[0] for problem in problems] == [
        "model.safetensors: changed",
        "processor_config.json: missing",
        f"backdoor.py: not listed in {MANIFEST}",
    ]


@pytest.mark.parametrize("make", [tiny_model, lambda: tiny_stage(AccompGenFineConfig)], ids=["composite", "stage"])
def test_a_model_saved_alone_has_its_manifest(make, tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    assert verify_manifest(tmp_path / "model") == []
    listed = {line.split("  ")[1] for line in (tmp_path / "model" / MANIFEST).read_text().splitlines()}
    assert listed == {path.name for path in (tmp_path / "model").iterdir()} - {MANIFEST}
    assert any(name.endswith("generation_config.json") for name in listed)
    model.save_pretrained(tmp_path / "of_another_process", is_main_process=False)
    assert not (tmp_path / "of_another_process" / MANIFEST).exists()
    with pytest.raises(ValueError, match="`push_to_hub` must be False while saving"):
        model.save_pretrained(tmp_path, push_to_hub=True)


@pytest.mark.parametrize("line", ["", "abc  config.json", f"{'0' * 64}  ../secret", f"{'0' * 64}  /etc/passwd"])
def test_a_manifest_that_cannot_be_read_is_refused(tmp_path, line):
    (tmp_path / MANIFEST).write_text(f"{line}\n")
    with pytest.raises(ValueError, match="line 1 must be a hash and a file name"):
        verify_manifest(tmp_path)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"{MANIFEST} must be a readable file"):
        verify_manifest(tmp_path)


def test_half_a_push_is_refused(pipe, tmp_path):
    with pytest.raises(ValueError, match="`push_to_hub` must be False"):
        pipe.save_pretrained(tmp_path, push_to_hub=True)
