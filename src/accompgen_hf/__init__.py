"""accompgen_hf: vocals in, band out. Importing it teaches transformers the models and the task, nothing else."""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accompgen.configuration_accompgen import (
        AccompGenCoarseConfig,
        AccompGenConfig,
        AccompGenFineConfig,
        AccompGenSemanticConfig,
        AccompGenSemanticEncoderConfig,
    )
    from .accompgen.configuration_accompgen_codec import AccompGenCodecConfig
    from .accompgen.modeling_accompgen import AccompGenForConditionalGeneration
    from .accompgen.modeling_accompgen_codec import AccompGenCodec
    from .accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
    from .accompgen.modeling_accompgen_stages import (
        AccompGenCoarseForCausalLM,
        AccompGenFineForCausalLM,
        AccompGenSemanticForCausalLM,
    )
    from .accompgen.pipeline_accompgen import VocalAccompanimentPipeline
    from .accompgen.processing_accompgen import AccompGenProcessor

__version__ = "0.1.0"

TASK = "vocal-accompaniment"
DEFAULT_MODEL = str(Path(__file__).parent / "assets" / "accompgen-tiny")

__all__ = [
    "AccompGenCoarseConfig",
    "AccompGenCoarseForCausalLM",
    "AccompGenCodec",
    "AccompGenCodecConfig",
    "AccompGenConfig",
    "AccompGenFineConfig",
    "AccompGenFineForCausalLM",
    "AccompGenForConditionalGeneration",
    "AccompGenProcessor",
    "AccompGenSemanticConfig",
    "AccompGenSemanticEncoder",
    "AccompGenSemanticEncoderConfig",
    "AccompGenSemanticForCausalLM",
    "VocalAccompanimentPipeline",
]


def register() -> None:
    """Load Transformers and teach it; calling it again changes nothing."""
    registration = importlib.import_module(f"{__name__}.registration")
    globals().update({name: getattr(registration, name) for name in __all__})


def __getattr__(name: str) -> Any:
    if name in __all__:
        register()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# The command, by its name or as `python -m accompgen_hf`, answers `--help`, `--version` and wrong calls in an instant:
# it registers when work begins.
if "accompgen_command" not in sys.modules and sys.orig_argv[1:3] != ["-m", __name__]:
    register()
