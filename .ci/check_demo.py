"""Check what `accompgen demo --seed 1` has left in this folder, and that the package came from the wheel."""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile

import accompgen_hf
from accompgen_hf.app.cli import SHIPPED_VOCALS


def main() -> None:
    package = Path(accompgen_hf.__file__).resolve()
    if Path(sys.argv[1]).resolve() not in package.parents:
        raise SystemExit(f"accompgen_hf was imported from {package}, not from the wheel")
    folder = Path("accompgen_out/vocadito_10-seed1")
    vocals = soundfile.info(SHIPPED_VOCALS)
    for name in ("accompaniment.wav", "mix.wav"):
        info = soundfile.info(folder / name)
        found = (info.frames, info.samplerate, info.subtype)
        if found != (vocals.frames, vocals.samplerate, "PCM_24"):
            raise SystemExit(f"{name}: {found} does not fit the vocals")
        audio, _ = soundfile.read(folder / name)
        level_db = 20 * np.log10(np.sqrt(np.mean(audio**2)) + 1e-9)
        print(f"{name}: {info.frames} samples at {info.samplerate} Hz, {level_db:.1f} dBFS RMS")
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    print(f"picture.png: {(folder / 'picture.png').stat().st_size} bytes; made with {settings['made_with']}")


if __name__ == "__main__":
    main()
