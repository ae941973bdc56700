"""Repositories of the whole system or of one stage: assemble, save as the Hub expects, push, verify.

A repository holds weights (safetensors), configs, the processor, each stage's vocabulary as a `tokenizers` file that
people and the Hub can read, a card, a manifest of hashes, and on request the code.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, HfApi, ModelCard, snapshot_download
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from accompgen_hf.accompgen.configuration_accompgen import SEMANTIC_NAMES, AccompGenStageConfig
from accompgen_hf.accompgen.manifest_accompgen import finish_folder, verify_manifest, write_manifest
from accompgen_hf.accompgen.modeling_accompgen import STAGES, AccompGenForConditionalGeneration
from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM
from accompgen_hf.accompgen.pipeline_accompgen import VocalAccompanimentPipeline
from accompgen_hf.files import folder_written_whole

SPECIAL_TOKENS = ("<pad>", "<bos>", "<null>")
NOT_MEASURED = "not measured"
PLAIN_CARD = """---
license: {{license}}
library_name: accompgen_hf
pipeline_tag: audio-to-audio
tags:
  - vocal-accompaniment
  - accompgen
---

# {{name}}

```python
import accompgen_hf  # this package teaches Transformers the task
from transformers import pipeline

pipe = pipeline("vocal-accompaniment", model="{{name}}")
result = pipe("vocals.wav", seed=7)
```

Vocals in, band out: semantic encoder, three stages and codec of AccompGen
([arXiv 2604.09054](https://arxiv.org/abs/2604.09054)), assembled by `accompgen_hf`. The three stages have
{{num_parameters_stages}} parameters, encoder and codec {{num_parameters_parts}}.

| ask for | names |
|---|---|
| `parts` | {{part_names}} |
| `style` | {{style_names}} |

Token fingerprint: `{{token_fingerprint}}`. Quality: not measured.
"""


def assemble_pipeline(**parts: Any) -> VocalAccompanimentPipeline:
    """Join trained stages, encoder, centroids and codec; arguments and errors as in `from_sub_models`."""
    return VocalAccompanimentPipeline(model=AccompGenForConditionalGeneration.from_sub_models(**parts), device="cpu")


def save_repository(
    pipe: VocalAccompanimentPipeline,
    folder: str | os.PathLike,
    half_precision: bool = False,
    card: str | None = None,
    include_code: bool = False,
    more_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write model, processor, vocabularies, card and manifest to a folder, all or nothing.

    Args:
        pipe (`VocalAccompanimentPipeline`): What to save.
        folder (`str` or `os.PathLike`): The folder to write; an existing one is replaced.
        half_precision (`bool`): Store float16 weights, except for the centroids. The config still says float32, so
            that loading gives float32 everywhere: half precision is slow on a CPU and gives other tokens.
        card (`str`, *optional*): Text of README.md.
        include_code (`bool`): Add the code for `trust_remote_code`; see `VocalAccompanimentPipeline.save_pretrained`.
        more_files (mapping, *optional*): Further files, as a mapping from name to content.

    Raises:
        ValueError: If a weight is not finite, or too large for float16.
    """
    state = pipe.model.state_dict()
    if half_precision:
        state = {name: _to_half(name, tensor) for name, tensor in state.items()}

    def write(staged: Path) -> None:
        pipe.save_pretrained(staged, include_code=include_code, state_dict=state)
        for name in STAGES:
            stage_config = getattr(pipe.model.config, f"{name}_config")
            build_stage_tokenizer(stage_config).save(str(staged / f"{name}_tokenizer.json"))

    return _write_repository(Path(folder), write, card, more_files)


def save_stage_repository(
    stage: AccompGenStageForCausalLM,
    folder: str | os.PathLike,
    card: str | None = None,
    include_code: bool = False,
    more_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write one stage with its vocabulary, card and manifest to a folder, all or nothing; arguments as above."""

    def write(staged: Path) -> None:
        stage.save_pretrained(staged)
        names = dict(zip(("pad_token", "bos_token"), SPECIAL_TOKENS, strict=False))
        PreTrainedTokenizerFast(tokenizer_object=build_stage_tokenizer(stage.config), **names).save_pretrained(staged)
        finish_folder(staged, include_code)

    return _write_repository(Path(folder), write, card, more_files)


def _write_repository(
    folder: Path, write: Callable[[Path], None], card: str | None, more_files: Mapping[str, bytes] | None
) -> Path:
    with folder_written_whole(folder) as staged:
        write(staged)
        if card is not None:
            (staged / "README.md").write_text(card, encoding="utf-8")
        for name, content in (more_files or {}).items():
            (staged / name).write_bytes(content)
        write_manifest(staged)
    return folder


def _to_half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != torch.float32 or name.endswith("centroids"):
        return tensor
    half = tensor.half()
    if not torch.isfinite(half).all():
        raise ValueError(f"`{name}` must be finite and fit float16, got values up to {tensor.abs().max():g}.")
    return half


# ---- vocabulary as words -----------------------------------------------------------------------------------------


def list_stage_words(config: AccompGenStageConfig) -> list[str]:
    """Name every id of a stage's flat vocabulary, in order: `<vocal_17>`, `<instrumental_3>`, `<coarse2_1003>`.

    Codebooks are counted as in the paper: coarse 1 to 4, fine 5 to 8. The streams of several parts have their names:
    `<drums_3>`.
    """
    words = list(SPECIAL_TOKENS)
    for segment in config.segments:
        kind = segment.name.removesuffix("_semantic_ids").removesuffix("_codes")
        first = segment.num_codebooks + 1 if kind == "fine" else 1
        prefixes = [f"{kind}{codebook}" for codebook in range(first, first + segment.num_codebooks)]
        if segment.name in SEMANTIC_NAMES:
            prefixes = list(config.part_names) if segment.has_codebook_axis else [kind]
        for prefix in prefixes:
            words += [f"<{prefix}_{code}>" for code in range(segment.codebook_size)]
    return words


def build_stage_tokenizer(config: AccompGenStageConfig) -> Tokenizer:
    """Build a WordLevel tokenizer of the flat vocabulary, over words between spaces; an unknown word is an error."""
    words = list_stage_words(config)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


# ---- cards ---------------------------------------------------------------------------------------------------------


def fill_card(
    template: str,
    values: Mapping[str, Any],
    *,
    datasets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    model_name: str | None = None,
    results: Sequence[EvalResult] = (),
) -> str:
    """Fill the `{{names}}` of a card and add the Hub's metadata; a name without a value becomes "not measured".

    Args:
        template (`str`): A text with a YAML head, such as model_cards/base.md.
        values (`Mapping`): Values by name.
        datasets, metrics (sequence of `str`): Names for the head.
        model_name (`str`, *optional*): Name in the `model-index`; needed with `results`.
        results (sequence of `EvalResult`): Measured numbers, for the `model-index`.

    Raises:
        ValueError: If `results` come without `model_name`, or the head says another pipeline tag than audio-to-audio.
    """
    if results and model_name is None:
        raise ValueError("`model_name` must be given with `results`: the Hub lists results under it.")

    def value_of(match: re.Match) -> str:
        value = values.get(match[1])
        return NOT_MEASURED if value is None else str(value)

    card = ModelCard(re.sub(r"\{\{(\w+)\}\}", value_of, template))
    if card.data.pipeline_tag != "audio-to-audio":
        raise ValueError(f"`template` must say `pipeline_tag: audio-to-audio`, got {card.data.pipeline_tag!r}.")
    if datasets:
        card.data.datasets = list(datasets)
    if metrics:
        card.data.metrics = list(metrics)
    if results:
        card.data.model_name, card.data.eval_results = model_name, list(results)
    return str(card).rstrip("\n") + "\n"


def base_card_values(model: AccompGenForConditionalGeneration) -> dict[str, Any]:
    """Values for a card of the composite that need no measuring."""
    return {
        "num_parameters_stages": _millions(*(getattr(model, name) for name in STAGES)),
        "num_parameters_parts": _millions(model.semantic_encoder, model.codec),
        "token_fingerprint": model.config.token_fingerprint,
        **band_card_values(model.config),
    }


def band_card_values(config: Any) -> dict[str, str]:
    """Parts and styles that a model, or a stage, can be asked for, in the words of a card.

    Args:
        config: Config with `part_names` and `style_names`.
    """
    parts, styles = ([f"`{name}`" for name in names] for names in (config.part_names, config.style_names))
    return {
        "part_names": ", ".join(parts) if len(parts) > 1 else "none: it plays the whole band as one",
        "style_names": ", ".join(styles) or "none",
    }


def stage_card_values(stage: AccompGenStageForCausalLM) -> dict[str, Any]:
    """Values for a card of a stage that need no measuring."""
    config = stage.config
    return {
        "stage": config.model_type.removeprefix("accompgen_"),
        "conditioning_names": ", ".join(f"`{name}`" for name in config.conditioning_names),
        "target_name": f"`{config.target_name}`",
        "clip_duration_s": config.clip_duration_s,
        "num_parameters": _millions(stage),
        "relative_position_axis": config.relative_position_axis,
        "token_fingerprint": config.token_fingerprint,
        **band_card_values(config),
    }


def _millions(*modules: torch.nn.Module) -> str:
    count = sum(parameter.numel() for module in modules for parameter in module.parameters())
    return f"{count / 1e6:.2f} M"


# ---- the Hub -------------------------------------------------------------------------------------------------------


def push_folder(
    folder: str | os.PathLike,
    repo_id: str,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
) -> str:
    """Upload a saved folder as one commit, after verifying its manifest.

    Returns:
        `str`: The commit's address.

    Raises:
        ValueError: If the folder is not what its manifest says.
    """
    problems = verify_manifest(folder)
    if problems:
        raise ValueError(f"`folder` must be as it was saved, {folder} is not: {'; '.join(problems)}.")
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    commit = api.upload_folder(
        folder_path=folder, repo_id=repo_id, revision=revision, commit_message="Upload with accompgen_hf"
    )
    return str(commit)


def verify_repository(
    source: str | os.PathLike, revision: str | None = None, token: str | bool | None = None
) -> list[str]:
    """Compare a folder or a Hub repository (downloaded, or cached) with its manifest; see `verify_manifest`."""
    if not os.path.isdir(source):
        source = snapshot_download(str(source), revision=revision, token=token)
    return verify_manifest(source)
