"""The task "vocal-accompaniment": any recording of a voice in, the band and the mix out.

Data flow (B batch, T50 and T75 frames at 50 and 75 Hz), with the files in the order in which the vocals reach them:

```
vocals                                          pipeline_accompgen: `__call__`, one request per accompaniment
 -> waveform (channels, num_samples)            audio_accompgen: file, bytes or array, checked
 -> input_values (B, num_samples)               processing_accompgen: mono, 16 kHz, level, noise
 -> the five parts in a row                     modeling_accompgen: `generate`, Eq. 1
                                                stage_chain_accompgen: recordings of any lengths together
 -> HuBERT layer-9 features (B, T50, hidden)    modeling_accompgen_semantic_encoder: in blocks
 -> vocal_semantic_ids (B, T50)                 nearest centroid, float32
 -> instrumental_semantic_ids (B, T50)          windows_accompgen: windows of stage 1 in shared batches
                                                generation_accompgen: one window, code after code
                                                logits_accompgen: guidance, codebook mask, the choice
                                                fast_decoding_accompgen: the stage's layers, one position at a time
 -> coarse_codes (B, 4, T75)                    the same, stage 2
 -> fine_codes (B, 4, T75)                      the same, stage 3
 -> accompaniment (B, num_samples) 24 kHz       codec_accompgen: EnCodec in blocks; trimmed to the vocals
 -> mix                                         mixing_accompgen: loudness-balanced, true peak <= -1 dBTP
 -> lead sheet                                  key, tempo, beats and chords of the accompaniment
```
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from transformers import Pipeline

from .audio_accompgen import bend_parts, fit_length, is_rate_pair, load_audio, resample, soften_peaks
from .audio_checks_accompgen import check_sampling_rate
from .lead_sheet_accompgen import make_lead_sheet
from .manifest_accompgen import finish_folder
from .mixing_accompgen import mix
from .options_accompgen import split_by_step
from .parts_accompgen import check_styles, choose_parts
from .processing_accompgen import AccompGenProcessor, gain_of_loudness, output_num_samples
from .progress_accompgen import StageProgress
from .ranking_accompgen import check_keep, rank_takes
from .recordings_accompgen import Recording
from .regeneration_accompgen import list_pairs, plan_span, span_seconds
from .seeds_accompgen import item_seed, resolve_seeds
from .stage_chain_accompgen import CODE_NAMES, codes_of_result
from .streaming_accompgen import SAMPLES_PER_GRID_STEP, AccompanimentStream
from .told_song_accompgen import TOLD_NAMES, list_told
from .torch_defaults_accompgen import usual_torch_defaults

_WHOLE_RECORDINGS = (str, bytes, bytearray, memoryview, dict, os.PathLike, np.ndarray, torch.Tensor)


class VocalAccompanimentPipeline(Pipeline):
    """`pipeline("vocal-accompaniment")`.

    ```python
    pipe = pipeline("vocal-accompaniment")
    result = pipe("vocals.wav", seed=7)
    result["audio"], result["mix"], result["sampling_rate"], result["seed"]
    ```
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: Any, processor: Any = None, **kwargs: Any):
        config = model.config
        if processor is None:
            processor = AccompGenProcessor(vocal_target_lufs=config.vocal_target_lufs, noise_std=config.noise_std)
        for name in ("vocal_target_lufs", "noise_std"):
            if getattr(processor, name) != getattr(config, name):
                raise ValueError(
                    f"`{name}` of the processor is {getattr(processor, name)}, but the model's tokens were made with "
                    f"{getattr(config, name)}. Load both from one folder."
                )
        super().__init__(model=model.eval(), processor=processor, **kwargs)

    def __call__(self, vocals: Any, seed: int | list[int] | None = None, **kwargs: Any) -> Any:
        """Accompany one recording, or several.

        Args:
            vocals: A path, the bytes of a file, a file opened in binary mode, an array or tensor (with
                `sampling_rate`), `{"array" or "raw", "sampling_rate"}`, a pair of array and rate, or a row of a
                `datasets` audio column or of a dataset that has it as `"audio"`. Another list or tuple of these is a
                batch; a generator or dataset is worked off item by item.
            seed (`int` or `list` of `int`, *optional*): Recording i uses `seed + i` (with variations
                `seed + i * num_variations` and on), or its own; `None` draws a new one, which
                `transformers.set_seed` decides.
            sampling_rate (`int`): Rate of bare arrays in Hz.
            num_variations (`int`): Number of accompaniments per recording, each with its own seed.
            keep (`int`, *optional*): How many of the variations are given, those that fit the singer best first.
            preview (`bool`): Decode the coarse codes alone: sooner, and duller.
            output_sampling_rate (`int`, `"input"` or `None`): Rate of the result in Hz. `"input"` is that of the
                vocals; `None` keeps 24000.
            accompaniment_lufs_offset (`float`): Loudness of the accompaniment in the mix minus that of the vocals.
            return_codes (`bool`): Also return all tokens.
            lead_sheet (`bool`): Also hear what is played, which takes about 0.015 s per second of music.
            guidance_scale, temperature, top_k, top_p, do_sample: Settings of all stages, also together as
                `generate_kwargs`. `semantic_kwargs`, `coarse_kwargs` and `fine_kwargs` set them for one stage.
            batch_size (`int`): Number of recordings, or variations, that run together.
            window_batch_size (`int`, *optional*): Largest number of their windows that share a batch. `None` means 16,
                or `batch_size` if that is more. With 1 every result has the bits of `stream`.
            style (`str` or `list` of `str`): Style of the model's `config.style_names`, for all recordings or for each
                of a list; without it, with `None` or `"any"`, the model chooses.
            parts (`list` of `str`): Parts of the model's `config.part_names` to play; without it all of them.
            key (`str` or `list` of `str`): Key of the song, such as "A minor" or "Bb", for all recordings or for each
                of a list; without it, or with `None`, the band finds it in the voice.
            tempo_bpm (`float` or `list` of `float`): Tempo in beats per minute, likewise.
            chords (`list`): Chords that the band plays, each `(start_s, end_s, name)` or a `dict` of these, such as
                `lead_sheet["chords"]` of an earlier result; elsewhere it finds its own. For a list of recordings also
                a list of such lists.
            known_codes (`dict`, or a `list` of them for a list): An earlier result with `return_codes`, such as a
                preview: its codes are not computed again. The seed has to be the same, and is taken from there. A
                recording that begins like the earlier one and is longer is continued.
            regenerate (pair of `float`, or a `list` of pairs for a list, *optional*): Start and end in seconds of what
                is made anew of `known_codes`, with the new `seed`; an end of `None` is the recording's. All other
                codes stay, and so does their `lead_sheet` elsewhere. With the old seed the old codes come back.
            regenerate_parts (`list` of `str`, *optional*): Parts that are made anew; without it all that are played.
            snap (`bool`): Move the ends of `regenerate` to the nearest beats of the earlier result.
            vocals_lufs (`float`, *optional*): Loudness of the whole recording in LUFS, if the vocals are a part of it.
                If `None`, the vocals are measured.
            show_progress (`bool`, *optional*): Whether to show a bar per stage. `None` shows it on a terminal.
            callback (`Callable`, *optional*): Called as `callback(stage, seconds_just_finished)`. An exception that it
                raises stops the work.
            allow_truncated (`bool`): Use what is there of a file that ends early.
            max_duration_s (`float`, *optional*): Refuse longer recordings before any work.

        Returns:
            `dict` with `audio` (float32, `(num_samples,)`), `mix` (float32, mono like `audio`, or
            `(channels, num_samples)` like the vocals), `sampling_rate` and `seed`; `lead_sheet`, a `dict` of key,
            tempo, meter, beats and chords, as in `lead_sheet_accompgen`; of a model with several parts also `stems`,
            a `dict` of the parts by name, whose sum is `audio`; with `return_codes` also the token tensors and the
            model's `token_fingerprint`; with `regenerate` also `regenerated`, the pair that was made anew, and with
            `keep` also `ranking`. With several variations, or more than one to keep, a list of them; for several
            recordings a list (or iterator).

        Raises:
            ValueError, TypeError: If a recording or a setting is refused; the message says why and what to do.
        """
        if isinstance(vocals, (list, tuple)) and not is_rate_pair(vocals):
            with usual_torch_defaults():
                return self._run_batch(list(vocals), seed, **kwargs)
        is_whole = isinstance(vocals, _WHOLE_RECORDINGS) or hasattr(vocals, "read")
        if (
            not is_whole
            and not isinstance(vocals, (list, tuple))
            and (isinstance(vocals, Iterator) or (hasattr(vocals, "__getitem__") and hasattr(vocals, "__len__")))
        ):
            return self._run_one_by_one(vocals, seed, **kwargs)
        seed = [seed] if isinstance(seed, Integral) else seed
        if kwargs.get("known_codes") is not None:
            kwargs["known_codes"] = [kwargs["known_codes"]]
        with usual_torch_defaults():
            return self._run_batch([vocals], seed, **kwargs)[0]

    def stream(
        self,
        vocals: Any,
        seed: int | None = None,
        *,
        sampling_rate: int | None = None,
        vocals_lufs: float | None = None,
        output_sampling_rate: int | str | None = None,
        known_codes: dict[str, Any] | None = None,
        allow_truncated: bool = False,
        max_duration_s: float | None = None,
        lead_sheet: bool = True,
        **settings: Any,
    ) -> AccompanimentStream:
        """Accompany one recording and yield the audio piece by piece, as soon as it is final.

        ```python
        for start_s, audio in pipe.stream("vocals.wav", seed=7):
            player.write(audio)
        ```

        Memory is that of a few windows, whatever the length: a file is read in blocks, three times. Each piece is
        computed when it is asked for.

        Args:
            vocals: One recording, as for a call; or an iterator over its consecutive chunks, arrays or tensors of
                shape `(num_samples,)` or `(channels, num_samples)` with `sampling_rate`.
            vocals_lufs (`float`, *optional*): Loudness of the whole recording in LUFS. If `None`, it is measured: over
                the recording, or over 10 s of chunks from their first sound on, before which nothing comes out.
            known_codes (`dict`, *optional*): As for a call. Audio of them comes out again, much sooner.
            lead_sheet (`bool`): Also hear what is played; the stream has the sheet when it has ended.
            settings: `preview`, `callback`, `style`, `parts`, `key`, `tempo_bpm`, `chords` and the settings of the
                stages, as for a call; `window_batch_size` and `on_codes` of the model's `stream`.

        Returns:
            `AccompanimentStream`: Iterator over `(start_s, audio)` with the attributes `seed` and `sampling_rate`, and
                `stems`, which holds the newest piece's parts by name.

        Raises:
            ValueError, TypeError: As for a call; for chunks when they arrive.
        """
        if known_codes is not None and seed is None:
            seed = known_codes.get("seed")
        [seed] = resolve_seeds(None if seed is None else [seed], 1)
        is_opened = hasattr(vocals, "get_all_samples") or hasattr(vocals, "read")
        if isinstance(vocals, _WHOLE_RECORDINGS) or is_opened or is_rate_pair(vocals):
            recording = Recording(
                vocals, sampling_rate, allow_truncated=allow_truncated, max_duration_s=max_duration_s
            )
            if vocals_lufs is None:
                vocals_lufs = recording.mono_loudness(self.processor.sampling_rate)
            sampling_rate = recording.sampling_rate
            vocals = recording.mono_blocks(sampling_rate)
        elif sampling_rate is None:
            raise ValueError("`sampling_rate` is needed with chunks of vocals: give their rate in Hz.")
        sampling_rate = check_sampling_rate(sampling_rate)
        if output_sampling_rate is not None:
            is_input = output_sampling_rate == "input"
            output_sampling_rate = sampling_rate if is_input else check_sampling_rate(output_sampling_rate)
        return AccompanimentStream(
            self.model,
            self.processor,
            vocals,
            sampling_rate,
            seed,
            vocals_lufs,
            output_sampling_rate,
            self._stem_names(settings.get("parts")),
            known_codes=codes_of_result(known_codes, self.model.config),
            lead_sheet=lead_sheet,
            **settings,
        )

    def _run_one_by_one(
        self, recordings: Iterable, seed: int | list[int] | None, num_variations: int = 1, **kwargs: Any
    ) -> Iterator[Any]:
        if isinstance(seed, list):
            raise ValueError("`seed` must be an int for a generator or dataset: recording i uses `seed + i`.")
        for index, recording in enumerate(recordings):
            own = None if seed is None else item_seed(seed, index, num_variations)
            yield self(recording, seed=own, num_variations=num_variations, **kwargs)

    def _run_batch(
        self,
        recordings: list,
        seed: int | list[int] | None,
        num_variations: int = 1,
        batch_size: int | None = None,
        known_codes: list[dict[str, Any]] | None = None,
        regenerate: Any = None,
        snap: bool = True,
        keep: int | None = None,
        **kwargs: Any,
    ) -> list:
        if not recordings:
            raise ValueError("`vocals` must hold at least one recording, got an empty list.")
        if not isinstance(num_variations, int) or num_variations < 1:
            raise ValueError(f"`num_variations` must be an integer of at least 1, got {num_variations!r}.")
        check_keep(keep, num_variations)
        if known_codes is not None:
            if (num_variations > 1 and regenerate is None) or len(known_codes) != len(recordings):
                raise ValueError("`known_codes` must be one result per recording, each with the seed of its own.")
            if seed is None and regenerate is None and all("seed" in known for known in known_codes):
                seed = [known["seed"] for known in known_codes]
        seeds = resolve_seeds(seed, len(recordings), num_variations)
        preprocess_params, forward_params, postprocess_params = self._sanitize_parameters(**kwargs)
        preprocess_params = {**self._preprocess_params, **preprocess_params}
        forward_params = {**self._forward_params, **forward_params}
        postprocess_params = {**self._postprocess_params, **postprocess_params}

        # 1. Recordings -> one request per accompaniment.
        requests = []
        pairs = list_pairs(regenerate, len(recordings))
        styles = check_styles(self.model.config, forward_params.pop("style", None), len(recordings))
        told = list_told(len(recordings), *(forward_params.pop(name, None) for name in TOLD_NAMES))
        given = zip(recordings, seeds, known_codes or [{}] * len(recordings), pairs, styles, told, strict=True)
        for recording, first_seed, known, pair, style, own_told in given:
            own_seeds = range(first_seed, first_seed + num_variations)
            of_recording = self.preprocess({"recording": recording, "seeds": own_seeds}, **preprocess_params)
            codes = codes_of_result(known, self.model.config) if known else {}
            num_steps = len(of_recording[0]["input_values"]) // SAMPLES_PER_GRID_STEP
            sheet = (known or {}).get("lead_sheet")
            span = plan_span(self.model, codes, pair, snap, num_steps, None if sheet is None else sheet["beat_times"])
            more = {"known_codes": codes, "regenerate": span, "style": style, "earlier_sheet": sheet}
            more |= zip(TOLD_NAMES, own_told, strict=True)
            requests += [{**request, **more} for request in of_recording]
        # 2. Requests -> codes and audio, together.
        batch_size = batch_size or self._batch_size or num_variations
        results = []
        for first in range(0, len(requests), batch_size):
            batch = requests[first : first + batch_size]
            outputs = self.forward({"requests": batch}, **forward_params)
            results += [self.postprocess({**outputs.pop(0), **request}, **postprocess_params) for request in batch]
        # 3. One result, or a list of variations, per recording.
        if num_variations == 1:
            return results
        of_recordings = [results[first : first + num_variations] for first in range(0, len(results), num_variations)]
        if keep is None:
            return of_recordings
        kept = [
            rank_takes(request["vocals"], request["sampling_rate"], takes)[:keep]
            for request, takes in zip(requests[::num_variations], of_recordings, strict=True)
        ]
        return [takes[0] for takes in kept] if keep == 1 else kept

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        preprocess_params, forward_params, postprocess_params = split_by_step(kwargs)
        rate = postprocess_params.get("output_sampling_rate")
        if rate is not None and rate != "input":
            check_sampling_rate(rate, "`output_sampling_rate`")
        return preprocess_params, forward_params, postprocess_params

    def preprocess(
        self,
        request: dict[str, Any],
        sampling_rate: int | None = None,
        allow_truncated: bool = False,
        max_duration_s: float | None = None,
        vocals_lufs: float | None = None,
    ) -> list[dict[str, Any]]:
        """Turn one recording with its seeds into one model input per seed."""
        audio, rate = load_audio(
            request["recording"], sampling_rate, allow_truncated=allow_truncated, max_duration_s=max_duration_s
        )
        processor, gain = self.processor, None
        if vocals_lufs is not None:
            gain = gain_of_loudness(vocals_lufs, processor.vocal_target_lufs, processor.vocal_gate_lufs)
        return [
            {
                "input_values": torch.from_numpy(processor.prepare_vocals(audio, rate, seed=seed, gain=gain)),
                "vocals": audio,
                "sampling_rate": rate,
                "seed": seed,
            }
            for seed in request["seeds"]
        ]

    def _forward(
        self,
        model_inputs: dict[str, Any],
        callback: Callable[[str, float], Any] | None = None,
        show_progress: bool | None = None,
        window_batch_size: int | None = None,
        **settings: Any,
    ) -> list[dict[str, torch.Tensor]]:
        """Turn model inputs of any lengths into audio and tokens of each."""
        requests = model_inputs["requests"]
        spans = [request["regenerate"] for request in requests]
        if any(span is not None for span in spans):
            settings["regenerate"] = spans
        lengths_s = [len(request["input_values"]) / self.processor.sampling_rate for request in requests]
        seconds = sum(span_seconds(*each) for each in zip(spans, lengths_s, strict=True))
        with StageProgress(seconds, self._work_of_stages(settings), show_progress) as progress:

            def report(stage: str, seconds_just_finished: float) -> None:
                progress.report(stage, seconds_just_finished)
                if callback is not None:
                    callback(stage, seconds_just_finished)

            outputs = self.model.generate(
                [request["input_values"] for request in requests],
                seed=[request["seed"] for request in requests],
                known_codes=[request["known_codes"] for request in requests],
                window_batch_size=window_batch_size,
                callback=report,
                **{name: [request[name] for request in requests] for name in ("style", *TOLD_NAMES)},
                **settings,
            )
        part_names = self._stem_names(settings.get("parts"))
        return [{**{name: value[0] for name, value in output.items()}, "part_names": part_names} for output in outputs]

    def _stem_names(self, parts: Sequence[str] | None) -> tuple[str, ...]:
        """Names of the parts that come out beside their sum; none for a model of one part."""
        chosen, known = choose_parts(self.model.config, parts), self.model.config.part_names
        return tuple(known[index] for index in chosen) if len(known) > 1 else ()

    def _work_of_stages(self, settings: dict[str, Any]) -> dict[str, float]:
        """Work of each stage that runs, per second of music: codes times weights that each of them meets."""
        work = {}
        for stage in self.model.stage_settings(**settings):
            part = getattr(self.model, stage)
            codes_per_s = part.config.target_segment.frame_rate * part.config.target_segment.num_codebooks
            work[stage] = float(codes_per_s * sum(weight.numel() for weight in part.model.layers.parameters()))
        return work

    def postprocess(
        self,
        outputs: dict[str, Any],
        output_sampling_rate: int | str | None = None,
        accompaniment_lufs_offset: float = -3.0,
        return_codes: bool = False,
        lead_sheet: bool = True,
    ) -> dict[str, Any]:
        """Bring one accompaniment to its exact length and rate, mix it, and hear what it plays."""
        vocals, rate, codec_rate = outputs["vocals"], outputs["sampling_rate"], self.processor.output_sampling_rate
        names = outputs["part_names"]  # none for a model of one part
        num_samples = output_num_samples(vocals.shape[1], rate, codec_rate)
        # Taken out, and written into below: ten minutes of four sounds take 230 MB.
        audio = fit_length(outputs.pop("audio").float().cpu().numpy(), num_samples)
        parts = fit_length(outputs.pop("stems").float().cpu().numpy(), num_samples) if names else None
        accompaniment = soften_peaks(audio)
        sheet = {}
        if lead_sheet:  # at the codec's rate: the sheet is the same whatever rate is asked for
            sheet["lead_sheet"] = make_lead_sheet(
                accompaniment,
                codec_rate,
                None if parts is None else dict(zip(names, parts, strict=True)),
                outputs.get("earlier_sheet"),
                outputs.get("regenerate"),
            )
        if output_sampling_rate is None:
            result_rate = codec_rate
        elif output_sampling_rate == "input":
            result_rate = rate
        else:
            result_rate = check_sampling_rate(output_sampling_rate, "`output_sampling_rate`")
        num_samples = output_num_samples(vocals.shape[1], rate, result_rate)
        if result_rate != codec_rate:
            [audio] = _at_rate(audio[None], codec_rate, result_rate, num_samples)
            parts = None if parts is None else _at_rate(parts, codec_rate, result_rate, num_samples)
            accompaniment = soften_peaks(audio)
        stems = {}
        if parts is not None:
            stems = {"stems": dict(zip(names, bend_parts(parts, audio, accompaniment, out=parts), strict=True))}
        del audio
        vocals = fit_length(resample(vocals, rate, result_rate), num_samples)
        vocals = vocals[0] if len(vocals) == 1 else vocals
        result = {
            "audio": accompaniment,
            **stems,
            "mix": mix(vocals, accompaniment, result_rate, accompaniment_lufs_offset),
            "sampling_rate": result_rate,
            "seed": outputs["seed"],
            **sheet,
        }
        if outputs.get("regenerate") is not None:
            start_s, end_s = outputs["regenerate"]
            result["regenerated"] = (start_s, num_samples / result_rate if end_s is None else end_s)
        if return_codes:
            result.update({name: outputs[name].cpu() for name in CODE_NAMES if name in outputs})
            result["token_fingerprint"] = getattr(self.model.config, "token_fingerprint", None)
        return result

    def save_pretrained(
        self, save_directory: str | os.PathLike, include_code: bool = False, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Save the model, the processor (which `Pipeline.save_pretrained` leaves out) and a manifest of hashes.

        Args:
            save_directory (`str` or `os.PathLike`): Folder to save to. It may exist; other files in it stay.
            include_code (`bool`): Add the code, so that `pipeline(model=folder, trust_remote_code=True)` runs where
                this package is not installed. Such a folder asks for `trust_remote_code` everywhere.
            kwargs: Arguments of the model's `save_pretrained`.

        Raises:
            ValueError: If `push_to_hub` is asked for: it would upload the model without its processor.
        """
        if push_to_hub:
            raise ValueError("`push_to_hub` must be False: save the folder, then use `accompgen_hf.hub.push_folder`.")
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)
        finish_folder(save_directory, include_code)


def _at_rate(sounds: np.ndarray, orig_sampling_rate: int, sampling_rate: int, num_samples: int) -> np.ndarray:
    """Sounds `(num_sounds, num_orig_samples)` at another rate, each held once: `(num_sounds, num_samples)`."""
    resampled = np.empty((len(sounds), num_samples), np.float32)
    for row, sound in zip(resampled, sounds, strict=True):
        row[:] = fit_length(resample(sound, orig_sampling_rate, sampling_rate), num_samples)
    return resampled


__all__ = ["VocalAccompanimentPipeline"]
