"""The web page as a Hugging Face Space. Put this folder's files and the package's wheel into the Space's repository.

`ACCOMPGEN_MODEL` (a Space variable) names a Hub repository; without it the small default inside the package sings.
"""

import os
import threading
from typing import Any

import spaces  # before torch: on ZeroGPU it stands in for CUDA until a call is lent a GPU

from accompgen_hf.app.open_pipeline import choose_device, load_pipeline
from accompgen_hf.web.server import open_page


def gpu_seconds(recording: dict[str, Any], **_options: Any) -> int:
    """Estimate how long a take of this recording needs the GPU: its own length, and half a minute to begin."""
    return 30 + round(recording["array"].shape[-1] / recording["sampling_rate"])


def main() -> None:
    """Serve the page; on ZeroGPU every take borrows a GPU, elsewhere `spaces.GPU` changes nothing."""
    pipe = load_pipeline(os.environ.get("ACCOMPGEN_MODEL") or None, choose_device("auto"))

    @spaces.GPU(duration=gpu_seconds)
    def play(recording: dict[str, Any], **options: Any) -> dict[str, Any]:
        return pipe(recording, **options)

    is_lent = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    with open_page(pipe, host=None, play=play if is_lent else None) as address:  # a Space sets host and port
        print(address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
