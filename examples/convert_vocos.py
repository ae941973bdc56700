"""Turn the published Vocos weights for EnCodec 24 kHz into a codec folder of ours.

    python examples/convert_vocos.py --vocos charactr/vocos-encodec-24khz --encodec facebook/encodec_24khz \\
        --output_dir vocos-codec

`--vocos` may also be a downloaded `pytorch_model.bin`; it is read as tensors alone, never as code. The folder loads by
`AccompGenCodec.from_pretrained`, its codes are EnCodec's, and `from_sub_models(codec=...)` takes it. Weights: MIT.
"""

import os

import torch
from huggingface_hub import hf_hub_download

from accompgen_hf.model_parts import load_part
from accompgen_hf.scripts import run_script, script_parser
from accompgen_hf.training.codec.vocos import VOCOS_BANDWIDTHS, convert_vocos


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--vocos", default="charactr/vocos-encodec-24khz", help="file or Hub id")
    parser.add_argument("--encodec", default="facebook/encodec_24khz", help="folder or Hub id of its EnCodec")
    parser.add_argument(
        "--bandwidths", type=float, nargs="+", default=list(VOCOS_BANDWIDTHS), help="kbps, one per row"
    )
    parser.add_argument("--output_dir", required=True, help="folder of the codec")
    options = parser.parse_args()
    path = options.vocos
    if not os.path.isfile(path):
        path = hf_hub_download(options.vocos, "pytorch_model.bin")
    state = torch.load(path, map_location="cpu", weights_only=True)
    codec = convert_vocos(state, load_part(options.encodec, "codec"), options.bandwidths)
    codec.save_pretrained(options.output_dir)
    print(f"{options.output_dir}: {sum(value.numel() for value in codec.decoder.parameters())} numbers in the decoder")


if __name__ == "__main__":
    run_script(main)
