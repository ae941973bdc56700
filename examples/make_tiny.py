"""Train the shipped default from nothing: songs, codec, semantic encoder, tokens, three stages, one folder.

    python examples/make_tiny.py --work_dir runs/third

What each step costs is said first. Every step is a command of its own, printed before it runs, and goes on where it
was killed; a finished step is not run again. The result lies in WORK_DIR/accompgen-tiny, its measurements in
WORK_DIR/report. `--install` puts the result into the package, where `pipeline("vocal-accompaniment")` finds it.

The default is the third edition: three parts and ten styles, from songs as loose as real ones by sampled instruments,
on the codec of the package. `--edition second` makes the default before it: one part, no styles, a codec of its own.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import accompgen_hf
from accompgen_hf.scripts import run_script, script_parser

EXAMPLES = Path(__file__).resolve().parent
STAGES = ("semantic", "coarse", "fine")
# The second edition's: EnCodec's own decoder of 8 filters and a mel loss.
CODEC_MODEL = {"decoder_type": "encodec", "num_filters": 8, "hidden_size": 32}
CODEC_CLIPS = {"instrumental": 0.7, "mix": 0.15, "vocals": 0.15}
CODEC_RECIPE = ("--num_songs", 300, "--max_steps", 11_000, "--decay_share", 0.3, "--learning_rate", 1e-3)
CODEC_RECIPE += ("--spectrum_weight", 0, "--comb_weight", 0, "--waveform_weight", 2)
CODEC_RECIPE += ("--depth_shares", "[0.1, 0.3, 0.6]", "--clip_shares", json.dumps(CODEC_CLIPS))
CODEC_RECIPE += ("--model", json.dumps(CODEC_MODEL))
STUDIO = ("--composition", "lead_sheets", "--singers", "mixed", "--renderer", "mixed")
ENCODER_RECIPE = ("--with_parts", *STUDIO, "--num_clips", 1000, "--num_clusters", 1000, "--num_centroid_clips", 150)
ENCODER_RECIPE += ("--optimizer", "muon", "--learning_rate", 2e-3, "--batch_clips", 4, "--warmup_steps", 50)
ENCODER_RECIPE += ("--max_steps", 1200, "--heard_steps", 1100)
ENCODER_RECIPE += ("--tuning_steps", 650, "--tuning_learning_rate", 5e-4, "--commitment_weight", 1.0)
TOKEN_RECIPE = ("--parts", "drums", "bass", "other", "--styles", "--composition", "arranged", *STUDIO[2:])
TOKEN_RECIPE += ("--song_duration_s", 24)


@dataclass(frozen=True)
class Edition:
    """What differs between the shipped default and the one before it."""

    configs: str
    num_songs: int  # to train the stages on
    encoder_recipe: tuple = ()
    token_recipe: tuple = ()
    song_options: tuple = ()  # of the songs that the result is measured on
    codec: Path | None = None  # one that is trained already
    has_listener: bool = False
    core_minutes: dict[str, int] = field(default_factory=dict)  # what each step took on one core


EDITIONS = {
    "second": Edition(
        "tiny_second_edition",
        3000,
        core_minutes={"codec": 23, "semantic_encoder": 101, "tokens": 35, "semantic": 34, "coarse": 216, "fine": 24},
    ),
    "third": Edition(
        "tiny",
        640,
        ENCODER_RECIPE,
        TOKEN_RECIPE,
        STUDIO,
        Path(accompgen_hf.DEFAULT_MODEL),
        has_listener=True,
        core_minutes={"semantic_encoder": 120, "tokens": 72, "semantic": 104, "coarse": 75, "fine": 43},
    ),
}


def make_parser(description: str) -> argparse.ArgumentParser:
    """The options of what is common with make_tiny_singsong.py: everything up to the tokens."""
    parser = script_parser(description)
    parser.add_argument("--work_dir", type=Path, help="folder of songs, tokens and runs (runs/EDITION)")
    parser.add_argument("--num_songs", type=int, help="songs to train the stages on, if not the recipe's")
    parser.add_argument("--codec", type=Path, help="a codec that is trained already")
    parser.add_argument("--semantic_encoder", type=Path, help="an encoder with centroids that is trained already")
    parser.add_argument("--num_processes", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="for the tokens")
    return parser


def main() -> None:
    parser = make_parser(__doc__)
    described = "steps of the stages, if not the recipe's"
    parser.add_argument("--stage_steps", type=int, nargs=3, metavar=("SEMANTIC", "COARSE", "FINE"), help=described)
    parser.add_argument("--edition", choices=list(EDITIONS), default="third", help="the shipped one is the third")
    precisions = "of the stages; bf16 takes less than half of the time where the processor computes in it"
    parser.add_argument("--mixed_precision", choices=("no", "bf16"), default="no", help=f"{precisions} (no)")
    parser.add_argument(
        "--install", action="store_true", help="replace the default inside the package; third edition alone"
    )
    options = parser.parse_args()
    if options.install and options.edition != "third":
        raise ValueError(
            f"`--install` is for `--edition third`, got {options.edition}: the third edition's recipe takes its codec "
            "from the package, and would lose it. Leave `--install` out: the model lies in WORK_DIR/accompgen-tiny."
        )
    edition = EDITIONS[options.edition]
    costs = ", ".join(f"{step} {minutes} min" for step, minutes in edition.core_minutes.items())
    print(f"== what each step took on one core of an AMD EPYC: {costs}", flush=True)
    work, codec, encoder, tokens = make_tokens(options)
    # 3. The three stages; their tables begin with those of encoder and codec.
    starts = {"semantic": ["--init_ids_from", encoder], "fine": ["--init_codes_from", codec]}
    starts["coarse"] = starts["semantic"] + starts["fine"]
    for index, stage in enumerate(STAGES):
        steps = [] if options.stage_steps is None else ["--max_steps", options.stage_steps[index]]
        config = EXAMPLES / "configs" / edition.configs / f"{stage}.yaml"
        arguments = ("--config", config, "--data", tokens, "--output_dir", work / stage, *starts[stage], *steps)
        arguments += ("--mixed_precision", options.mixed_precision)
        run(work, stage, work / stage / "final", "train_stage.py", *arguments)
    parts = {stage: work / stage / "final" for stage in STAGES}
    # 4. What the semantic stage hears of the voice's beat and chords.
    if edition.has_listener:
        listening = work / "listener"
        arguments = ("--stage", parts["semantic"], "--data", tokens, "--output_dir", listening)
        run(work, "listener", listening / "config.json", "fit_listener.py", *arguments)
        parts["semantic"] = listening
    # 5. One folder, and what it measures.
    repository = work / "accompgen-tiny"
    parts |= {"semantic_encoder": encoder, "codec": codec}
    words = [word for name, folder in parts.items() for word in (f"--{name}", folder)]
    run(work, "assemble", repository / "config.json", "assemble_tiny.py", *words, "--output_dir", repository)
    report = work / "report"
    arguments = ("--model", repository, "--output_dir", report, "--work_dir", work, *edition.song_options)
    run(work, "report", report / "report.json", "report_tiny.py", *arguments)
    if options.install:
        subprocess.run(command("assemble_tiny.py", "--install", repository, "--report", report), check=True)


def make_tokens(options: argparse.Namespace) -> tuple[Path, Path, Path, Path]:
    """Train codec and encoder, and turn songs into tokens, unless they are there; return their folder and theirs."""
    edition = EDITIONS[options.edition]
    work = options.work_dir or Path("runs") / options.edition
    work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    codec = options.codec or edition.codec or work / "codec" / "final"
    encoder = options.semantic_encoder or work / "semantic_encoder" / "final"
    songs, tokens = work / "songs", work / "tokens"
    # 1. The codec, and the encoder with its centroids.
    if options.codec is None and edition.codec is None:
        places = ("--output_dir", codec.parent, "--songs_dir", work / "codec_songs")
        run(work, "codec", codec, "train_codec.py", *places, *CODEC_RECIPE)
    if options.semantic_encoder is None:
        arguments = ("--output_dir", encoder.parent, *edition.encoder_recipe)
        run(work, "semantic_encoder", encoder, "train_semantic_encoder.py", *arguments)
    # 2. Songs -> tokens.
    arguments = (
        "--num_songs",
        options.num_songs or edition.num_songs,
        "--semantic_encoder",
        encoder,
        "--codec",
        codec,
    )
    arguments += ("--output_dir", tokens, "--songs_dir", songs, *edition.token_recipe)
    shares = [
        command("prepare_dataset.py", *arguments, "--shard", f"{index}/{options.num_processes}")
        for index in range(options.num_processes)
    ]
    run_together(work, "tokens", tokens / "manifest.json", shares)
    return work, codec, encoder, tokens


def command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / script), *map(str, arguments)]


def run(work: Path, name: str, result: Path, script: str, *arguments: object) -> None:
    run_together(work, name, result, [command(script, *arguments)])


def run_together(work: Path, name: str, result: Path, commands: list[list[str]]) -> None:
    """Run one step's commands side by side unless its result is there; note what it cost."""
    if result.exists():
        print(f"== {name}: done, {result}", flush=True)
        return
    start = time.monotonic()
    for words in commands:
        print(f"== {name}: {shlex.join(words)}", flush=True)
    processes = [subprocess.Popen(words) for words in commands]
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit(f"step {name} failed with exit code {max(codes)}; the same command goes on from here")
    line = {"step": name, "minutes": round((time.monotonic() - start) / 60, 1), "processes": len(commands)}
    with open(work / "cost.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    run_script(main)
