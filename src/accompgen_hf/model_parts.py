"""Parts of models by the name of a folder or Hub id: a part's own, or a whole model's, which is then asked for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedModel

from accompgen_hf import DEFAULT_MODEL
from accompgen_hf.accompgen.configuration_accompgen import AccompGenConfig
from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.accompgen.modeling_accompgen_stages import (
    AccompGenCoarseForCausalLM,
    AccompGenFineForCausalLM,
    AccompGenSemanticForCausalLM,
)

DEFAULT_NAME = Path(DEFAULT_MODEL).name
PART_CLASSES: dict[str, type[PreTrainedModel]] = {
    "semantic": AccompGenSemanticForCausalLM,
    "coarse": AccompGenCoarseForCausalLM,
    "fine": AccompGenFineForCausalLM,
    "semantic_encoder": AccompGenSemanticEncoder,
    "codec": AccompGenCodec,
}


def resolve_model(source: str | os.PathLike) -> str:
    """The place of a model: `accompgen-tiny` is the default inside this package, unless a folder has that name."""
    source = os.fspath(source)
    return DEFAULT_MODEL if source == DEFAULT_NAME and not os.path.exists(source) else source


@contextmanager
def naming(source: str | os.PathLike) -> Iterator[None]:
    """Let an error of loading say which model it is about: without a network Transformers leaves the name out."""
    try:
        yield
    except HFValidationError as error:
        raise OSError(f"{os.fspath(source)!r} is no folder here, and no Hub id, such as owner/name") from error
    except OSError as error:
        source, words = os.fspath(source), " ".join(str(error).split())
        if os.path.exists(source) or source in words:
            raise
        raise OSError(f"{source!r} is no folder here, and not found as a Hub id: {words}") from error


def is_whole_model(source: str | os.PathLike) -> bool:
    """Whether a folder or Hub id holds all five parts."""
    with naming(source):
        config = AccompGenConfig.get_config_dict(resolve_model(source))[0]
    return config.get("model_type") == AccompGenConfig.model_type


def load_part(source: str | os.PathLike, part: str, **kwargs: Any) -> Any:
    """Load one part from its own folder or Hub id, or out of a whole model's.

    Args:
        source (`str` or `os.PathLike`): Folder or Hub id; `accompgen-tiny` is the shipped default.
        part (`str`): `"semantic"`, `"coarse"`, `"fine"`, `"semantic_encoder"` or `"codec"`.
        kwargs: Arguments of `from_pretrained`, such as `dtype`.

    Raises:
        OSError, ValueError: As `from_pretrained` of the part's class.
    """
    source = resolve_model(source)
    if is_whole_model(source):
        return getattr(AccompGenForConditionalGeneration.from_pretrained(source, **kwargs), part)
    return PART_CLASSES[part].from_pretrained(source, **kwargs)


__all__ = ["DEFAULT_NAME", "PART_CLASSES", "is_whole_model", "load_part", "naming", "resolve_model"]
