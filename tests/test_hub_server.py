"""From a saved folder to the Hub and back, against a Hub on localhost, in a process that knows no other endpoint."""

import json
import os
import subprocess
import sys

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.files import hash_file
from accompgen_hf.hub import save_repository
from tiny import tiny_model

JOURNEY = """
import json, sys
import huggingface_hub, torch
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModel, AutoModelForCausalLM, pipeline
import accompgen_hf
from accompgen_hf.app.open_pipeline import load_pipeline
from accompgen_hf.hub import push_folder, verify_repository

# What a broken connection leaves of a chunk is lost; those of 10 MB are larger than this model.
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 10_000
told = {}
def tell(name, value):
    told[name] = value
    print(json.dumps({"mark": name}), flush=True)
    sys.stdin.readline()  # the server's side looks, and prepares the next leg

def heads(model):
    return model.coarse.heads[0].weight.sum().item()

tell("push", push_folder(sys.argv[1], "band"))
HfApi().create_tag("someone/band", tag="v1")
tell("second push", push_folder(sys.argv[2], "someone/band"))
tell("v1", heads(pipeline("vocal-accompaniment", model="someone/band", revision="v1", device="cpu").model))
tell("main", heads(AutoModel.from_pretrained("someone/band")))
tell("by the command", heads(load_pipeline("someone/band", "cpu").model))
tell("cached", heads(AutoModel.from_pretrained("someone/band", revision="v1")))
tell("verify", verify_repository("someone/band", revision="v1"))
stage = AutoModel.from_pretrained("someone/band").fine
stage.push_to_hub("someone/stage")
again = AutoModelForCausalLM.from_pretrained("someone/stage")
tell("stage", torch.equal(again.heads[0].weight, stage.heads[0].weight))
tell("stage verify", verify_repository("someone/stage"))
huggingface_hub.constants.HF_HUB_OFFLINE = True
tell("offline", heads(pipeline("vocal-accompaniment", model="someone/band", revision="v1", device="cpu").model))
tell("by the command offline", heads(load_pipeline("someone/band", "cpu").model))
try:
    AutoModel.from_pretrained("someone/else")
except OSError as error:
    tell("unknown offline", str(error)[:200])
print(json.dumps(told))
"""


def test_a_model_goes_to_the_hub_and_comes_back(server, tmp_path):
    models = [tiny_model(seed) for seed in (0, 1)]
    folders = [
        save_repository(VocalAccompanimentPipeline(model=model, device="cpu"), tmp_path / str(index), card="# Card\n")
        for index, model in enumerate(models)
    ]
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_localhost",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", JOURNEY, *map(str, folders)]
    logs: dict[str, list[str]] = {}
    with (
        open(tmp_path / "stderr", "w+") as errors,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        for line in process.stdout:
            told = json.loads(line)
            if "mark" not in told:
                break
            logs[told["mark"]], server.log = server.log, []
            server.num_cuts = 1 if told["mark"] == "second push" else 0  # the next leg downloads v1
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(timeout=600)
        errors.seek(0)
        assert process.returncode == 0, errors.read()[-3000:]

    sums = [model.coarse.heads[0].weight.sum().item() for model in models]
    assert (told["v1"], told["main"], told["cached"], told["offline"]) == (sums[0], sums[1], sums[0], sums[0])
    assert told["by the command"] == told["by the command offline"] == sums[1]
    assert told["verify"] == told["stage verify"] == []
    assert told["stage"] is True
    commit = server.repositories["someone/band"]["main"]
    assert told["second push"] == f"{server.address}/someone/band/commit/{commit}"
    assert server.commits[commit]["model.safetensors"] == ("lfs", hash_file(folders[1] / "model.safetensors"))
    assert set(server.commits[commit]) == {path.name for path in folders[1].iterdir()}

    whole, rest = [entry for entry in logs["v1"] if entry.startswith("GET /storage/")]
    half = (folders[0] / "model.safetensors").stat().st_size // 2
    assert whole == f"GET /storage/{hash_file(folders[0] / 'model.safetensors')}"
    assert rest == f"{whole} bytes={half - half % 10_000}-"  # it went on where the connection broke
    assert len([entry for entry in logs["main"] if entry.startswith("GET /storage/")]) == 1
    assert not [
        entry for leg in ("by the command", "cached") for entry in logs[leg] if entry.startswith("GET /storage/")
    ]
    assert logs["offline"] == logs["by the command offline"] == logs["unknown offline"] == []
