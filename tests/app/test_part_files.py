"""A render on disk: codes survive every cut, the part file always plays, and its bytes are those of one long run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app.part_files import CodeJournal, GrowingWav, open_journal, render_fingerprint, render_to_part
from tiny import quick_model, tiny_model

RATE = 16_000


def piece(num_frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1024, (1, 4, num_frames), generator=torch.Generator().manual_seed(seed))


def test_a_journal_gives_back_what_was_written(tmp_path):
    first, second, ids = piece(6), piece(3, 1), torch.arange(5)[None]
    journal = CodeJournal(tmp_path / "codes", "f")
    assert journal.known_codes == {}
    journal.append("coarse_codes", first)
    journal.append("vocal_semantic_ids", ids)
    journal.append("coarse_codes", second)
    journal.close()
    journal = CodeJournal(tmp_path / "codes", "f")
    assert torch.equal(journal.known_codes["coarse_codes"], torch.cat([first, second], -1))
    assert torch.equal(journal.known_codes["vocal_semantic_ids"], ids)
    # A run that goes on hears the known codes again, cut elsewhere.
    journal.append("coarse_codes", torch.cat([first, second, piece(2, 2)], -1))
    journal.append("coarse_codes", piece(1, 3))
    journal.close()
    again = CodeJournal(tmp_path / "codes", "f")
    expected = torch.cat([first, second, piece(2, 2), piece(1, 3)], -1)
    assert torch.equal(again.known_codes["coarse_codes"], expected)
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_other_settings_starts_anew(tmp_path):
    journal = CodeJournal(tmp_path / "codes", "f")
    journal.append("coarse_codes", piece(6))
    journal.close()
    other = CodeJournal(tmp_path / "codes", "g")
    assert other.known_codes == {}
    other.close()
    back = CodeJournal(tmp_path / "codes", "f")
    assert back.known_codes == {}
    back.close()


def test_wherever_a_journal_was_cut_its_whole_lines_count(tmp_path):
    path = tmp_path / "codes"
    journal = CodeJournal(path, "f")
    for seed in range(3):
        journal.append("coarse_codes", piece(2, seed))
    journal.close()
    content = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    whole = torch.cat([piece(2, seed) for seed in range(3)], -1)
    for length in range(0, len(content) + 1, 7):
        path.write_bytes(content[:length])
        journal = CodeJournal(path, "f")
        journal.close()
        num_lines = max(0, sum(end <= length for end in ends) - 1)
        known = journal.known_codes.get("coarse_codes", whole[..., :0])
        assert torch.equal(known, whole[..., : 2 * num_lines])
    path.write_bytes(content.replace(b'"shape": [1, 4, 2]', b'"shape": [1, 2, 4]', 1))  # damaged, not cut
    journal = CodeJournal(path, "f")
    journal.close()
    assert journal.known_codes == {}


def test_a_growing_file_plays_after_every_piece(tmp_path):
    audio = np.random.default_rng(0).uniform(-0.9, 0.9, 3000).astype(np.float32)
    wav = GrowingWav(tmp_path / "a.part.wav", 22_050, 3000)
    for start in range(0, 3000, 1000):
        wav.append(audio[start : start + 1000])
        heard, rate = soundfile.read(tmp_path / "a.part.wav")
        assert rate == 22_050
        np.testing.assert_allclose(heard, audio[: start + 1000], atol=2e-7)
    (tmp_path / "a.part.wav").unlink()
    with pytest.raises(OSError, match=r"a\.part\.wav' could not be written"):
        wav.append(audio)


@pytest.fixture(scope="module")
def pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=tiny_model())


@pytest.fixture(scope="module")
def vocals() -> Recording:
    return Recording(0.1 * np.random.default_rng(0).standard_normal(round(1.9 * RATE)).astype(np.float32), RATE)


def render(pipe, vocals: Recording, path: Path, **options) -> None:
    journal = open_journal(path, "f")
    render_to_part(pipe, vocals, path, journal, **options)
    journal.remove()


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def test_a_render_killed_at_five_random_moments_has_the_bytes_of_an_undisturbed_one(pipe, vocals, tmp_path):
    options = {"seed": 3, "guidance_scale": 1.0, "output_sampling_rate": "input"}
    render(pipe, vocals, tmp_path / "whole.part.wav", **options)
    seconds, made = [], {"total": 0.0}
    moments = iter(np.random.default_rng(1).uniform(0.1, 1.2, 5))

    def run(limit_s: float) -> None:
        done = 0.0

        def count(stage: str, just_finished: float) -> None:
            nonlocal done
            done += just_finished
            made["total"] += just_finished
            if done > limit_s:
                raise Killed

        render(pipe, vocals, tmp_path / "cut.part.wav", callback=count, **options)

    for moment in moments:
        with pytest.raises(Killed):
            run(moment)
        seconds.append(made["total"])
    run(np.inf)
    assert (tmp_path / "cut.part.wav").read_bytes() == (tmp_path / "whole.part.wav").read_bytes()
    # Of what was cut off at most one window is made again: three stages of 1.9 s, and five windows of at most 1 s.
    assert made["total"] <= 3 * 1.92 + 5 * 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.part.wav", "whole.part.wav"]


def test_what_is_refused_leaves_no_files(pipe, vocals, tmp_path):
    with pytest.raises(ValueError, match="`top_k`"):
        render(pipe, vocals, tmp_path / "a.part.wav", seed=3, top_k=-1)
    assert list(tmp_path.iterdir()) == []


def test_everything_that_decides_about_the_codes_is_in_the_fingerprint(pipe, vocals):
    base = render_fingerprint(pipe, {"seed": 1}, {"torch": "2"}, vocals)
    assert render_fingerprint(pipe, {"seed": 1}, {"torch": "2"}, Recording(vocals.read(), RATE)) == base
    other = VocalAccompanimentPipeline(model=tiny_model(seed=1))
    different = [
        render_fingerprint(pipe, {"seed": 2}, {"torch": "2"}, vocals),
        render_fingerprint(pipe, {"seed": 1}, {"torch": "3"}, vocals),
        render_fingerprint(pipe, {"seed": 1}, {"torch": "2"}, Recording(vocals.read() * 0.5, RATE)),
        render_fingerprint(other, {"seed": 1}, {"torch": "2"}, vocals),
    ]
    assert len({base, *different}) == 5


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_bytes(pipe, tmp_path):
    """OMP_NUM_THREADS=1 pytest -m slow tests/test_part_files.py"""
    pipe.save_pretrained(tmp_path / "model")
    noise = 0.1 * np.random.default_rng(0).standard_normal(8 * RATE)
    soundfile.write(tmp_path / "take.wav", noise, RATE)
    call = [sys.executable, "-m", "accompgen_hf.app.cli", "generate", str(tmp_path / "take.wav"), "--seed", "7"]
    call += ["--model", str(tmp_path / "model"), "--device", "cpu", "--stream", "--quiet", "-o"]
    subprocess.run([*call, str(tmp_path / "whole")], check=True)
    state = tmp_path / "cut" / "take-seed7.part.codes"
    num_kills, size = 0, 0
    for growth in np.random.default_rng(2).integers(200, 3000, 5):
        process = subprocess.Popen([*call, str(tmp_path / "cut")])
        while process.poll() is None and not (state.exists() and state.stat().st_size > size + growth):
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            num_kills += 1
        process.wait()
        size = state.stat().st_size if state.exists() else size
    assert num_kills == 5
    subprocess.run([*call, str(tmp_path / "cut")], check=True)
    for name in ("accompaniment.wav", "mix.wav"):
        files = [Path(tmp_path, run, "take-seed7", name).read_bytes() for run in ("whole", "cut")]
        assert files[0] == files[1]
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["take-seed7"]


@pytest.mark.slow
def test_a_streamed_command_needs_no_more_memory_for_a_longer_recording(tmp_path):
    """OMP_NUM_THREADS=1 pytest -m slow tests/test_part_files.py -k memory"""
    VocalAccompanimentPipeline(model=quick_model()).save_pretrained(tmp_path / "model")
    script = "import resource, sys; from accompgen_hf.app import cli; code = cli.main(sys.argv[1:]); "
    script += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    second = 0.1 * np.random.default_rng(0).standard_normal((44_100, 2))
    peaks_mib = []
    for duration_s in (30, 300):
        path = tmp_path / f"{duration_s}.wav"
        with soundfile.SoundFile(path, "w", 44_100, 2) as file:
            for _ in range(duration_s):
                file.write(second)
        call = ["generate", str(path), "-o", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
        call += ["--seed", "7", "--preview", "--stream", "--quiet", "--device", "cpu"]
        run = subprocess.run([sys.executable, "-c", script, *call], check=True, capture_output=True, text=True)
        folder, peak = run.stdout.split()
        assert soundfile.info(Path(folder) / "accompaniment.wav").frames == duration_s * 44_100
        assert soundfile.info(Path(folder) / "mix.wav").frames == duration_s * 44_100
        peaks_mib.append(int(peak) / 1024)
    # One float copy of these vocals is 101 MiB, and without `--stream` there are several.
    assert peaks_mib[1] - peaks_mib[0] <= 50
