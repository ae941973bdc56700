"""SingSong's two models as stages that the training loop can train, and the arithmetic that it takes."""

from accompgen_hf.data.stage_kinds import StageKind, register_stage
from accompgen_hf.singsong.batches import SingSongClipDataset, SingSongCollator
from accompgen_hf.singsong.configuration import SingSongStageConfig
from accompgen_hf.singsong.modeling import SingSongFineForConditionalGeneration, SingSongForConditionalGeneration


def count_clip_flops(config: SingSongStageConfig) -> float:
    """Operations of one training clip, forward and backward.

    T5 has an encoder that sees all of the conditioning, and a decoder with attention to itself and to the encoder.
    """
    num_heard, num_written = (
        round(sum(config.clip_duration_s * segment.frame_rate * segment.num_codebooks for segment in segments))
        for segments in (config.conditioning_segments, config.target_segments)
    )
    inner_size = config.num_heads * config.d_kv
    projection = config.d_model * inner_size
    feed_forward = 3 * config.d_model * config.d_ff
    encoder = 6 * num_heard * (4 * projection + feed_forward) + 12 * num_heard**2 * inner_size
    # Of the attention to the encoder, query and output run on what is written, key and value on what is heard.
    decoder = 6 * num_written * (6 * projection + feed_forward) + 6 * num_heard * 2 * projection
    decoder += (6 * num_written + 12 * num_heard) * num_written * inner_size
    head = 6 * num_written * config.d_model * config.vocab_size  # one matrix for all streams
    return float(config.num_layers * (encoder + decoder) + head)


for _name, _model_class in (
    ("singsong", SingSongForConditionalGeneration),
    ("singsong_fine", SingSongFineForConditionalGeneration),
):
    register_stage(_name, StageKind(_model_class, SingSongClipDataset, SingSongCollator, count_clip_flops))
