"""The commands about repositories: `accompgen assemble` and `accompgen verify`. Exit codes as in `cli`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from accompgen_hf.app.open_pipeline import UsageError

STAGES = ("semantic", "coarse", "fine")
HUBERT, ENCODEC = "facebook/hubert-large-ll60k", "facebook/encodec_24khz"
# What a model that is made of another one's parts takes over: its tokens are those of the other.
BASE_SETTINGS = (
    *("vocal_target_lufs", "noise_std", "bandwidth", "preview_bandwidth"),
    *("codec_block_duration_s", "codec_context_duration_s"),
)


def add_repository_commands(commands: argparse._SubParsersAction) -> None:
    """Add the commands `assemble` and `verify`."""
    assemble = commands.add_parser("assemble", help="join trained stages, encoder and codec into one repository")
    add = assemble.add_argument
    add("--base", metavar="MODEL", help="a whole model: gives the parts that are not named, and what adapters change")
    for stage in STAGES:
        add(f"--{stage}", metavar="DIR", help=f"folder or Hub id of the {stage} stage, or an adapter for the base's")
    add("--semantic-encoder", metavar="ID", help=f"its encoder, or a HuBERT (the base's, or {HUBERT})")
    add("--codec", metavar="ID", help=f"an EnCodec (the base's, or {ENCODEC})")
    add("--centroids", metavar="FILE", help="centroid file, unless --semantic-encoder already has centroids")
    add(
        "-o", "--output", required=True, type=Path, metavar="REPO", help="the folder to write; replaced if it is there"
    )
    add("--half", action="store_true", help="store float16 weights; the model still computes in float32")
    add("--include-code", action="store_true", help="add the code: runs where this package is not installed")
    add("--card", type=Path, metavar="FILE", help="template of the card, such as model_cards/base.md")
    add("--license", default="other", help="Hub name of the weights' licence, for the plain card (%(default)s)")
    add("--push", nargs="?", const="", metavar="REPO_ID", help="upload it; without an id, under the folder's name")
    add("--debug", action="store_true", help="show the full traceback of an error")
    assemble.set_defaults(run=run_assemble)
    verify = commands.add_parser("verify", help="compare a model's files with the hashes written when it was saved")
    verify.add_argument("repository", metavar="REPO", help="a folder or Hub id")
    verify.add_argument("--revision", help="revision of a Hub repository")
    verify.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    verify.set_defaults(run=run_verify)


def run_assemble(arguments: argparse.Namespace) -> int:
    """Carry out `accompgen assemble`."""
    from accompgen_hf.hub import (
        PLAIN_CARD,
        assemble_pipeline,
        base_card_values,
        fill_card,
        push_folder,
        save_repository,
    )

    template = PLAIN_CARD if arguments.card is None else arguments.card.read_text("utf-8")
    pipe = assemble_pipeline(**_gather_parts(arguments))
    values = {**base_card_values(pipe.model), "name": arguments.output.name, "license": arguments.license}
    card = fill_card(template, values)
    save_repository(pipe, arguments.output, arguments.half, card, arguments.include_code)
    print(arguments.output, flush=True)
    if arguments.push is not None:
        print(push_folder(arguments.output, arguments.push or arguments.output.name), flush=True)
    return 0


def _gather_parts(arguments: argparse.Namespace) -> dict[str, Any]:
    """Parts and settings of the model: as named, else those of the base.

    Raises:
        UsageError: If a stage is neither named nor the base's, or an adapter has no base.
    """
    from accompgen_hf.accompgen.configuration_accompgen import AccompGenConfig
    from accompgen_hf.model_parts import load_part, resolve_model
    from accompgen_hf.training.stages.adapters import is_adapter, merge_adapter

    base = None if arguments.base is None else resolve_model(arguments.base)
    parts: dict[str, Any] = {}
    for name in STAGES:
        source = getattr(arguments, name)
        if base is None and (source is None or is_adapter(source)):
            what = "is an adapter, which changes a stage" if source else "is not named"
            raise UsageError(f"`--{name}` {what}: give `--base`, a whole model, too")
        if source is not None and is_adapter(source):
            parts[name] = merge_adapter(load_part(base, name), source)
        else:
            parts[name] = load_part(source or base, name)
    for name, usual in (("semantic_encoder", HUBERT), ("codec", ENCODEC)):
        source = getattr(arguments, name) or base or usual
        is_hubert = name == "semantic_encoder" and arguments.centroids is not None
        parts[name] = source if is_hubert else load_part(source, name)
    if arguments.centroids is not None:
        parts["centroids"] = arguments.centroids
    if base is not None:
        config = AccompGenConfig.from_pretrained(base)
        parts.update({name: getattr(config, name) for name in BASE_SETTINGS})
    return parts


def run_verify(arguments: argparse.Namespace) -> int:
    """Carry out `accompgen verify`."""
    from accompgen_hf.hub import verify_repository

    looks_local = os.sep in arguments.repository[:2] or arguments.repository.count("/") > 1
    if looks_local and not os.path.isdir(arguments.repository):
        print(f"accompgen: error: there is no folder {arguments.repository!r}", file=sys.stderr)
        return 2
    problems = verify_repository(arguments.repository, arguments.revision)
    for problem in problems:
        print(f"accompgen: error: {arguments.repository}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{arguments.repository}: every file is as it was saved")
    return 1 if problems else 0
