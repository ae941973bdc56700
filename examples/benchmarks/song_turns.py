"""Accompany the shipped recording once for every line that comes in, and answer with the seconds of the processor.

`checkouts.py` starts it with the package of one checkout or another, so it uses only what has been there for long.
"""

import json
import sys
import time

import torch

from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.app.open_pipeline import SHIPPED_VOCALS, load_pipeline


def main() -> None:
    settings = json.loads(sys.argv[1])
    pipe = load_pipeline(settings["model"], "cpu")
    torch.set_num_threads(settings["threads"])
    vocals, rate = load_audio(SHIPPED_VOCALS)
    recording = {"array": vocals[:, : round(settings["duration_s"] * rate)], "sampling_rate": rate}
    for _ in sys.stdin:
        start = time.process_time()
        pipe(recording, seed=0, show_progress=False, **settings["how"])
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
