"""What Transformers is taught when this is imported: configs, models, a processor and the task."""

import functools
import logging
from collections.abc import Callable
from typing import Any

from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor
from transformers import pipelines as _pipelines
from transformers.pipelines import PIPELINE_REGISTRY

from . import DEFAULT_MODEL, TASK
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

_MODELS = (
    (AccompGenConfig, AccompGenForConditionalGeneration, AutoModel),
    (AccompGenSemanticEncoderConfig, AccompGenSemanticEncoder, AutoModel),
    (AccompGenCodecConfig, AccompGenCodec, AutoModel),
    (AccompGenSemanticConfig, AccompGenSemanticForCausalLM, AutoModelForCausalLM),
    (AccompGenCoarseConfig, AccompGenCoarseForCausalLM, AutoModelForCausalLM),
    (AccompGenFineConfig, AccompGenFineForCausalLM, AutoModelForCausalLM),
)
for _config_class, _model_class, _auto_class in _MODELS:
    AutoConfig.register(_config_class.model_type, _config_class)
    _auto_class.register(_config_class, _model_class)
AutoProcessor.register(AccompGenConfig, AccompGenProcessor)
# `pt_model` is AutoModel: a class of ours there would make saved folders unloadable without this package.
PIPELINE_REGISTRY.register_pipeline(
    TASK,
    pipeline_class=VocalAccompanimentPipeline,
    pt_model=AutoModel,
    default={"model": (DEFAULT_MODEL, "main")},
    type="audio",
)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether Transformers says something else than that the default inside this package is the default."""
    return not (record.msg.startswith("No model was supplied") and DEFAULT_MODEL in record.msg)


logging.getLogger("transformers.pipelines").addFilter(_is_news)


def _know_own_task(get_task: Callable[..., str]) -> Callable[..., str]:
    """Let `pipeline(model=folder)` find our task in the model's config: Transformers would ask the Hub's search."""

    @functools.wraps(get_task)
    def task_of(model: str, token: Any = None, **kwargs: Any) -> str:
        try:
            config = AccompGenConfig.get_config_dict(model, token=token)[0]
        except (OSError, ValueError, HfHubHTTPError):
            config = {}
        own = config.get("model_type") == AccompGenConfig.model_type
        return TASK if own else get_task(model, token, **kwargs)

    return task_of


_pipelines.get_task = _know_own_task(_pipelines.get_task)
