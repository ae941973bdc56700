"""Losses: zero for equal audio, a decade is one, partials are seen, discriminators learn."""

import pytest
import torch

from accompgen_hf.training.codec.losses import CombLoss, Discriminators, SpectralLoss, magnitudes

MELS, SPECTRA = ((512, 20), (256, 10)), ((1024, 2), (512, 1))


def noise(seed: int = 0, batch_size: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch_size, 9600, generator=torch.Generator().manual_seed(seed))


def sine(hertz: float) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(9600) / 24_000)[None]


def test_losses_are_zero_for_equal_waveforms_and_one_decade_is_one():
    loss = SpectralLoss(24_000, MELS, SPECTRA, linear_weight=0.0, convergence_weight=0.0)
    for value in loss(noise(), noise()).values():
        assert value.item() == 0
    for value in loss(noise() / 10, noise()).values():
        assert value.item() == pytest.approx(1.0, abs=1e-3)


def test_relative_distances_have_their_weights():
    plain = SpectralLoss(24_000, MELS, SPECTRA, linear_weight=0.0, convergence_weight=0.0)
    weighted = SpectralLoss(24_000, MELS, SPECTRA, linear_weight=2.0, convergence_weight=3.0)
    louder = 2 * noise()
    before, after = plain(louder, noise()), weighted(louder, noise())
    # Twice as loud is a relative distance of one.
    assert (after["mel"] - before["mel"]).item() == pytest.approx(2.0, rel=0.1)
    assert (after["spectrum"] - before["spectrum"]).item() == pytest.approx(3.0, rel=0.05)


def test_partials_at_wrong_places_inside_wide_bands_are_seen_on_the_linear_axis():
    # 120 Hz between partials, the wrong ones in the gaps: mel bands are wider, 4096 samples resolve 6 Hz.
    right, wrong = (sum(sine(120 * number + shift) for number in range(10, 80)) / 70 for shift in (0, 60))
    losses = SpectralLoss(24_000, ((1024, 12),), ((4096, 1),), 0.0, 0.0)(wrong, right)
    assert losses["spectrum"] > 5 * losses["mel"]


def test_treble_counts_less():
    for hertz, expected in ((1000, 1.0), (8000, 0.25)):
        losses = [
            SpectralLoss(24_000, (), ((1024, 1),), 0.0, 0.0, weight)(noise() + sine(hertz), noise())["spectrum"]
            for weight in (1.0, 0.25)
        ]
        # Weights have mean one, so bass gains what treble loses.
        ratio = losses[1] / losses[0] * (4 + 8 * 0.25) / 12
        assert ratio.item() == pytest.approx(expected, rel=0.25)


def test_windows_have_their_weights():
    decoded, target = noise(0), noise(1)
    ours = SpectralLoss(24_000, (), ((1024, 3), (512, 1)))(decoded, target)["spectrum"]
    single = [SpectralLoss(24_000, (), ((size, 1),))(decoded, target)["spectrum"] for size in (1024, 512)]
    torch.testing.assert_close(ours, 0.75 * single[0] + 0.25 * single[1])


def test_a_full_scale_sine_is_a_half_at_any_window():
    for size in (512, 2048):
        assert magnitudes(sine(1500) / 0.3, size)[0, :, 5:-5].max().item() == pytest.approx(0.5, abs=0.01)


def test_silence_has_finite_gradients():
    decoded = torch.zeros(1, 9600, requires_grad=True)
    sum(SpectralLoss(24_000, MELS, SPECTRA)(decoded, torch.zeros(1, 9600)).values()).backward()
    assert torch.isfinite(decoded.grad).all()


def test_a_hum_at_the_frame_rate_is_heard_above_the_gaps():
    comb, floor = CombLoss(24_000, 320), 0.1 * noise()
    hum = floor + sum(sine(75 * number) for number in range(13, 80)) / 30
    music = floor + sum(sine(112.5 * number) for number in range(9, 80, 2)) / 30  # between the lines
    assert comb(hum, floor) > 0.5
    assert comb(music, floor) < 0.1
    assert comb(hum, hum) == 0
    assert comb(floor, hum) < 0.02  # less than the target has costs nothing; the bands above the hum are noise


def make_discriminators() -> Discriminators:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminators((512, 256), 4)


def test_discriminators_learn_to_tell_tones_from_noise():
    discriminators = make_discriminators()
    optimizer = torch.optim.Adam(discriminators.parameters(), lr=3e-3)
    for step in range(40):
        loss = sum(discriminators.own_loss(noise(step), sine(300 + 20 * step), turn) for turn in (0, 1)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.0  # 2 is a guess
    better, worse = (
        discriminators.codec_losses(audio, sine(400), 0)["adversarial"] for audio in (sine(555), noise(99))
    )
    assert better < worse


def test_the_hinge_stops_at_a_margin_of_one():
    discriminators = make_discriminators()
    with torch.no_grad():
        for discriminator in discriminators:
            discriminator.output.bias.fill_(5.0)
            discriminator.output.parametrizations.weight.original0.zero_()
    assert discriminators.codec_losses(noise(), noise(), 1)["adversarial"].item() == 0
    assert discriminators.own_loss(noise(), noise(), 1).item() == pytest.approx(6.0)


def test_features_match_for_equal_audio_and_pull_the_codec():
    discriminators = make_discriminators()
    assert discriminators.codec_losses(noise(), noise(), 1)["feature"].item() == 0
    decoded = noise(1).requires_grad_(True)
    discriminators.codec_losses(decoded, noise(), 0)["feature"].backward()
    assert decoded.grad.abs().max() > 0
    decoded = noise(1).requires_grad_(True)
    discriminators.own_loss(decoded, noise(), 0).backward()
    assert decoded.grad is None
