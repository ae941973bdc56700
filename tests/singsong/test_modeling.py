"""SingSong's models against transformers' own T5, and against ids laid out by hand."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from accompgen_hf.singsong.batches import build_singsong_inputs
from accompgen_hf.singsong.configuration import SingSongConfig, SingSongFineConfig
from accompgen_hf.singsong.modeling import SingSongFineForConditionalGeneration, SingSongForConditionalGeneration
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS
from tiny_singsong import SIZES, random_streams, tiny_singsong


def stock_t5(model) -> T5ForConditionalGeneration:
    """transformers' class with the weights of `model` and a head of its own."""
    names = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads")
    stock = T5ForConditionalGeneration(
        T5Config(
            vocab_size=model.config.vocab_size,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            tie_word_embeddings=False,
            **{name: SIZES[name] for name in names},
        )
    )
    stock.lm_head = nn.Linear(SIZES["d_model"], model.config.vocab_size, bias=False)
    stock.load_state_dict(model.state_dict())
    return stock.eval()


def ids_by_hand(conditioning: dict, target: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """S-SA: 3 special ids, then 20 of the vocals, 20 of the instrumental, four times 16 coarse codes."""
    inputs, labels = [], []
    for row in range(len(conditioning["vocal_semantic_ids"])):
        inputs.append([3 + int(code) for code in conditioning["vocal_semantic_ids"][row]])
        ids = [3 + NUM_CLUSTERS + int(code) for code in target["instrumental_semantic_ids"][row]]
        codes = target["coarse_codes"][row]
        for frame in range(codes.shape[1]):
            for codebook in range(4):
                ids.append(3 + 2 * NUM_CLUSTERS + codebook * CODEBOOK_SIZE + int(codes[codebook, frame]))
        labels.append(ids)
    return torch.tensor(inputs), torch.tensor(labels)


def test_the_loss_is_that_of_a_stock_t5_on_ids_laid_out_by_hand():
    model = tiny_singsong()
    conditioning, target = random_streams(model.config)
    inputs, labels = ids_by_hand(conditioning, target)
    stock = stock_t5(model)
    decoder_inputs = torch.cat([torch.ones_like(labels[:, :1]), labels[:, :-1]], dim=1)
    with torch.no_grad():
        expected = stock(input_ids=inputs, decoder_input_ids=decoder_inputs, labels=labels)
        batch = build_singsong_inputs(model.config, conditioning, target)
        found = model(**batch)
        split = model(**batch, num_items_in_batch=torch.tensor(4 * labels.numel()))
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(split.loss, expected.loss / 4)


def test_without_decoder_ids_the_labels_are_shifted_behind_bos():
    model = tiny_singsong()
    batch = build_singsong_inputs(model.config, *random_streams(model.config))
    assert batch["decoder_input_ids"][:, 0].tolist() == [1, 1]
    shifted = {name: batch[name] for name in ("input_ids", "labels")}
    torch.testing.assert_close(model(**shifted).loss, model(**batch).loss)


@pytest.mark.parametrize("config_class", [SingSongConfig, SingSongFineConfig])
def test_target_losses_hold_every_code_once(config_class):
    model = tiny_singsong(config_class)
    batch = build_singsong_inputs(model.config, *random_streams(model.config))
    with torch.no_grad():
        losses, hits = model.target_losses(**batch)
        logits = model(**batch).logits
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
    assert losses.shape == hits.shape == (2, 5 if config_class is SingSongConfig else 4, 10)
    weights = torch.tensor([20] + [30] * 4 if config_class is SingSongConfig else [30.0] * 4)  # frames per codebook
    torch.testing.assert_close((losses.mean(-1) * weights).sum(1) / weights.sum(), each.mean(1))
    if config_class is SingSongConfig:
        torch.testing.assert_close(losses[:, 0].mean(1), each[:, :20].mean(1))
        torch.testing.assert_close(losses[:, 2, 3], each[:, 20:].view(2, 30, 4)[:, 9:12, 1].mean(1))


def test_a_saved_model_loads_with_the_same_logits(tmp_path):
    model = tiny_singsong()
    batch = build_singsong_inputs(model.config, *random_streams(model.config))
    model.save_pretrained(tmp_path)
    loaded = SingSongForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    assert loaded.lm_head.weight is not loaded.shared.weight
    assert loaded.encoder.embed_tokens.weight is loaded.shared.weight


def test_a_folder_without_all_weights_is_refused(tmp_path):
    tiny_singsong(SingSongFineConfig).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"must hold exactly the weights of SingSongFine.*missing keys: lm_head.weight"
    ):
        SingSongFineForConditionalGeneration.from_pretrained(tmp_path)
    weights["lm_head.weight"] = torch.full_like(weights["shared.weight"], torch.nan)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"`lm_head.weight` must be finite"):
        SingSongFineForConditionalGeneration.from_pretrained(tmp_path)
