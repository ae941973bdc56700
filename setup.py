"""Metadata, dependencies and package data of accompgen_hf; tool settings stand in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "([^"]+)"', (ROOT / "src/accompgen_hf/__init__.py").read_text("utf-8"), re.M)[1]

# What a singer needs: generate, mix, draw.
INSTALL_REQUIRES = [
    "torch>=2.11",
    "transformers>=5.17",
    "safetensors>=0.4.3",
    "huggingface-hub>=1.0",
    "tokenizers>=0.22",
    "numpy>=1.26",
    "soundfile>=0.13",  # the first whose wheels read mp3, ogg and opus on all three systems
    "soxr>=0.5",
    "pyloudnorm>=0.1.1",
    "matplotlib>=3.8",
    "mido>=1.3",  # song.mid: tempo map, chords and click of a result
    "tqdm>=4.66",
]

EXTRAS = {
    "train": ["accelerate>=1.10", "datasets>=4.0", "scikit-learn>=1.5", "PyYAML>=6.0", "peft>=0.18"],  # peft: LoRA
    "eval": ["evaluate>=0.4.3", "scipy>=1.12", "mir_eval>=0.8"],
    "separate": ["onnxruntime>=1.19"],
    "fast": ["numba>=0.62"],  # compiled decoding on the CPU
    "media": ["av>=14"],  # m4a, aac, webm and the five-stream STEM mp4
    "completion": ["argcomplete>=3.5"],  # of the command, by the Tab key of a shell
    "web": ["gradio>=6.31", "av>=14"],  # PyAV: the page must take m4a, what phones record
}
# MCP by gradio's own server. Not `gradio[mcp]`, which asks for a pydantic of last year.
EXTRAS["mcp"] = [*EXTRAS["web"], "mcp>=1.21,<2"]
EXTRAS["all"] = sorted({requirement for requirements in EXTRAS.values() for requirement in requirements})
# Outside `all`: what builds the docs site. Importing the package's modules for the API pages needs the others, too.
EXTRAS["docs"] = ["sphinx>=8.1", "myst-parser>=4.0", "furo>=2025.7"]
# Outside `all`: the original codec package is CC BY-NC and drags torchaudio in; it serves a parity test alone.
EXTRAS["encodec"] = ["encodec>=0.1.1"]
# Outside `all`: what `datasets` decodes `Audio` columns with; it needs the system's FFmpeg. Rows of
# `Audio(decode=False)` are read without either.
EXTRAS["datasets"] = ["datasets>=4.0", "torchcodec>=0.11"]
# Singers of words; the program flite comes from the system. pyworld asks setuptools for its own version.
EXTRAS["words"] = ["pyworld>=0.3.5", "setuptools<81"]
# Outside `all`: a published decoder for EnCodec's tokens (MIT) that names torchaudio and encodec; it serves a parity
# test alone. Better is `pip install --no-deps vocos`.
EXTRAS["vocos"] = ["vocos>=0.1.0"]
# Outside `all`: it names pyaudio, which often does not build and which we do not need. Better is
# `pip install --no-deps tinysoundfont`.
EXTRAS["soundfont"] = ["tinysoundfont>=0.3.6"]
EXTRAS["dev"] = [
    *EXTRAS["train"],
    *EXTRAS["completion"],
    *EXTRAS["eval"],
    *EXTRAS["fast"],
    *EXTRAS["media"],
    *EXTRAS["separate"],
    *EXTRAS["mcp"],
    "hypothesis>=6.100",
    "ipykernel>=6.29",
    "mypy>=2.4",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "pytest>=8.3",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.14",
]

setup(
    name="accompgen_hf",
    version=VERSION,
    description="Vocals in, band out: a three-stage accompaniment generator for Hugging Face Transformers",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="The accompgen_hf contributors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="music generation, accompaniment, singing, transformers, audio language model",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.10",
    package_dir={"": "src"},
    packages=find_packages("src"),
    py_modules=["accompgen_command"],
    package_data={
        "accompgen_hf": ["py.typed", "assets/**/*", "web/*.css", "web/*.js", "evaluation/metrics/modules/**/*"]
    },
    include_package_data=False,
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["accompgen=accompgen_command:main"]},
    zip_safe=False,
)
