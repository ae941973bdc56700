"""How the commands and the page open the pipeline: which device, which model, how many threads."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SHIPPED_VOCALS = Path(__file__).resolve().parents[1] / "assets" / "vocals" / "vocadito_10.wav"
_FEW_THREADS_HIDDEN_SIZE = 256


class UsageError(Exception):
    """The call is wrong: exit code 2."""


def choose_device(name: str) -> str:
    """Turn `auto` into cuda, mps or cpu, in this order; another name must be a device that torch has here."""
    # An operation that mps lacks then runs on the CPU instead of failing. torch reads this when it is imported.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    import torch

    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if num_cuda else "mps" if has_mps else "cpu"
    present = ["cpu", *(["mps"] if has_mps else []), *(["cuda"] if num_cuda else [])]
    present += [f"cuda:{index}" for index in range(num_cuda)]
    if name not in present:
        raise UsageError(f"`--device` must be auto or one of {', '.join(present)} on this machine, got {name!r}")
    return name


def add_machine_options(add: Callable[..., Any], number: Callable[..., Callable[[str], Any]]) -> None:
    """Add `--device` and `--threads` to a command; `number` makes a parser of numbers in a range."""
    add("--device", default="auto", help="auto, cuda, cuda:1, mps or cpu (auto: the first of these that is there)")
    described = "of the CPU (small models: 1, or 2 if they play several parts; others: one for every core)"
    add("--threads", type=number(int, 1), metavar="N", help=described)


def load_pipeline(model: str | None, device: str) -> Any:
    """Load the task's pipeline with the given model, or with the default that the package ships."""
    import transformers
    from huggingface_hub import snapshot_download

    import accompgen_hf
    from accompgen_hf.model_parts import naming, resolve_model

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()  # of reading weights; the pipeline has bars of its own
    # Not by `transformers.pipeline`: it wraps an error in two tracebacks, and runs a repository's own code or nothing.
    model = accompgen_hf.DEFAULT_MODEL if model is None else resolve_model(model)
    with naming(model):
        # It asks once, and takes what is cached where nobody answers; Transformers asks six times for every file.
        folder = model if os.path.exists(model) else snapshot_download(model, ignore_patterns="*/*")
        pipe = accompgen_hf.VocalAccompanimentPipeline(
            model=transformers.AutoModel.from_pretrained(folder),
            processor=transformers.AutoProcessor.from_pretrained(folder),
            device=device,
        )
    choose_threads(pipe)
    return pipe


def choose_threads(pipe: Any) -> None:
    """Give a small model on the CPU few threads, unless OMP_NUM_THREADS or `--threads` says otherwise.

    Its products are too small to share: with one part it gets one thread, since two spend their time waiting for each
    other. With several parts there are as many more rows, and two threads pay (docs/measured/performance.md). A larger
    model keeps torch's number, one for every core. This process is ours; the library never changes the number.
    """
    import torch

    sizes = [getattr(pipe.model, name).config.hidden_size for name in ("semantic", "coarse", "fine")]
    if pipe.device.type == "cpu" and max(sizes) <= _FEW_THREADS_HIDDEN_SIZE and "OMP_NUM_THREADS" not in os.environ:
        has_parts = len(pipe.model.config.part_names) > 1
        torch.set_num_threads(min(2, torch.get_num_threads()) if has_parts else 1)


def set_threads(num_threads: int | None) -> None:
    """Set the number of threads that the caller asks for, in place of what `choose_threads` has chosen."""
    if num_threads is not None:
        import torch

        torch.set_num_threads(num_threads)


def describe_model(pipe: Any) -> dict[str, Any]:
    """Describe model, device, threads and engine, as far as they can change a token."""
    import torch

    from accompgen_hf.accompgen.numba_engine_accompgen import has_numba

    fingerprint = getattr(pipe.model.config, "token_fingerprint", None)
    on_cpu = {"num_threads": torch.get_num_threads(), "has_numba": has_numba()} if str(pipe.device) == "cpu" else {}
    return {"device": str(pipe.device), **on_cpu, **({"token_fingerprint": fingerprint} if fingerprint else {})}


def open_separator(settings: Mapping[str, Any], device: str) -> Any:
    """What takes the voice out of a whole song, or `None`."""
    from accompgen_hf.data.separation import SEPARATOR_OPTIONS, load_separator

    options = {name: settings[option] for option, name in SEPARATOR_OPTIONS.items() if option in settings}
    if "separate" not in settings:
        if options:
            given = next(option for option in SEPARATOR_OPTIONS if option in settings)
            raise UsageError(f"`{given}` needs `separate`: name the .onnx file that takes the voice out of the song")
        return None
    try:
        return load_separator(settings["separate"], device="auto" if device.startswith("cuda") else "cpu", **options)
    except ValueError as error:
        raise UsageError(str(error)) from error
