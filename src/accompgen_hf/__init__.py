"""accompgen_hf: vocals in, band out. Importing it teaches transformers the models and the task, nothing else."""

import logging
from pathlib import Path

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

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
