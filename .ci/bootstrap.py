"""Make the virtual environment that `make demo`, `make test` and `make docs` run in; standard library only.

    python .ci/bootstrap.py demo     what a singer needs: generate, mix, draw
    python .ci/bootstrap.py test     that, and what the tests and the training recipe need
    python .ci/bootstrap.py docs     that, and what builds the docs site

It looks for a Python of version 3.10 or newer (its own first), makes `.venv` (or the folder named by `--venv`), says
what it downloads and how much, installs the versions of constraints.txt, and leaves a stamp: while constraints.txt
and setup.py stay as they are, the next call returns at once. `--torch-index URL` (or the variable TORCH_INDEX_URL)
adds a package index for torch, for example https://download.pytorch.org/whl/cpu.

This one file keeps to Python 3.6's syntax, so that an old interpreter still gets the message and not a SyntaxError.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MINIMUM = (3, 10)
MINIMUM_PIP = (23, 3)  # older ones fetch a whole wheel to learn what it needs, before anything could be announced
EXTRA = {"demo": "[fast]", "test": "[dev]", "docs": "[dev,docs]"}
COVERED_BY = {"demo": {"demo", "test", "docs"}, "test": {"test", "docs"}, "docs": {"docs"}}
# The parity reference of the codec tests. Without its dependencies: it would bring torchaudio, which does not import
# beside a CPU build of torch.
WITHOUT_DEPENDENCIES = {"demo": [], "test": ["encodec", "einops"], "docs": ["encodec", "einops"]}

# Measured wheel sizes in GB: everything but torch, then torch with what it brings.
OTHERS_GB = {"demo": 0.18, "test": 0.41, "docs": 0.42}
TORCH_CPU_GB = 0.2
TORCH_CUDA_GB = 2.8
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def fail(message):
    sys.stderr.write("bootstrap: " + message + "\n")
    sys.exit(2)


def version_of(command):
    """(major, minor) of the interpreter `command` (a list), or None if it does not run."""
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    try:
        done = subprocess.run([*command, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return tuple(int(part) for part in done.stdout.decode().strip().split("."))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python():
    """The command of a Python that is new enough, this one first."""
    if sys.version_info[:2] >= MINIMUM:
        return [sys.executable]
    names = [f"python3.{minor}" for minor in (12, 13, 11, 14, 10)] + ["python3", "python"]
    candidates = [[path] for path in (shutil.which(name) for name in names) if path]
    if shutil.which("py"):  # Windows' launcher
        candidates += [["py", f"-3.{minor}"] for minor in (12, 13, 11, 14, 10)]
    for command in candidates:
        version = version_of(command)
        if version is not None and version >= MINIMUM:
            return command
    fail(
        f"this project needs Python 3.10 or newer, found only {platform.python_version()}. Install one from"
        " https://www.python.org/downloads (or your system's packages) and call again, or name it:"
        " make demo PYTHON=/path/to/python3"
    )


def python_of(venv):
    windows = os.path.join(venv, "Scripts", "python.exe")
    return windows if os.name == "nt" else os.path.join(venv, "bin", "python")


def make_venv(venv):
    """Create the environment, or complete one whose making was interrupted."""
    python = python_of(venv)
    if os.path.exists(python):
        version = version_of([python])
        if version is not None and version < MINIMUM:
            fail(
                f"{venv} holds Python {version[0]}.{version[1]}, this project needs 3.10 or newer. Remove that folder."
            )
        has_pip = subprocess.run([python, "-m", "pip", "--version"], stdout=subprocess.DEVNULL).returncode == 0
        if version is not None and has_pip:
            return python
    print(f"Making the virtual environment {os.path.relpath(venv)}")
    sys.stdout.flush()
    command = [*find_python(), "-m", "venv", venv]
    if subprocess.run(command).returncode != 0:
        fail(f"`{' '.join(command)}` failed. On Debian and Ubuntu: apt install python3-venv")
    return python


def digest_of(python):
    """What the environment depends on: the two files and the interpreter."""
    digest = hashlib.sha256(repr(version_of([python])).encode())
    for name in ("constraints.txt", "setup.py", os.path.join(".ci", "bootstrap.py")):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def read_stamp(path):
    try:
        with open(path, encoding="utf-8") as file:
            stamp = json.load(file)
        return stamp["digest"], set(stamp["profiles"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, set()


def renew_pip(python):
    """An old pip first becomes a new one."""
    done = subprocess.run([python, "-m", "pip", "--version"], stdout=subprocess.PIPE)
    words = done.stdout.decode().split()
    try:
        version = tuple(int(part) for part in words[1].split(".")[:2])
    except (IndexError, ValueError):
        version = (0, 0)
    if version < MINIMUM_PIP:
        print("Downloading a newer pip (2 MB)")
        sys.stdout.flush()
        pip_install(python, ["--upgrade", "pip>={}.{}".format(*MINIMUM_PIP)])


def torch_source(python, pip_options):
    """Where pip would take torch from: "here" (installed or on this disk), "cpu", "cuda", or None if it cannot say."""
    if subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0:
        return "here"
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--report", "-", *pip_options]
    done = subprocess.run([*command, "torch"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        url = json.loads(done.stdout.decode())["install"][0]["download_info"]["url"]
    except (ValueError, KeyError, IndexError):
        return None
    if url.startswith("file:"):
        return "here"
    # Only Linux wheels without the "+cpu" mark carry CUDA.
    return "cuda" if platform.system() == "Linux" and "cpu" not in url.rsplit("/", 1)[-1] else "cpu"


def announce(profile, source, have_torch_index):
    """Say what comes over the network, and how much, before it does."""
    if source is None:
        source = "cuda" if platform.system() == "Linux" and not have_torch_index else "cpu"
    torch_gb = {"here": 0.0, "cpu": TORCH_CPU_GB, "cuda": TORCH_CUDA_GB}[source]
    torch_words = {
        "here": "torch is already on this disk",
        "cpu": f"torch {torch_gb:.1f} GB",
        "cuda": f"torch with its CUDA libraries {torch_gb:.1f} GB",
    }[source]
    print(
        f"Downloading up to {torch_gb + OTHERS_GB[profile]:.2f} GB of Python packages into the virtual environment"
        f" ({torch_words}, all else {OTHERS_GB[profile]:.2f} GB; what pip has in its cache is not fetched again)."
        " No model is downloaded: the default lies in the package."
    )
    if source == "cuda":
        print("Without an NVIDIA GPU the CPU build of torch is enough and 2.5 GB smaller: stop this (Ctrl-C) and call")
        print(f"    make demo TORCH_INDEX_URL={CPU_INDEX}")
    sys.stdout.flush()


def pip_install(python, arguments):
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--quiet"]
    if subprocess.run(command + arguments, cwd=ROOT).returncode != 0:
        fail("pip could not install (its message stands above). Call again: what is already fetched stays.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("profile", choices=sorted(EXTRA))
    parser.add_argument("--venv", default=os.path.join(ROOT, ".venv"))
    parser.add_argument("--torch-index", default=os.environ.get("TORCH_INDEX_URL", ""))
    arguments = parser.parse_args()

    venv = os.path.abspath(arguments.venv)
    stamp_path = os.path.join(venv, "accompgen-stamp.json")
    python = make_venv(venv)
    digest, profiles = read_stamp(stamp_path)
    if digest == digest_of(python) and profiles & COVERED_BY[arguments.profile]:
        return

    pip_options = ["-c", os.path.join(ROOT, "constraints.txt")]
    if arguments.torch_index:
        pip_options += ["--extra-index-url", arguments.torch_index]
    renew_pip(python)
    announce(arguments.profile, torch_source(python, pip_options), bool(arguments.torch_index))
    pip_install(python, [*pip_options, "-e", "." + EXTRA[arguments.profile]])
    if WITHOUT_DEPENDENCIES[arguments.profile]:
        pip_install(python, [*pip_options, "--no-deps", *WITHOUT_DEPENDENCIES[arguments.profile]])

    digest_now = digest_of(python)
    done = (profiles if digest == digest_now else set()) | {arguments.profile}
    with open(stamp_path + ".partial", "w", encoding="utf-8") as file:
        json.dump({"digest": digest_now, "profiles": sorted(done)}, file)
    os.replace(stamp_path + ".partial", stamp_path)


if __name__ == "__main__":
    main()
