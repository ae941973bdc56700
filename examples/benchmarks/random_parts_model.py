"""Write a model of three parts with random weights and a Fourier codec, to measure parts before one is trained.

    python examples/benchmarks/random_parts_model.py runs/random_parts
    python examples/benchmarks/end_to_end.py --model runs/random_parts --durations 10 --threads 2

Windows, semantic encoder and guidance are those of the shipped default. What it plays is noise; what a step costs does
not depend on that.
"""

import argparse

import torch

from accompgen_hf import DEFAULT_MODEL, AccompGenForConditionalGeneration, AccompGenProcessor
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.codec.trainer import build_codec_config


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("output_dir", help="folder of the model")
    parser.add_argument("--part_names", nargs="+", default=["drums", "bass", "other"], help="parts that it plays")
    for stage, size in (("semantic", "6x160"), ("coarse", "5x160"), ("fine", "4x48")):
        parser.add_argument(f"--{stage}", default=size, metavar="LAYERSxWIDTH", help="layers and width")
    return parser.parse_args()


@torch.no_grad()
def build_model(options: argparse.Namespace) -> AccompGenForConditionalGeneration:
    """The shipped default with other stages and another codec."""
    torch.manual_seed(0)
    default = AccompGenForConditionalGeneration.from_pretrained(DEFAULT_MODEL)
    config = default.config
    for stage in ("semantic", "coarse", "fine"):
        num_layers, hidden_size = map(int, getattr(options, stage).split("x"))
        stage_config = getattr(config, f"{stage}_config")
        sizes = {
            "num_hidden_layers": num_layers,
            "hidden_size": hidden_size,
            "intermediate_size": hidden_size * 8 // 3,
            "num_attention_heads": hidden_size // 32,
            "head_dim": 32,
            "part_names": options.part_names,
        }
        fields = {**stage_config.to_dict(), **sizes}
        del fields["vocab_size"]  # follows from the others
        fields.pop("has_listener", None)  # a listener is counted, and these stages have learned nothing
        setattr(config, f"{stage}_config", type(stage_config)(**fields))
    config.codec_config = build_codec_config()
    model = AccompGenForConditionalGeneration(type(config)(**config.to_dict())).eval()
    model.semantic_encoder.load_state_dict(default.semantic_encoder.state_dict())
    for layer in model.codec.quantizer.layers:
        layer.codebook.embed.normal_()  # zeros would be faster to decode
    return model


def main() -> None:
    options = parse_arguments()
    build_model(options).save_pretrained(options.output_dir)
    AccompGenProcessor.from_pretrained(DEFAULT_MODEL).save_pretrained(options.output_dir)


if __name__ == "__main__":
    run_script(main)
