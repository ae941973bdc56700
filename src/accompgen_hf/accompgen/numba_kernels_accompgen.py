"""The compiled steps of a stage: choose a code, embed it, run every layer, and write the next logits.

Keys and values lie in panels as weights do, so that attention is made of the same products: scores are a product with
the keys (32 positions a panel), and what is attended to one with the values (32 or 16 channels a panel).

Several threads run `decode_slots` side by side. Each takes its share of heads, of inner units of GEGLU and of the
logits, and adds up what all of them found; they wait for each other twice a layer and twice a slot.

This file needs numba, and is imported at the first generation that uses it.

Letters: R rows (with guidance the conditional half first), B rows that get a code, L layers, H heads, D head width,
d hidden width, I inner width, S positions, T threads, P panels of 32.
"""

import hashlib
from pathlib import Path

import numpy as np

from .numba_choice_accompgen import choose_codes
from .numba_products_accompgen import (
    PANEL,
    compiled,
    count_up,
    exp_of_negative,
    gelu,
    inline,
    largest_of,
    let_others_run,
    look_at,
    narrow_product,
    product_of_four,
    product_of_one,
    product_of_two,
)

INNER_BLOCK = PANEL // 2  # a panel holds so many gates of GEGLU and as many inputs that they let through
_LOOKS = 2000  # at the counter, before a waiting thread lets others run
_f = np.float32
_ONE = _f(1)


# ---- products over rows and panels --------------------------------------------------------------------------------


@inline
def _product(w, w_first, scale, scale_first, x, x_stride, y, y_first, y_stride, size, num_rows):
    """One panel for all rows, which stand `x_stride` and `y_stride` apart."""
    row = 0
    while num_rows - row >= 4:
        y_place = y_first + row * y_stride
        product_of_four(w, w_first, scale, scale_first, x, row * x_stride, x_stride, y, y_place, y_stride, size)
        row += 4
    if num_rows - row >= 2:
        y_place = y_first + row * y_stride
        product_of_two(w, w_first, scale, scale_first, x, row * x_stride, x_stride, y, y_place, y_stride, size)
        row += 2
    if num_rows - row >= 1:
        y_place = y_first + row * y_stride
        product_of_one(w, w_first, scale, scale_first, x, row * x_stride, x_stride, y, y_place, y_stride, size)


@inline
def _share(total, thread, num_threads):
    """First and last of what this thread works on."""
    return total * thread // num_threads, total * (thread + 1) // num_threads


@inline
def _meet(counters, num_threads, meetings):
    """Wait until every thread has come to so many meetings. Returns whether one has given up."""
    if num_threads == 1:
        return False
    count_up(counters)
    looks = 0
    while look_at(counters, 0) < meetings * num_threads:
        looks += 1
        if looks % _LOOKS == 0:
            if look_at(counters, 1):
                return True
            let_others_run()
    return False


@inline
def _norm(values, gain, eps, out, num_rows, size):
    """x / sqrt(mean(x²) + ε) · g of every row (Eq. 2)."""
    for row in range(num_rows):
        own, normed = values[row], out[row]
        total = _f(0)
        for index in range(size):
            total += own[index] * own[index]
        factor = _ONE / np.sqrt(total / _f(size) + eps)
        for index in range(size):
            normed[index] = own[index] * factor * gain[index]


@inline
def _norm_head(values, first, gain, eps, size):
    """The same in place for one head of one row (Eq. 3)."""
    total = _f(0)
    for index in range(size):
        total += values[first + index] * values[first + index]
    factor = _ONE / np.sqrt(total / _f(size) + eps)
    for index in range(size):
        values[first + index] *= factor * gain[index]


@inline
def _add_all(values, found, num_rows, size):
    """Add what every thread has found to this thread's copy of the hidden states."""
    for thread in range(found.shape[0]):
        for row in range(num_rows):
            own, more = values[row], found[thread, row]
            for index in range(size):
                own[index] += more[index]


# ---- one layer ----------------------------------------------------------------------------------------------------


@inline
def _add_bias(table, pieces, first, last, scores):
    """Add the bias of the keys from `first` to `last`, piece by piece."""
    for piece in range(pieces.shape[0]):
        start, length, source = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
        skipped, end = max(0, first - start), min(start + length, last)
        place, row_of_bias = scores[start + skipped : end], table[source + skipped :]
        for index in range(len(place)):
            place[index] += row_of_bias[index]


@inline
def _join_bias(tables, pieces, num_alike, scores, joined):
    """The bias of one key that stands for the first so many ones, for every head: log Σ e^bias."""
    for head in range(len(joined)):
        for index in range(num_alike):
            scores[index] = _f(0)
        _add_bias(tables[head], pieces, 0, num_alike, scores)
        highest, total = largest_of(scores, num_alike), _f(0)
        for index in range(num_alike):
            total += exp_of_negative(scores[index] - highest)
        joined[head] = highest + np.log(total)


@inline
def _attend(query, cache, layer, row, head, num_keys, bias, scores, out, out_first, ones):
    """softmax(q Kᵀ + B) V of one head of one row; `query` holds 1 / sqrt(D) already (Eq. 3)."""
    keys, values = cache
    bias_tables, bias_pieces, joined_bias, first_deaf_row, first_deaf_key = bias
    num_heads, num_panels, width = keys.shape[2], keys.shape[3], keys.shape[4]
    first_key = first_deaf_key if row >= first_deaf_row else 0
    first = ((layer * keys.shape[1] + row) * num_heads + head) * num_panels
    for panel in range(first_key // PANEL, (num_keys + PANEL - 1) // PANEL):
        place = (first + panel) * width * PANEL
        product_of_one(keys, place, ones, 0, query, 0, width, scores, panel * PANEL, PANEL, width)
    first_score = scores[first_key]
    _add_bias(bias_tables[head], bias_pieces, first_key, num_keys, scores)
    if first_key > 0:  # it stands for all keys before it
        scores[first_key] = first_score + joined_bias[head]
    seen = scores[first_key:num_keys]
    highest, total = largest_of(seen, len(seen)), _f(0)
    for index in range(len(seen)):
        weight = exp_of_negative(seen[index] - highest)
        seen[index] = weight
        total += weight
    channels = values.shape[5]  # 32 or 16 a panel
    first = ((layer * keys.shape[1] + row) * num_heads + head) * values.shape[3]
    for panel in range(values.shape[3]):
        place = ((first + panel) * values.shape[4] + first_key) * channels
        out_place = out_first + panel * channels
        if channels == PANEL:
            product_of_one(values, place, ones, 0, seen, 0, 0, out, out_place, 0, len(seen))
        else:
            narrow_product(values, place, ones, 0, seen, 0, 0, out, out_place, 0, len(seen))
    factor = _ONE / total
    for index in range(width):
        out[out_first + index] *= factor


@inline
def _write_cache(cache, layer, row, head, position, qkv, key_first, value_first, width):
    keys, values = cache
    own_keys = keys[layer, row, head, position // PANEL, :, position % PANEL]
    channels = values.shape[5]
    for index in range(width):
        own_keys[index] = qkv[key_first + index]
        values[layer, row, head, index // channels, position, index % channels] = qkv[value_first + index]


@inline
def _attention_block(layer, heads, position, normed, weights, cache, bias, scratch, found, sizes, eps):
    """What this thread's heads add to the hidden states, written to `found`."""
    qkv_weight, qkv_scale, out_weight, out_scale, qk_gains = weights
    qkv, query, scores, attended, ones = scratch
    first_head, last_head = heads
    num_rows, hidden_size, width = sizes
    num_panels, stride = qkv_weight.shape[2], qkv.shape[1]
    inner_stride, num_heads = attended.shape[1], qkv_weight.shape[1]
    flat_attended, flat_qkv = attended.reshape(-1), qkv.reshape(-1)
    for head in range(first_head, last_head):
        for panel in range(num_panels):
            place = (layer * num_heads + head) * num_panels + panel
            _product(
                qkv_weight, place * hidden_size * PANEL, qkv_scale, place * PANEL,
                normed, normed.shape[1], qkv, panel * PANEL, stride, hidden_size, num_rows,
            )  # fmt: skip
        for row in range(num_rows):
            first = row * stride
            _norm_head(flat_qkv, first, qk_gains[layer, 0], eps, width)
            _norm_head(flat_qkv, first + width, qk_gains[layer, 1], eps, width)
            _write_cache(cache, layer, row, head, position, flat_qkv, first + width, first + 2 * width, width)
            for index in range(width):
                query[index] = flat_qkv[first + index]
            out_first = row * inner_stride + (head - first_head) * width
            _attend(query, cache, layer, row, head, position + 1, bias, scores, flat_attended, out_first, ones)
    num_inputs, own_inputs = num_heads * width, (last_head - first_head) * width
    for panel in range(out_weight.shape[1]):
        place = layer * out_weight.shape[1] + panel
        first = (place * num_inputs + first_head * width) * PANEL
        _product(
            out_weight, first, out_scale, place * PANEL,
            attended, inner_stride, found, panel * PANEL, found.shape[1], own_inputs, num_rows,
        )  # fmt: skip


@inline
def _mlp_block(layer, blocks, normed, weights, scratch, found, sizes):
    """What this thread's inner units add to the hidden states, written to `found` (Eq. 4)."""
    gate_up_weight, gate_up_scale, down_weight, down_scale = weights
    gate_up, inner, first_block, last_block = scratch[0], scratch[1], blocks[0], blocks[1]
    num_rows, hidden_size = sizes[0], sizes[1]
    num_blocks = gate_up_weight.shape[1]
    for block in range(first_block, last_block):
        place = layer * num_blocks + block
        _product(
            gate_up_weight, place * hidden_size * PANEL, gate_up_scale, place * PANEL,
            normed, normed.shape[1], gate_up, 0, PANEL, hidden_size, num_rows,
        )  # fmt: skip
        start = (block - first_block) * INNER_BLOCK
        for row in range(num_rows):
            own, out = gate_up[row], inner[row, start : start + INNER_BLOCK]
            for index in range(INNER_BLOCK):
                out[index] = gelu(own[index]) * own[INNER_BLOCK + index]
    num_inputs, own_inputs = num_blocks * INNER_BLOCK, (last_block - first_block) * INNER_BLOCK
    for panel in range(down_weight.shape[1]):
        place = layer * down_weight.shape[1] + panel
        first = (place * num_inputs + first_block * INNER_BLOCK) * PANEL
        _product(
            down_weight, first, down_scale, place * PANEL,
            inner, inner.shape[1], found, panel * PANEL, found.shape[1], own_inputs, num_rows,
        )  # fmt: skip


# ---- slot after slot ----------------------------------------------------------------------------------------------


@inline
def _place_bias(pieces, target, slot, first_target, is_time, num_distances):
    """Where each stretch of keys finds its bias in the tables, for one slot of the target.

    A row of `pieces` is (first key, number of keys, column of the tables); what does not move with the slot is set.
    A row of `target` is (columns before this table, newest frame, codebooks, time units of a frame).
    """
    num_cross = target.shape[0] - 1
    time = slot // target[num_cross, 2] * target[num_cross, 3]
    for index in range(num_cross):
        frame = time // target[index, 3]
        pieces[index, 2] = target[index, 0] + (target[index, 1] - frame) * target[index, 2]
    length = slot + 1 if is_time else first_target + slot + 1
    pieces[num_cross, 0] = first_target + slot + 1 - length
    pieces[num_cross, 1] = length
    pieces[num_cross, 2] = target[num_cross, 0] + num_distances - length


@inline
def _make_scratch(num_rows, stride, weights, cache, num_heads, num_blocks, codebook_size):
    """What one thread writes and reads: for the layers, for attention, for the MLP, and for the choice."""
    width, num_keys = cache[0].shape[4], cache[0].shape[3] * PANEL
    hidden, normed = np.zeros((num_rows, stride), np.float32), np.zeros((num_rows, stride), np.float32)
    qkv = np.zeros((num_rows, weights[3][0].shape[2] * PANEL), np.float32)
    query, scores, ones = np.zeros(width, np.float32), np.zeros(num_keys, np.float32), np.ones(PANEL, np.float32)
    attended = np.zeros((num_rows, (num_heads + 1) * width), np.float32)
    gate_up = np.zeros((num_rows, PANEL), np.float32)
    inner = np.zeros((num_rows, (num_blocks + 1) * INNER_BLOCK), np.float32)
    guided, probabilities = np.zeros(codebook_size, np.float32), np.zeros(codebook_size, np.float32)
    keys = np.zeros(codebook_size, np.int32)
    return hidden, normed, (qkv, query, scores, attended, ones), (gate_up, inner), (guided, keys, probabilities)


@inline
def _embed(hidden, embedding, added, first_id, chosen, new):
    """Both halves of the rows hear the same codes."""
    for row in range(len(added)):
        embedded, more, own = embedding[first_id + chosen[row % len(chosen), new]], added[row], hidden[row]
        for index in range(embedding.shape[1]):
            own[index] = embedded[index] + more[index]


@inline
def _run_layer(layer, thread, num_threads, meetings, shares, position, weights, cache, bias, buffers, scratch, eps):
    """Both blocks of a layer (Eq. 2-4); returns whether a thread has given up."""
    gains, attention_weights, mlp_weights = weights[2], weights[3], weights[4]
    hidden, normed, of_attention, of_mlp = scratch
    num_rows, size = len(hidden), weights[0].shape[1]
    sizes = (num_rows, size, cache[0].shape[4])
    counters, found_by_heads, found_by_mlp = buffers[0], buffers[2], buffers[3]
    _norm(hidden, gains[2 * layer], eps, normed, num_rows, size)
    found = found_by_heads[thread]
    _attention_block(
        layer, shares[0], position, normed, attention_weights, cache, bias, of_attention, found, sizes, eps
    )
    if _meet(counters, num_threads, meetings + 1):
        return True
    _add_all(hidden, found_by_heads, num_rows, size)
    _norm(hidden, gains[2 * layer + 1], eps, normed, num_rows, size)
    _mlp_block(layer, shares[1], normed, mlp_weights, of_mlp, found_by_mlp[thread], sizes)
    if _meet(counters, num_threads, meetings + 2):
        return True
    _add_all(hidden, found_by_mlp, num_rows, size)
    return False


@inline
def _write_logits(panels, codebook, normed, weight, scale, logits, size):
    """This thread's share of the outputs of one codebook's head."""
    for panel in range(panels[0], panels[1]):
        place = codebook * weight.shape[1] + panel
        first, out = place * size * PANEL, panel * PANEL
        stride, out_stride = normed.shape[1], logits.shape[1]
        _product(weight, first, scale, place * PANEL, normed, stride, logits, out, out_stride, size, len(normed))


def _digest_siblings() -> int:
    """numba's cache looks at the date of the file with the compiled function alone, and at what that closes over."""
    names = ("numba_choice_accompgen.py", "numba_products_accompgen.py")
    contents = b"".join(Path(__file__).with_name(name).read_bytes() for name in names)
    return int.from_bytes(hashlib.sha256(contents).digest()[:7], "little")


def _build_decode_slots(digest):
    @compiled
    def decode_slots(thread, num_threads, slots, layout, weights, cache, bias, buffers, choice, eps):
        """Choose the codes of new slots and prepare the slot after the last; every thread calls it.

        Args:
            slots: First and last of the new slots to do, their number in all, the target's slot before the first.
            layout: Position of slot 0, codebook size, whether the bias counts time, distances of its table, first
                positions that are one in the rows without conditioning.
            weights: Embedding, what is added to it per row, gains (2 L + 1, d), tuples for attention and MLP, heads.
            cache: Keys (L, R, H, P, D, 32) and values (L, R, H, D / 32, S, 32).
            bias: Tables (H, columns), pieces and target as `_place_bias` takes them.
            buffers: Counters, logits (R, V) of the next slot, what threads found in attention and MLP (T, R, d).
            choice: Guidance scale, temperature, top-k, top-p, kept at least, uniforms, forced ids, evidence, chosen.
        """
        first, last, num_new, first_slot = slots
        first_target, codebook_size, is_time, num_distances, num_alike = layout
        head_weight, head_scale, first_ids = weights[5], weights[6], weights[7]
        counters, logits, chosen = buffers[0], buffers[1], choice[8]
        num_codebooks, num_layers, size = head_weight.shape[0], weights[3][0].shape[0], weights[0].shape[1]
        heads = _share(cache[0].shape[2], thread, num_threads)
        blocks = _share(weights[4][0].shape[1], thread, num_threads)
        panels, rows = _share(head_weight.shape[1], thread, num_threads), _share(len(chosen), thread, num_threads)
        hidden, normed, of_attention, of_mlp, of_choice = _make_scratch(
            len(logits), buffers[2].shape[2], weights, cache, heads[1] - heads[0], blocks[1] - blocks[0], codebook_size
        )
        scratch, pieces = (hidden, normed, of_attention, of_mlp), bias[1].copy()
        joined_bias = np.zeros(len(bias[0]), np.float32)
        own_bias = (bias[0], pieces, joined_bias, len(chosen), max(0, num_alike - 1))
        meetings = 0
        for new in range(first, last):
            choose_codes(rows, new, logits, choice, of_choice)
            meetings += 1
            if new + 1 == num_new or _meet(counters, num_threads, meetings):
                break
            slot = first_slot + new + 1
            _embed(hidden, weights[0], weights[1], first_ids[(slot - 1) % num_codebooks], chosen, new)
            _place_bias(pieces, bias[2], slot, first_target, is_time, num_distances)
            if num_alike > 0:
                _join_bias(bias[0], pieces, num_alike, of_attention[2], joined_bias)
            position = first_target + slot
            for layer in range(num_layers):
                if _run_layer(
                    layer, thread, num_threads, meetings, (heads, blocks), position, weights, cache, own_bias, buffers,
                    scratch, eps,
                ):  # fmt: skip
                    return digest
                meetings += 2
            _norm(hidden, weights[2][2 * num_layers], eps, normed, len(hidden), size)
            _write_logits(panels, slot % num_codebooks, normed, head_weight, head_scale, logits, size)
            meetings += 1
            if _meet(counters, num_threads, meetings):
                break
        return digest

    return decode_slots


decode_slots = _build_decode_slots(_digest_siblings())
