"""MusicGen-melody as a system: tiny random weights, and its features against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    EncodecConfig,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
)

from accompgen_hf.evaluation.systems.musicgen import MusicGenMelodySystem, melody_features
from accompgen_hf.evaluation.systems.system import Window
from tiny import init_codebooks

RATE = 24_000


@pytest.fixture(scope="module")
def musicgen_folder(tmp_path_factory):
    text = T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    codec = EncodecConfig(
        sampling_rate=32_000,
        num_filters=2,
        hidden_size=8,
        codebook_dim=8,
        codebook_size=16,
        num_lstm_layers=1,
        upsampling_ratios=[8, 5, 4, 4],
        target_bandwidths=[0.8],
    )
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=16,
        hidden_size=16,
        ffn_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_codebooks=4,
        pad_token_id=16,
        bos_token_id=16,
    )
    config = MusicgenMelodyConfig(text_encoder=text, audio_encoder=codec, decoder=decoder, chroma_length=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MusicgenMelodyForConditionalGeneration(config)
    init_codebooks(model.audio_encoder)  # random ones are all zero: every code would sound alike
    model.generation_config.decoder_start_token_id = 16
    model.generation_config.pad_token_id = 16
    folder = tmp_path_factory.mktemp("musicgen")
    model.save_pretrained(folder)
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "instrumental": 3, "track": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def make_window() -> Window:
    return Window("song-0000000ms", "song", 0.0, 1.0, lambda rate: np.zeros(rate, np.float32))


def test_it_answers_in_the_vocals_length_and_the_seed_decides(musicgen_folder):
    vocals = np.sin(np.arange(RATE) * 0.1).astype(np.float32) * 0.1
    state = torch.random.get_rng_state()
    outputs = [MusicGenMelodySystem(musicgen_folder).generate(vocals, RATE, seed, make_window()) for seed in (1, 1, 2)]
    assert all(output.shape == vocals.shape and output.dtype == np.float32 for output in outputs)
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])
    assert torch.equal(state, torch.random.get_rng_state())


def test_more_than_thirty_seconds_are_refused(musicgen_folder):
    with pytest.raises(ValueError, match="`vocals` must last at most 30 s"):
        MusicGenMelodySystem(musicgen_folder).generate(np.zeros(31 * RATE, np.float32), RATE, 0, make_window())


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"`musicgen` .* cannot be loaded"):
        _ = MusicGenMelodySystem(tmp_path).model


def test_melody_features_point_at_the_pitch_class_that_sounds():
    time = np.arange(2 * 32_000) / 32_000
    for pitch_class in (0, 4, 9):
        tone = np.sin(2 * np.pi * 440 * 2 ** ((60 + pitch_class - 69) / 12) * time).astype(np.float32)
        features = melody_features(tone, 32_000)
        assert features.shape == (1 + len(tone) // 4096, 12)
        assert np.all(features.sum(axis=1) == 1)
        assert set(features.argmax(axis=1)[2:-2]) == {pitch_class}
