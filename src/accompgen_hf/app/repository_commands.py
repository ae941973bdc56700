"""The commands about repositories: `accompgen assemble` and `accompgen verify`. Exit codes as in `cli`."""

import argparse
import os
import sys
from pathlib import Path


def add_repository_commands(commands: argparse._SubParsersAction) -> None:
    """Add the commands `assemble` and `verify`."""
    assemble = commands.add_parser("assemble", help="join trained stages, encoder and codec into one repository")
    add = assemble.add_argument
    for stage in ("semantic", "coarse", "fine"):
        add(f"--{stage}", required=True, metavar="DIR", help=f"folder or Hub id of the {stage} stage")
    add("--semantic-encoder", default="facebook/hubert-large-ll60k", metavar="ID", help="a HuBERT (%(default)s)")
    add("--codec", default="facebook/encodec_24khz", metavar="ID", help="an EnCodec (%(default)s)")
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
    parts = {name: getattr(arguments, name) for name in ("semantic", "coarse", "fine", "semantic_encoder", "codec")}
    if arguments.centroids is not None:
        parts["centroids"] = arguments.centroids
    pipe = assemble_pipeline(**parts)
    values = {**base_card_values(pipe.model), "name": arguments.output.name, "license": arguments.license}
    card = fill_card(template, values)
    save_repository(pipe, arguments.output, arguments.half, card, arguments.include_code)
    print(arguments.output, flush=True)
    if arguments.push is not None:
        print(push_folder(arguments.output, arguments.push or arguments.output.name), flush=True)
    return 0


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
