"""Libraries that only a part of the work needs, imported when that part begins."""

import importlib
from typing import Any


def import_optional(module: str, purpose: str, install: str | None = None) -> Any:
    """Import `module` at the moment it is needed: a missing library must not break `import accompgen_hf`.

    Raises:
        ImportError: If it is missing or broken; says what it is for and how to install it.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken shared library raises OSError, an ABI mismatch AttributeError
        raise ImportError(f"{purpose} needs {module}: `pip install {install or module}` ({error}).") from error


__all__ = ["import_optional"]
