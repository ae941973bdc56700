"""The web page as a Hugging Face Space. Put this folder's files and the package's wheel into the Space's repository.

`ACCOMPGEN_MODEL` (a Space variable) names a Hub repository; without it the small default inside the package sings.
"""

import os
import threading

from accompgen_hf.app.open_pipeline import choose_device, load_pipeline
from accompgen_hf.web.server import open_page


def main() -> None:
    pipe = load_pipeline(os.environ.get("ACCOMPGEN_MODEL") or None, choose_device("auto"))
    with open_page(pipe, host=None) as address:  # a Space sets host and port
        print(address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
