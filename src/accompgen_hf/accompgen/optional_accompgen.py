"""Libraries that only some uses need: imported at that moment, and named with their cure where they are missing."""

import importlib
from typing import Any


def import_optional(module: str, purpose: str, install: str | None = None) -> Any:
    """Import `module` at the moment it is needed: a missing library must not break `import accompgen_hf`.

    Args:
        module (`str`): Its full name.
        purpose (`str`): What needs it, as the subject of a sentence.
        install (`str`, *optional*): What pip installs, if it is not called like the module; `.[web]` is an extra of
            this package.

    Raises:
        ImportError: If it is missing, and then says how to install it; or if it is there and cannot be imported, and
            then says why: installing it again would not help.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.partition(".")[0] != module.partition(".")[0]:  # one that it needs itself
            message = f"{purpose} needs {module}, which cannot be imported without {missing}: `pip install {missing}`."
            raise ImportError(message) from error
        install = install or module
        # The package is on no index: an extra is installed from a clone of the repository.
        how = (
            f'`pip install "{install}"` in the folder of the repository'
            if "[" in install
            else f"`pip install {install}`"
        )
        raise ImportError(f"{purpose} needs {module}: {how} ({error}).") from error
    except Exception as error:  # a broken shared library raises OSError, an ABI mismatch AttributeError
        raise ImportError(
            f"{purpose} needs {module}, which is installed but cannot be imported ({type(error).__name__}: {error})."
        ) from error


__all__ = ["import_optional"]
