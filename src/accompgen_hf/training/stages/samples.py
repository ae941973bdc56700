"""Samples of a stage while it trains: held-out clips, generated and decoded beside the true ones."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from accompgen_hf.accompgen.audio_accompgen import write_audio
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks
from accompgen_hf.accompgen.fingerprint_accompgen import check_token_fingerprints
from accompgen_hf.accompgen.modeling_accompgen import AccompGenForConditionalGeneration, equivalent_fingerprints
from accompgen_hf.accompgen.modeling_accompgen_codec import AccompGenCodec
from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.model_parts import resolve_model


class AudioSampler:
    """Writes `samples/step-00001000/clip-0.wav` and, once, `samples/true/clip-0.wav`.

    With a codec alone, a coarse stage is heard by its four codebooks and a fine stage by all eight. With a whole model
    its later stages complete the codes, which is the only way to hear a semantic stage; the true clips then go
    through the same later stages. A plan of several parts is heard part by part, too: `clip-0-drums.wav` and so on,
    whose sum `clip-0.wav` is.

    Args:
        codec (`str`): Folder or Hub id of an EnCodec, or of a whole model.
        dataset (`StageClipDataset`): Held-out clips; the first `num_clips` are used.
        num_clips (`int`): Number of clips.
        output_dir (`Path`): Folder of the run.

    Raises:
        ValueError: If `codec` is neither, made other tokens than those of the data, or is a codec alone for a semantic
            stage.
    """

    def __init__(self, codec: str | os.PathLike, dataset: StageClipDataset, num_clips: int, output_dir: Path):
        self.config = dataset.config
        self.folder = Path(output_dir) / "samples"
        self.whole_model = None
        codec = resolve_model(codec)
        model_type = PreTrainedConfig.get_config_dict(codec)[0].get("model_type")
        if model_type == "accompgen":
            self.whole_model = AccompGenForConditionalGeneration.from_pretrained(codec, dtype=torch.float32)
            model = self.whole_model
            equivalent = equivalent_fingerprints(model.config, model.semantic_encoder, model.codec)
            check_token_fingerprints(
                model.config.token_fingerprint, dataset.token_fingerprint, f"`codec` {codec}", "the data", equivalent
            )
            self.codec = self.whole_model.codec
        elif model_type in ("encodec", "accompgen_codec"):
            self.codec = AccompGenCodec.from_pretrained(codec, dtype=torch.float32).eval()
        else:
            raise ValueError(f"`codec` must be an EnCodec or a whole AccompGen model, got {model_type} in {codec}.")
        if self.codec.config.codebook_size != self.config.codebook_size:
            raise ValueError(
                f"`codec` has {self.codec.config.codebook_size} codes per codebook, the stage "
                f"{self.config.codebook_size}. Use the codec that made the tokens."
            )
        if self.whole_model is None and self.config.target_name == "instrumental_semantic_ids":
            raise ValueError("`codec` must be a whole model for a semantic stage: its ids alone have no sound.")
        samples = [dataset[position] for position in range(num_clips)]
        self.asked = {}
        if self.config.num_part_rows:
            self.asked["part"] = [self.config.part_names[sample["part_id"]] for sample in samples]
        if self.config.num_style_rows:
            known = (None, *self.config.style_names)
            self.asked["style"] = [known[sample["style_id"]] for sample in samples]
        self.conditioning, self.target = StageCollator(self.config).stack(samples)

    def write(self, stage: AccompGenStageForCausalLM, step: int, is_writer: bool = True) -> None:
        """Generate the clips with `stage`, decode and write them; of several processes, all generate and one writes.

        Args:
            stage (`AccompGenStageForCausalLM`): The stage, unwrapped; its mode stays as it was.
            step (`int`): Step that names the folder. The clips of every step are generated with seed 0.
            is_writer (`bool`): Whether this process writes.
        """
        was_training = stage.training
        stage.eval()
        conditioning = {name: codes.to(stage.device) for name, codes in self.conditioning.items()}
        generated = stage.generate_codes(**conditioning, **self.asked, seed=0)
        stage.train(was_training)
        if not is_writer:
            return
        self._write_clips(generated.cpu(), self.folder / f"step-{step:08d}")
        if not (self.folder / "true").is_dir():
            self._write_clips(self.target, self.folder / "true")

    def _write_clips(self, target: torch.LongTensor, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not (self.config.plans_all_parts and self.config.target_segment.has_codebook_axis):
            self._write_audio(folder, "", self._decode(target, self.asked))
            return
        parts = {
            name: self._decode(plan, {**self.asked, "part": name})
            for name, plan in zip(self.config.part_names, target.unbind(1), strict=True)  # (B, P, T50)
        }
        self._write_audio(folder, "", sum(parts.values()))
        for name, audio in parts.items():
            self._write_audio(folder, f"-{name}", audio)

    def _write_audio(self, folder: Path, ending: str, audio: torch.FloatTensor) -> None:
        for index, clip in enumerate(audio):
            path = folder / f"clip-{index}{ending}.wav"
            write_audio(path, clip[None].numpy(), self.codec.config.sampling_rate, subtype="PCM_16")

    @torch.no_grad()
    def _decode(self, target: torch.LongTensor, asked: dict[str, Any]) -> torch.FloatTensor:
        """Sound of a target of one part, `(batch_size, num_samples)`; later stages complete its codes."""
        known = {**self.conditioning, self.config.target_name: target}
        if self.whole_model is not None:
            for later in (self.whole_model.coarse, self.whole_model.fine):
                if later.config.target_name not in known:
                    conditioning = {name: known[name] for name in later.config.conditioning_names}
                    known[later.config.target_name] = later.generate_codes(**conditioning, **asked, seed=0)
        codes = [known[name] for name in ("coarse_codes", "fine_codes") if name in known]
        return decode_in_blocks(self.codec, torch.cat(codes, dim=1))  # (B, K, T75) -> (B, num_samples)
