"""torch's defaults as this package's code means them, whatever the program around it has set."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def usual_torch_defaults() -> Iterator[None]:
    """Make new tensors float32 and on the CPU inside the block, as where nobody has set a default."""
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":  # the mode costs time in every operation
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


__all__ = ["usual_torch_defaults"]
