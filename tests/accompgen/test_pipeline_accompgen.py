"""The task: every kind of recording in, exact lengths out, one seed one result, and every refusal."""

import copy
import importlib
import io
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel, AutoProcessor, pipeline, pipelines
from transformers.pipelines import PIPELINE_REGISTRY

import accompgen_hf
from accompgen_hf import (
    AccompGenCoarseConfig,
    AccompGenFineConfig,
    AccompGenForConditionalGeneration,
    AccompGenProcessor,
    AccompGenSemanticConfig,
    VocalAccompanimentPipeline,
)
from accompgen_hf.accompgen import pipeline_accompgen
from accompgen_hf.accompgen.audio_accompgen import load_audio
from tiny import tiny_model, tiny_stage_config

PACKAGE = Path(accompgen_hf.__file__).parent
SINGING = PACKAGE / "assets" / "vocals" / "vocadito_10.wav"
RATE = 22_050
KINDS = ("path", "str", "bytes", "bytearray", "array", "tensor", "array dict", "raw dict", "path dict", "bytes dict")
KINDS += ("open file", "BytesIO", "dataset row")


@pytest.fixture(scope="module")
def pipe() -> VocalAccompanimentPipeline:
    return VocalAccompanimentPipeline(model=tiny_model())


def make_vocals(duration_s: float = 0.12, rate: int = RATE, seed: int = 0, channels: int = 1) -> np.ndarray:
    num_samples = round(duration_s * rate)
    tone = np.sin(2 * np.pi * (200 + 60 * seed) * np.arange(num_samples) / rate)
    noise = np.random.default_rng(seed).standard_normal((channels, num_samples))
    audio = (0.2 * tone + 0.02 * noise).astype(np.float32)
    return audio[0] if channels == 1 else audio


def as_dict(duration_s: float = 0.12, rate: int = RATE, seed: int = 0, channels: int = 1) -> dict:
    return {"array": make_vocals(duration_s, rate, seed, channels), "sampling_rate": rate}


def assert_same_result(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    assert (first["seed"], first["sampling_rate"]) == (second["seed"], second["sampling_rate"])
    for name in ("audio", "mix"):
        np.testing.assert_array_equal(first[name], second[name])


def files_reached_by(call) -> list[str]:
    """Files of the package that run during a call, in the order in which they are reached; checks alone reach none."""
    reached: dict[str, None] = {}

    def note(frame, event, _argument):
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if event == "call" and path.parent == PACKAGE / "accompgen" and not name.startswith("check_"):
            reached[path.stem] = None

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(reached)


def test_the_walk_of_the_vocals_is_the_documented_one(pipe):
    """At most twelve files from the call to the mix, each reached once, in the order of the module's docstring."""
    walk = re.findall(r"\b(\w+_accompgen\w*):", pipeline_accompgen.__doc__)
    assert len(walk) == len(set(walk)) <= 12
    reached = files_reached_by(lambda: pipe(as_dict(), seed=1))
    assert [name for name in reached if name in walk] == walk


# ---- input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_recording_gives_the_same_result(pipe, kind, tmp_path):
    audio = make_vocals()
    path = tmp_path / "take.wav"
    soundfile.write(path, audio, RATE, subtype="FLOAT")
    source = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
        "array": audio,
        "tensor": torch.from_numpy(audio),
        "array dict": {"array": audio, "sampling_rate": RATE},
        "raw dict": {"raw": audio, "sampling_rate": RATE},
        "path dict": {"path": str(path), "bytes": None},
        "bytes dict": {"path": None, "bytes": path.read_bytes()},
        "open file": path.open("rb"),
        "BytesIO": io.BytesIO(path.read_bytes()),
        "dataset row": {"audio": {"array": audio, "sampling_rate": RATE}, "singer": "Ann"},
    }[kind]
    settings = {"sampling_rate": RATE} if kind in ("array", "tensor") else {}
    before = audio.copy()
    result = pipe(source, seed=3, preview=True, **settings)
    assert_same_result(result, pipe({"array": audio, "sampling_rate": RATE}, seed=3, preview=True))
    np.testing.assert_array_equal(audio, before)  # inputs are not changed in place


def test_a_list_is_a_batch_and_item_i_has_seed_plus_i(pipe):
    takes = [as_dict(seed=0), as_dict(0.16, seed=1), as_dict(seed=2)]  # the second one is longer
    together = pipe(takes, seed=10)
    assert isinstance(together, list)
    assert [result["seed"] for result in together] == [10, 11, 12]
    for result, take, seed in zip(together, takes, (10, 11, 12), strict=True):
        assert_same_result(result, pipe(take, seed=seed))
    for result, expected in zip(pipe(tuple(takes), seed=[10, 11, 12], batch_size=2), together, strict=True):
        np.testing.assert_allclose(result["audio"], expected["audio"], atol=1e-5)


def test_a_generator_is_worked_off_one_by_one(pipe):
    num_asked = []

    def takes():
        for seed in range(2):
            num_asked.append(seed)
            yield as_dict(seed=seed)

    results = pipe(takes(), seed=5, preview=True)
    assert num_asked == []
    first = next(results)
    assert num_asked == [0]
    assert_same_result(first, pipe(as_dict(), seed=5, preview=True))
    assert [result["seed"] for result in results] == [6]


def test_a_dataset_column_is_worked_off_row_by_row(pipe, tmp_path):
    datasets = pytest.importorskip("datasets")
    paths = []
    for seed in range(2):
        paths.append(str(tmp_path / f"{seed}.wav"))
        soundfile.write(paths[-1], make_vocals(seed=seed), RATE, subtype="FLOAT")
    table = datasets.Dataset.from_dict({"audio": paths}).cast_column("audio", datasets.Audio(decode=False))
    results = list(pipe(table["audio"], seed=5, preview=True))
    assert_same_result(results[1], pipe(paths[1], seed=6, preview=True))
    assert_same_result(list(pipe(table, seed=5, preview=True))[1], results[1])  # whole rows
    [alone] = pipe([table[1]["audio"]], seed=6, preview=True)  # a row is a dict, as `datasets` gives it
    assert_same_result(alone, results[1])


# ---- output --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_samples", "rate", "expected"),
    [
        (4_410, 44_100, 2_400),  # 0.1 s, the shortest
        (4_411, 44_100, 2_401),  # 2400.54
        (800, 8_000, 2_400),
        (1_761, 16_000, 2_642),  # 2641.5
        (9_601, 96_000, 2_400),  # 2400.25
        (3_307, 22_050, 3_599),  # 3599.46
        (24_007, 48_000, 12_004),  # 12003.5
    ],
)
def test_the_accompaniment_is_exactly_as_long_as_the_vocals(pipe, num_samples, rate, expected):
    vocals = {"array": make_vocals(num_samples / rate, rate)[:num_samples], "sampling_rate": rate}
    assert len(vocals["array"]) == num_samples
    result = pipe(vocals, seed=1, preview=True)
    assert result["audio"].shape == result["mix"].shape == (expected,)
    assert result["audio"].dtype == result["mix"].dtype == np.float32
    assert (result["sampling_rate"], result["seed"]) == (24_000, 1)
    assert np.abs(result["audio"]).max() <= 1
    assert np.abs(result["audio"]).max() > 0
    at_input = pipe(vocals, seed=1, preview=True, output_sampling_rate="input")
    assert at_input["audio"].shape == at_input["mix"].shape == (num_samples,)
    assert at_input["sampling_rate"] == rate


def quick_windows() -> dict:
    """Windows without overlap need nothing from each other: all of a song runs as one batch."""
    return {
        "semantic_config": tiny_stage_config(AccompGenSemanticConfig, window_overlap_s=0.0),
        "coarse_config": tiny_stage_config(AccompGenCoarseConfig, clip_duration_s=0.4, window_overlap_s=0.0),
        "fine_config": tiny_stage_config(AccompGenFineConfig),
    }


def test_twenty_five_seconds_and_an_odd_sample_come_back_exactly_long():
    pipe = VocalAccompanimentPipeline(model=tiny_model(**quick_windows()))
    vocals = {"array": np.resize(make_vocals(1.0), 25 * RATE + 1), "sampling_rate": RATE}
    result = pipe(vocals, seed=1, guidance_scale=1.0, window_batch_size=128, return_codes=True)
    assert len(result["audio"]) == 25 * 24_000 + 1
    num_steps = 25 * 25 + 1  # of 40 ms
    assert result["vocal_semantic_ids"].shape == result["instrumental_semantic_ids"].shape == (2 * num_steps,)
    assert result["coarse_codes"].shape == result["fine_codes"].shape == (4, 3 * num_steps)


def test_the_output_rate_can_be_chosen(pipe):
    for rate in (None, 8_000, 48_000):
        result = pipe(as_dict(), seed=1, preview=True, output_sampling_rate=rate)
        assert result["sampling_rate"] == (rate or 24_000)
        assert len(result["audio"]) == round(0.12 * RATE) * (rate or 24_000) // RATE


def test_the_mix_keeps_the_vocals_channels_and_the_accompaniment_is_mono(pipe):
    vocals = as_dict(0.12, 24_000, channels=2)
    result = pipe(vocals, seed=1, preview=True)
    assert result["audio"].shape == (2_880,)
    assert result["mix"].shape == (2, 2_880)
    # Under 0.4 s there is no loudness to balance: the mix is the sum.
    np.testing.assert_allclose(result["mix"], vocals["array"] + result["audio"], atol=1e-6)


def test_the_offset_moves_the_accompaniment_in_the_mix_alone(pipe):
    vocals = as_dict(0.6, 24_000)
    base, quieter = (pipe(vocals, seed=1, preview=True, accompaniment_lufs_offset=offset) for offset in (-3.0, -23.0))
    np.testing.assert_array_equal(base["audio"], quieter["audio"])
    under = [np.sqrt(np.mean((result["mix"] - vocals["array"]) ** 2)) for result in (base, quieter)]
    assert under[0] / under[1] == pytest.approx(10.0, rel=0.02)  # 20 dB


def test_variations_have_seeds_of_their_own(pipe):
    variations = pipe(as_dict(), seed=4, num_variations=3, preview=True)
    assert [result["seed"] for result in variations] == [4, 5, 6]
    assert len({result["audio"].tobytes() for result in variations}) == 3
    for result in variations:
        np.testing.assert_allclose(
            result["audio"], pipe(as_dict(), seed=result["seed"], preview=True)["audio"], atol=1e-5
        )
    batch = pipe([as_dict(), as_dict(seed=1)], seed=4, num_variations=2, preview=True)
    assert [[result["seed"] for result in results] for results in batch] == [[4, 5], [6, 7]]
    streamed = list(pipe(iter([as_dict(), as_dict(seed=1)]), seed=4, num_variations=2, preview=True))
    assert [[result["seed"] for result in results] for results in streamed] == [[4, 5], [6, 7]]


def test_a_preview_is_the_coarse_part_of_the_whole(pipe):
    whole = pipe(as_dict(), seed=1, return_codes=True)
    preview = pipe(as_dict(), seed=1, return_codes=True, preview=True)
    names = {"vocal_semantic_ids", "instrumental_semantic_ids", "coarse_codes", "fine_codes"}
    assert names <= whole.keys()
    assert whole.keys() - preview.keys() == {"fine_codes"}
    assert torch.equal(preview["coarse_codes"], whole["coarse_codes"])
    assert not np.array_equal(preview["audio"], whole["audio"])
    assert not names & pipe(as_dict(), seed=1, preview=True).keys()


def test_settings_reach_the_stages(pipe):
    codes = {}
    for name, settings in {
        "base": {},
        "for all": {"do_sample": False, "guidance_scale": 1.0},
        "one": {"coarse_kwargs": {"do_sample": False}},
    }.items():
        codes[name] = pipe(as_dict(), seed=1, preview=True, return_codes=True, **settings)
    assert not torch.equal(codes["for all"]["instrumental_semantic_ids"], codes["base"]["instrumental_semantic_ids"])
    assert torch.equal(codes["one"]["instrumental_semantic_ids"], codes["base"]["instrumental_semantic_ids"])
    assert not torch.equal(codes["one"]["coarse_codes"], codes["base"]["coarse_codes"])
    with_defaults = VocalAccompanimentPipeline(model=pipe.model, preview=True, return_codes=True)
    assert "fine_codes" not in with_defaults(as_dict(), seed=1)
    assert "coarse_codes" in with_defaults(as_dict(), seed=1)


# ---- randomness ----------------------------------------------------------------------------------------------------


def test_generate_kwargs_are_settings_of_all_stages(pipe):
    settings = {"temperature": 2.0, "top_k": 5, "return_codes": True}
    assert_same_result(pipe(as_dict(), seed=1, generate_kwargs=settings), pipe(as_dict(), seed=1, **settings))


def test_an_open_file_can_be_streamed(pipe):
    file = io.BytesIO()
    soundfile.write(file, make_vocals(0.4), RATE, format="WAV", subtype="FLOAT")
    file.seek(0)
    pieces = [audio for _, audio in pipe.stream(file, seed=1)]
    expected = pipe(file.getvalue(), seed=1, window_batch_size=1)["audio"]
    np.testing.assert_allclose(np.concatenate(pieces), expected, atol=1e-6)


def test_the_seed_that_was_drawn_is_returned_and_repeats_the_result(pipe):
    first, other = pipe(as_dict(), preview=True), pipe(as_dict(), preview=True)
    assert first["seed"] != other["seed"]
    assert not np.array_equal(first["audio"], other["audio"])
    assert_same_result(pipe(as_dict(), seed=first["seed"], preview=True), first)
    by_numpy = pipe(as_dict(), seed=np.int64(first["seed"]), preview=True)
    assert_same_result(by_numpy, first)
    assert type(by_numpy["seed"]) is int


def test_global_random_state_threads_and_the_models_settings_are_left_alone(pipe):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()  # noqa: NPY002
    settings = [getattr(pipe.model, stage).generation_config.to_dict() for stage in ("semantic", "coarse", "fine")]
    pipe(as_dict(), guidance_scale=2.0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.get_num_threads() == states[2]
    for stage, before in zip(("semantic", "coarse", "fine"), settings, strict=True):
        assert getattr(pipe.model, stage).generation_config.to_dict() == before
    assert not pipe.model.training


def test_a_real_voice_30_db_quieter_has_the_same_vocal_ids(pipe):
    """Level and noise make the input the same again; the random encoder adds nothing of its own to this."""
    audio, rate = load_audio(SINGING)
    quiet = np.round(audio * 10 ** (-30 / 20) * 2**15) / 2**15  # as a 16-bit file would hold it
    ids = []
    for take in (audio, quiet.astype(np.float32)):
        values = pipe.processor.prepare_vocals(take, rate, seed=1)
        ids.append(pipe.model.semantic_encoder(torch.from_numpy(values)[None]).semantic_ids[0])
    assert len(ids[0]) > 450
    assert len(ids[0].unique()) > 10
    assert (ids[0] == ids[1]).float().mean() >= 0.9
    unlevelled = AccompGenProcessor(vocal_target_lufs=None).prepare_vocals(quiet.astype(np.float32), rate, seed=1)
    drowned = pipe.model.semantic_encoder(torch.from_numpy(unlevelled)[None]).semantic_ids[0]
    assert (ids[0] == drowned).float().mean() < 0.9  # without the gain the take drowns in the noise


# ---- progress ------------------------------------------------------------------------------------------------------


def test_the_callback_hears_every_second_of_every_stage(pipe):
    seconds = {}

    def note(stage, just_finished):
        seconds[stage] = seconds.get(stage, 0.0) + just_finished

    pipe([as_dict(), as_dict(seed=1)], seed=1, callback=note, batch_size=2)
    assert seconds == pytest.approx({"semantic": 0.24, "coarse": 0.24, "fine": 0.24})


def test_an_exception_in_the_callback_cancels(pipe):
    def cancel(stage, just_finished):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(as_dict(), callback=cancel)
    assert pipe(as_dict(), seed=1, preview=True)["seed"] == 1  # and the pipeline works on


def test_progress_is_shown_when_asked_for_alone(pipe, capfd):
    pipe(as_dict(), seed=1, preview=True)
    pipe(as_dict(), seed=1, preview=True, show_progress=False)
    assert capfd.readouterr().err == ""
    pipe(as_dict(), seed=1, show_progress=True)
    assert capfd.readouterr().err == "0.1 s of audio: done\n"  # no terminal: a line, and no more every ten seconds


# ---- the task's name and folders -----------------------------------------------------------------------------------


def test_the_task_is_registered_with_a_class_that_saved_folders_can_name():
    task = PIPELINE_REGISTRY.check_task("vocal-accompaniment")[1]
    assert task["impl"] is VocalAccompanimentPipeline
    assert task["pt"] == (AutoModel,)  # a class of ours would make folders unloadable without this package
    assert task["default"]["model"][0] == accompgen_hf.DEFAULT_MODEL


def test_a_saved_pipeline_loads_by_the_tasks_name_with_its_own_processor(tmp_path):
    model = tiny_model(noise_std=0.02, vocal_target_lufs=-23.0)
    pipe = VocalAccompanimentPipeline(model=model)
    pipe.save_pretrained(tmp_path)
    loaded = pipeline("vocal-accompaniment", model=str(tmp_path))
    assert type(loaded) is VocalAccompanimentPipeline
    assert type(loaded.model) is AccompGenForConditionalGeneration
    assert (loaded.processor.noise_std, loaded.processor.vocal_target_lufs) == (0.02, -23.0)
    assert_same_result(loaded(as_dict(), seed=2), pipe(as_dict(), seed=2))
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert type(processor) is AccompGenProcessor
    by_hand = pipeline("vocal-accompaniment", model=model, processor=processor)
    assert_same_result(by_hand(as_dict(), seed=2, preview=True), pipe(as_dict(), seed=2, preview=True))


@pytest.mark.skipif(not Path(accompgen_hf.DEFAULT_MODEL).is_dir(), reason="the shipped checkpoint is not built yet")
def test_a_saved_folder_alone_says_which_task_it_is_for(tmp_path):
    VocalAccompanimentPipeline(model=tiny_model()).save_pretrained(tmp_path)
    assert isinstance(pipeline(model=str(tmp_path)), VocalAccompanimentPipeline)
    with pytest.raises(RuntimeError, match="cannot infer task automatically"):  # of others Transformers decides
        pipelines.get_task(str(tmp_path / "elsewhere"))


def test_a_model_of_another_copy_of_the_code_runs_too(pipe, monkeypatch):
    """Code loaded beside remote weights makes every class a second time: the pipeline asks for no class of ours."""
    package = types.ModuleType("copied_accompgen")
    package.__path__ = [str(PACKAGE / "accompgen")]
    monkeypatch.setitem(sys.modules, "copied_accompgen", package)
    try:
        copied = importlib.import_module("copied_accompgen.modeling_accompgen")
        config = importlib.import_module("copied_accompgen.configuration_accompgen").AccompGenConfig
        model = copied.AccompGenForConditionalGeneration(config(**pipe.model.config.to_dict())).eval()
        assert not isinstance(model, AccompGenForConditionalGeneration)
        model.load_state_dict(pipe.model.state_dict())
        result = VocalAccompanimentPipeline(model=model)(as_dict(), seed=1, preview=True)
    finally:
        for name in [name for name in sys.modules if name.startswith("copied_accompgen.")]:
            del sys.modules[name]
    assert_same_result(result, pipe(as_dict(), seed=1, preview=True))


# ---- refusals ------------------------------------------------------------------------------------------------------


def test_a_processor_of_another_model_is_refused_naming_both(pipe):
    message = "`noise_std` of the processor is 0.02, but the model's tokens were made with 0.01. Load both from one"
    with pytest.raises(ValueError, match=message):
        VocalAccompanimentPipeline(model=pipe.model, processor=AccompGenProcessor(noise_std=0.02))
    with pytest.raises(ValueError, match=r"`vocal_target_lufs` of the processor is None, but the model's .* -20.0"):
        VocalAccompanimentPipeline(model=pipe.model, processor=AccompGenProcessor(vocal_target_lufs=None))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_variations": 0}, ValueError, "`num_variations` must be an integer of at least 1, got 0"),
        ({"num_variations": 1.5}, ValueError, "`num_variations` must be an integer of at least 1, got 1.5"),
        ({"seed": -1}, ValueError, r"`seed` must be an integer of at least 0, or a list of 1 of them, got \[-1\]"),
        ({"seed": [1, 2]}, ValueError, r"`seed` must be .* a list of 1 of them, got \[1, 2\]"),
        ({"seed": "7"}, ValueError, "`seed` must be an integer of at least 0"),
        ({"seed": 3.5}, ValueError, "`seed` must be an integer of at least 0, .* got 3.5"),
        ({"output_sampling_rate": 100}, ValueError, "`output_sampling_rate` must be"),
        ({"output_sampling_rate": "cd"}, TypeError, "`output_sampling_rate` must be a whole number of Hz, got str"),
        ({"max_duration_s": 0.11}, ValueError, "longer|0.11"),
        ({"accompaniment_lufs_offset": float("nan")}, ValueError, "`accompaniment_lufs_offset` must be a finite"),
        ({"temprature": 1.0}, (ValueError, TypeError), "temprature"),
        ({"generate_kwargs": {"temprature": 1.0}}, (ValueError, TypeError), "temprature"),
        ({"generate_kwargs": {"top_k": 3}, "top_k": 3}, ValueError, r"`generate_kwargs` holds \['top_k'\], which are"),
        ({"max_new_tokens": 30}, ValueError, "`max_new_tokens` cannot be set for a whole recording"),
        ({"fine_kwargs": {"num_beams": 3}}, ValueError, "`num_beams` is not supported by AccompGenFineForCausalLM"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(pipe, settings, error, message):
    with pytest.raises(error, match=message):
        pipe(as_dict(), **settings)


@pytest.mark.parametrize(
    ("vocals", "error", "message"),
    [
        ([], ValueError, "`vocals` must hold at least one recording, got an empty list"),
        (make_vocals(), ValueError, "`sampling_rate` is needed with a bare array"),
        ({"array": make_vocals(0.05), "sampling_rate": RATE}, ValueError, "0.1 s"),
        ({"array": np.full(3000, np.nan, np.float32), "sampling_rate": RATE}, ValueError, "NaN"),
        ("no such file.wav", ValueError, "does not exist"),
        (b"RIFF", ValueError, "bytes"),
        (7, TypeError, "`source` must be a path, bytes"),
        ([make_vocals().tolist()], TypeError, "`source` must be a path, bytes"),
    ],
    ids=["empty list", "bare array", "too short", "nan", "missing file", "broken bytes", "number", "list of floats"],
)
def test_a_recording_that_cannot_be_used_is_refused(pipe, vocals, error, message):
    with pytest.raises(error, match=message):
        pipe(vocals, seed=1)


def test_a_long_recording_is_refused_before_any_work(pipe):
    def never(stage, seconds):
        raise AssertionError

    with pytest.raises(ValueError, match=r"0\.2"):
        pipe([as_dict(), as_dict(0.3)], max_duration_s=0.2, callback=never)


def test_a_list_of_seeds_needs_a_list_of_recordings(pipe):
    with pytest.raises(ValueError, match="`seed` must be an int for a generator or dataset: recording i uses"):
        list(pipe(iter([as_dict()]), seed=[1]))


def test_a_truncated_file_is_refused_unless_allowed(pipe):
    buffer = io.BytesIO()
    soundfile.write(buffer, make_vocals(0.4), RATE, format="WAV", subtype="PCM_16")
    half = buffer.getvalue()[: 44 + RATE // 5 * 2]
    with pytest.raises(ValueError, match="allow_truncated"):
        pipe(half, seed=1)
    assert len(pipe(half, seed=1, preview=True, allow_truncated=True)["audio"]) == pytest.approx(4_800, abs=2)


@pytest.mark.slow
def test_twenty_five_seconds_with_overlapping_windows_do_not_depend_on_threads():
    pipe = VocalAccompanimentPipeline(model=copy.deepcopy(tiny_model()))
    vocals = {"array": np.resize(make_vocals(1.0), 25 * RATE), "sampling_rate": RATE}
    num_threads = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(pipe(vocals, seed=1, return_codes=True))
            assert len(results[-1]["audio"]) == 25 * 24_000
    finally:
        torch.set_num_threads(num_threads)
    first, second = results
    assert (first["vocal_semantic_ids"] == second["vocal_semantic_ids"]).float().mean() > 0.99
    # A near tie may turn one decision and all after it; the first second of music is far from the first tie.
    assert torch.equal(first["instrumental_semantic_ids"][:50], second["instrumental_semantic_ids"][:50])
    assert torch.equal(first["coarse_codes"][:, :45], second["coarse_codes"][:, :45])


def test_a_result_has_a_lead_sheet_unless_it_is_refused(pipe):
    sheet = pipe(as_dict(), seed=1)["lead_sheet"]
    assert sheet["duration_s"] == 0.12
    assert (sheet["tempo_bpm"], sheet["beat_times"]) == (None, [])
    assert [chord["end_s"] for chord in sheet["chords"]] == [0.12]
    assert "lead_sheet" not in pipe(as_dict(), seed=1, lead_sheet=False)
