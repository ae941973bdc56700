"""The command `accompgen`, outside the package, whose import would load torch and Transformers before any answer.

With this module loaded, `accompgen_hf` registers its models when work begins; see its last lines.
"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see `accompgen_hf.app.cli`."""
    from accompgen_hf.app import cli

    return cli.main(argv)
