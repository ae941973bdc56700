"""Checks of a model folder before anything is built from it: config values, weight files, names and shapes.

Transformers fills a missing weight with random numbers, follows a config to other repositories and kernels, and
believes every size. Here the config is read as data, and the headers of the weight files are compared with the model's
shapes on the meta device. Only then are weights loaded; no value may be NaN or infinite.
"""

import json
import os
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import is_peft_available
from transformers.utils.hub import cached_file

from .training_record_accompgen import read_record

# Everything that a config of ours may say about code; `manifest_accompgen` writes it.
CODE_MAPS = {
    "accompgen": {
        "AutoConfig": "configuration_accompgen.AccompGenConfig",
        "AutoModel": "modeling_accompgen.AccompGenForConditionalGeneration",
        "AutoProcessor": "processing_accompgen.AccompGenProcessor",
    },
    "accompgen_semantic_encoder": {
        "AutoConfig": "configuration_accompgen.AccompGenSemanticEncoderConfig",
        "AutoModel": "modeling_accompgen_semantic_encoder.AccompGenSemanticEncoder",
    },
    "accompgen_codec": {
        "AutoConfig": "configuration_accompgen_codec.AccompGenCodecConfig",
        "AutoModel": "modeling_accompgen_codec.AccompGenCodec",
    },
    "accompgen_semantic": {
        "AutoConfig": "configuration_accompgen.AccompGenSemanticConfig",
        "AutoModelForCausalLM": "modeling_accompgen_stages.AccompGenSemanticForCausalLM",
    },
    "accompgen_coarse": {
        "AutoConfig": "configuration_accompgen.AccompGenCoarseConfig",
        "AutoModelForCausalLM": "modeling_accompgen_stages.AccompGenCoarseForCausalLM",
    },
    "accompgen_fine": {
        "AutoConfig": "configuration_accompgen.AccompGenFineConfig",
        "AutoModelForCausalLM": "modeling_accompgen_stages.AccompGenFineForCausalLM",
    },
}
CUSTOM_PIPELINES = {
    "vocal-accompaniment": {
        "impl": "pipeline_accompgen.VocalAccompanimentPipeline",
        "pt": ["AutoModel"],
        "type": "audio",
    }
}
# Fields by which Transformers would fetch code, kernels or weights from elsewhere, or change how weights are read.
REFUSED_FIELDS = {
    "_attn_implementation",
    "_attn_implementation_internal",
    "_experts_implementation",
    "_experts_implementation_internal",
    "adapter_kwargs",
    "attn_implementation",
    "base_model_name_or_path",
    "compression_config",
    "configuration_files",
    "custom_generate",
    "distributed_config",
    "experts_implementation",
    "fusion_config",
    "gguf_file",
    "kernel_config",
    "quantization_config",
    "transformers_weights",
    "trust_remote_code",
    "use_kernels",
}
IGNORED_FIELDS = {"_name_or_path", "name_or_path"}  # they say where the weights once came from; nothing follows them
MAX_SIZE = 2**20
MAX_REPEATS = 512  # layers, and entries of lists: each of them becomes a Python loop
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack")
FLOAT_DTYPES = {"F64", "F32", "F16", "BF16"}
HUB_KEYWORDS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


# ---- config ---------------------------------------------------------------------------------------------------------


def check_config_dict(config: dict[str, Any], model_type: str, required: tuple[str, ...] = ()) -> None:
    """Refuse a config.json that asks for code, other repositories, or sizes that no model of ours has.

    Args:
        config (`dict`): Content of the file.
        model_type (`str`): The `model_type` that it must state.
        required (`tuple` of `str`): Sub-configs that must be there: a missing one would become a default.

    Raises:
        ValueError: If a field is refused; the message names file, field, what is expected and what was found.
    """
    found_type = config.get("model_type", model_type)
    if found_type != model_type:
        raise ValueError(f"config.json: `model_type` must be {model_type!r}, found {found_type!r}.")
    for name in required:
        if not isinstance(config.get(name), dict):
            raise ValueError(
                f"config.json: `{name}` must be an object with that part's settings, found {config.get(name)!r}. "
                "The repository is incomplete: assemble and save it again."
            )
    _check_values(config, "")


def _check_values(config: dict[str, Any], prefix: str) -> None:
    for name, value in config.items():
        where = f"{prefix}{name}"
        if name in REFUSED_FIELDS and value is not None:
            raise ValueError(f"config.json: `{where}` must not be set by a model, found {_short(value)}. Remove it.")
        if name == "auto_map":
            _check_code_names(where, value, CODE_MAPS.get(config.get("model_type"), {}))
        elif name == "custom_pipelines":
            _check_code_names(where, value, CUSTOM_PIPELINES)
        elif isinstance(value, dict):
            _check_values(value, f"{where}.")
        elif name not in IGNORED_FIELDS:
            _check_value(where, value)


def _check_code_names(where: str, value: Any, expected: dict[str, Any]) -> None:
    if value and value != expected:
        raise ValueError(
            f"config.json: `{where}` must be {_short(expected)} or not be there, found {_short(value)}. "
            "A model may not name code of its own or of other repositories."
        )


def _check_value(where: str, value: Any) -> None:
    if isinstance(value, list):
        if len(value) > MAX_REPEATS:
            raise ValueError(f"config.json: `{where}` must have at most {MAX_REPEATS} entries, found {len(value)}.")
        for entry in value:
            _check_value(where, entry)
    elif isinstance(value, str):
        if "/" in value or "\\" in value or "--" in value:
            raise ValueError(
                f"config.json: `{where}` must not name a path or another repository, found {_short(value)}."
            )
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        is_count = where.endswith(("layers", "layer")) or "_heads" in where
        limit = MAX_REPEATS if is_count else MAX_SIZE
        if not abs(value) <= limit:  # a NaN is not
            raise ValueError(f"config.json: `{where}` must be at most {limit}, found {value}.")


def check_codebooks(config: Any) -> None:
    """Refuse a composite whose stages do not make the codebooks that its codec decodes.

    Raises:
        ValueError: If the coarse codebooks, or coarse and fine together, are not those of their bandwidth.
    """
    coarse, fine, codec = config.coarse_config, config.fine_config, config.codec_config
    bits_per_second = codec.frame_rate * codec.codebook_nbits
    sums = {
        "preview_bandwidth": ("`coarse_config.num_codebooks`", coarse.num_codebooks),
        "bandwidth": (
            "`coarse_config.num_codebooks` and `fine_config.num_codebooks` together",
            coarse.num_codebooks + fine.num_codebooks,
        ),
    }
    for name, (field, found) in sums.items():
        expected = int(getattr(config, name) * 1000 // bits_per_second)
        if found != expected:
            raise ValueError(
                f"config.json: {field} must be {expected}, the codebooks that EnCodec has at `{name}` "
                f"{getattr(config, name)} kbps, found {found}."
            )


# ---- weight files ---------------------------------------------------------------------------------------------------


def find_weight_files(source: str | os.PathLike, variant: str | None = None, **hub_kwargs: Any) -> list[str]:
    """Find the safetensors file of a folder or Hub repository, or all shards of its index.

    Raises:
        ValueError: If there is none, if pickles are in its place, or if a shard is missing or outside the folder.
        OSError: If the Hub cannot be reached and nothing is cached.
    """
    single = f"model.{variant}.safetensors" if variant else "model.safetensors"
    index = f"{single}.index.json"
    folder = os.path.join(source, hub_kwargs.get("subfolder") or "")
    if os.path.isdir(source):
        _refuse_foreign_files(folder, single, index)
        if os.path.isfile(os.path.join(folder, single)):
            return [os.path.join(folder, single)]
        names = _read_index(os.path.join(folder, index))
        missing = [name for name in names if not os.path.isfile(os.path.join(folder, name))]
        if missing:
            raise ValueError(f"{folder}: {index} must find all its shards, missing: {', '.join(missing)}.")
        return [os.path.join(folder, name) for name in names]
    if is_peft_available():
        _refuse_remote_adapter(source, hub_kwargs)
    try:
        return [cached_file(source, single, **hub_kwargs)]
    except OSError as error:
        try:
            index_file = cached_file(source, index, **hub_kwargs)
        except OSError:
            raise error from None
        return [cached_file(source, name, **hub_kwargs) for name in _read_index(index_file)]


def _refuse_foreign_files(folder: str, single: str, index: str) -> None:
    names = sorted(os.listdir(folder))
    if "adapter_config.json" in names:
        raise ValueError(f"{folder}: adapter_config.json must not be there: an adapter names another repository.")
    shards = [name for name in names if name.startswith("shard-")]
    if shards:
        raise ValueError(f"{folder}: weights must be in {single}, found the distributed checkpoint {shards[0]}.")
    if single not in names and index not in names:
        pickles = [name for name in names if name.endswith(PICKLE_SUFFIXES)]
        found = f"found {pickles[0]}, which can run code when it is opened" if pickles else "found no weights"
        raise ValueError(f"{folder}: weights must be in {single}, {found}.")


def _refuse_remote_adapter(source: str | os.PathLike, hub_kwargs: dict[str, Any]) -> None:
    """With peft installed, Transformers would load the repository that an adapter names instead of this one."""
    try:
        cached_file(source, "adapter_config.json", **hub_kwargs)
    except OSError:
        return
    raise ValueError(f"{source}: adapter_config.json must not be there: an adapter names another repository.")


def _read_index(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            weight_map = json.load(file)["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: `weight_map` must be an object of tensor names and files, got {error!r}.") from None
    for name in names:
        if not isinstance(name, str) or name != os.path.basename(name) or not name.endswith(".safetensors"):
            raise ValueError(f"{path}: `weight_map` must name .safetensors files beside it, found {name!r}.")
    return names


def read_safetensors_header(path: str | os.PathLike) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Read dtype and shape of every tensor of a safetensors file.

    Raises:
        ValueError: If the header is damaged, or does not describe every byte of the file.
    """
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise ValueError(
            f"{path}: must be a whole safetensors file, got: {error}. Was a copy or download cut off?"
        ) from None


def check_weight_files(files: list[str], model: torch.nn.Module) -> None:
    """Compare the headers of weight files with a model (on any device, also meta).

    Raises:
        ValueError: If a weight is missing, unknown, in two files, of another shape, or not floating point.
    """
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    file_of: dict[str, str] = {}
    for path in files:
        for name, entry in read_safetensors_header(path).items():
            if name in found:
                raise ValueError(f"{path}: `{name}` must be in one file, found it in {file_of[name]} too.")
            found[name], file_of[name] = entry, path
    expected = model.state_dict()
    where = files[0] if len(files) == 1 else os.path.dirname(files[0])
    for relation, names in (("missing", set(expected) - set(found)), ("unknown", set(found) - set(expected))):
        if names:
            listed = ", ".join(f"`{name}`" for name in sorted(names)[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(
                f"{where}: must hold exactly the {len(expected)} weights of {type(model).__name__}; {relation}: "
                f"{listed}{more}. Does config.json belong to these weights?"
            )
    for name, tensor in expected.items():
        dtype, shape = found[name]
        if shape != tuple(tensor.shape):
            raise ValueError(
                f"{file_of[name]}: `{name}` must have the shape {tuple(tensor.shape)} that config.json gives, "
                f"found {shape}."
            )
        if tensor.is_floating_point() and dtype not in FLOAT_DTYPES:
            raise ValueError(f"{file_of[name]}: `{name}` must be one of {sorted(FLOAT_DTYPES)}, found {dtype}.")


def check_finite(model: torch.nn.Module, source: str | os.PathLike | None) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        ValueError: If there is one; it is named.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and not torch.isfinite(tensor).all():
            raise ValueError(f"{source}: `{name}` must be finite, found NaN or infinity. Is the file damaged?")


class CheckedConfigMixin:
    """Puts `check_config_dict` before `from_dict`, which reads every config.json. Must be the first of the bases."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Check the values, then build the config as Transformers does."""
        check_config_dict(config_dict, cls.model_type, tuple(cls.sub_configs))
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:  # its error is not a ValueError, and its text names validators
            raise ValueError(f"config.json: {error.__cause__ or error}") from error


class CheckedLoadingMixin:
    """Puts the checks above around `PreTrainedModel.from_pretrained`. Must be the first of the bases."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args: Any, **kwargs: Any) -> Any:
        """Check config and weight files, then load the model as Transformers does."""
        if pretrained_model_name_or_path is None:  # a config and a `state_dict`
            return super().from_pretrained(None, *model_args, **kwargs)
        for name, allowed in (("use_safetensors", (None, True)), ("ignore_mismatched_sizes", (None, False))):
            if kwargs.get(name) not in allowed:
                raise ValueError(f"`{name}` must be left out: every weight comes from a safetensors file that fits.")
        kwargs["use_safetensors"] = True
        hub_kwargs = {name: kwargs[name] for name in HUB_KEYWORDS if name in kwargs}
        config = kwargs.get("config")
        if not isinstance(config, PreTrainedConfig):
            fields = {name: kwargs[name] for name in kwargs if name in cls.config_class.__dataclass_fields__}
            fields.pop("dtype", None)
            config = cls.config_class.from_pretrained(
                pretrained_model_name_or_path if config is None else config, **hub_kwargs, **fields
            )
        with torch.device("meta"):
            expected = cls(config)
        check_weight_files(
            find_weight_files(pretrained_model_name_or_path, kwargs.get("variant"), **hub_kwargs), expected
        )
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        check_finite(model, pretrained_model_name_or_path)
        model.training_tracks = read_record(pretrained_model_name_or_path, **hub_kwargs)
        return loaded


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


__all__ = [
    "CODE_MAPS",
    "CUSTOM_PIPELINES",
    "CheckedConfigMixin",
    "CheckedLoadingMixin",
    "check_codebooks",
    "check_config_dict",
    "check_finite",
    "check_weight_files",
    "find_weight_files",
    "read_safetensors_header",
]
