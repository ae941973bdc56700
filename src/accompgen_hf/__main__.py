"""`python -m accompgen_hf` is the command `accompgen`."""

import sys

from accompgen_hf.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
