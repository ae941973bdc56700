"""The Fourier decoder: an inverse STFT that undoes torch's, and layers that see as many frames as the config says."""

import pytest
import torch

from accompgen_hf.accompgen.configuration_accompgen_codec import AccompGenCodecConfig
from accompgen_hf.accompgen.fourier_decoder_accompgen import FourierDecoder, inverse_stft

HOP = 320
FORMS = {
    "ours": {},
    "vocos": {"is_causal": False, "istft_padding": "same", "norm_bandwidths": [1.5, 3.0, 6.0]},
    "mixed": {"is_causal": True, "istft_padding": "same"},
}


def tiny_decoder_config(**fields) -> AccompGenCodecConfig:
    sizes = {
        "decoder_type": "fourier",
        "num_filters": 2,
        "hidden_size": 8,
        "target_bandwidths": [1.5, 3.0, 6.0],
        "decoder_dim": 8,
        "decoder_intermediate_dim": 16,
        "num_decoder_layers": 2,
    }
    return AccompGenCodecConfig(**{**sizes, **fields})


def tiny_decoder(**fields) -> FourierDecoder:
    """Random weights large enough for every frame and layer to be heard."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        decoder = FourierDecoder(tiny_decoder_config(**fields)).eval()
        for parameter in decoder.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return decoder


def random_embeddings(num_frames: int, batch_size: int = 1) -> torch.Tensor:
    return torch.randn(batch_size, 8, num_frames, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("padding", ["center", "same"])
def test_inverse_stft_restores_a_waveform(padding):
    waveform = torch.randn(2, 20 * HOP, generator=torch.Generator().manual_seed(0))
    trimmed = 640 if padding == "center" else 480
    padded = torch.nn.functional.pad(waveform, (trimmed, 1280))
    frames = padded.unfold(1, 1280, HOP)[:, :20] * torch.hann_window(1280)
    restored = inverse_stft(torch.fft.rfft(frames).transpose(1, 2), 1280, HOP, padding)
    assert restored.shape == waveform.shape
    # The last frames lack the ones behind them, which the decoder replaces or leaves out.
    torch.testing.assert_close(restored[:, : 18 * HOP], waveform[:, : 18 * HOP], atol=1e-4, rtol=0)


def test_center_padding_equals_torch_with_the_last_frame_repeated():
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.complex(*torch.randn(2, 1, 641, 9, generator=generator))
    spectrum[:, [0, -1]] = spectrum[:, [0, -1]].real.to(spectrum.dtype)
    extended = torch.cat([spectrum, spectrum[..., -1:], spectrum[..., -1:]], dim=-1)
    expected = torch.istft(extended, 1280, HOP, window=torch.hann_window(1280), center=True)[:, : 9 * HOP]
    torch.testing.assert_close(inverse_stft(spectrum, 1280, HOP, "center"), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_frame_is_heard_exactly_as_far_as_the_context_says(form):
    decoder = tiny_decoder(**FORMS[form])
    left, right = tiny_decoder_config(**FORMS[form]).decoder_context_frames
    embeddings = random_embeddings(80)
    changed = embeddings.clone()
    changed[..., 40] += 1
    with torch.no_grad():
        heard = (decoder(changed) - decoder(embeddings))[0, 0].unfold(0, HOP, HOP).abs().amax(dim=1)  # (T,)
    frames = (heard > 0).nonzero()[:, 0]
    assert frames[0] >= 40 - right
    assert frames[-1] <= 40 + left
    # The bounds are tight up to the frame whose window only touches the samples.
    assert frames[0] <= 40 - right + 1
    assert frames[-1] >= 40 + left - 1


def test_output_has_the_hop_of_the_codec_and_the_type_of_the_input():
    decoder = tiny_decoder()
    assert decoder(random_embeddings(7, batch_size=3)).shape == (3, 1, 7 * HOP)
    assert decoder.half()(random_embeddings(7).half()).dtype == torch.float16


def test_rows_of_the_layer_norms_differ():
    decoder = tiny_decoder(**FORMS["vocos"])
    outputs = [decoder(random_embeddings(5), row) for row in range(3)]
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])


def test_magnitudes_are_clamped():
    decoder = tiny_decoder(max_log_magnitude=1.0)
    with torch.no_grad():
        decoder.output.bias[:641] = 80.0
        assert decoder(random_embeddings(20)).abs().max() < 10


def test_it_starts_close_to_silence():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = FourierDecoder(tiny_decoder_config())
    assert 0 < decoder(random_embeddings(20)).abs().max() < 0.2


def test_gradients_are_finite_and_reach_every_weight():
    decoder = tiny_decoder(**FORMS["vocos"])
    sum(decoder(random_embeddings(6), row).square().sum() for row in range(3)).backward()
    for name, parameter in decoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name
