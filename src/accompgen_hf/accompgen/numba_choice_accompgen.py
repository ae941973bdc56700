"""The choice of a code in compiled steps: guidance, evidence, temperature, top-k, top-p, keyed choice, in this order.

What top-k and top-p keep is found by halving the range of the numbers, not by sorting: every pass is a count or a sum
over all codes, which takes a vector at a time.

This file needs numba, and is imported at the first generation that uses it.
"""

import numpy as np

from .numba_products_accompgen import as_bits, exp_of_negative, inline, largest_of

_LARGEST_UNIFORM = 1 - 2**-23
_LOWEST_KEY, _HIGHEST_KEY = -(2**31), 2**31 - 1
_f = np.float32


@inline
def _key_of(value):
    """An integer that orders as the number does."""
    bits = as_bits(value)
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@inline
def _kth_largest(keys, size, k):
    """The largest key that at least k keys reach, by halving."""
    low, high = _LOWEST_KEY, _HIGHEST_KEY  # `low` is reached by k keys or more
    while low < high:
        middle = (low + high + 1) >> 1
        limit, count = np.int32(middle), np.int32(0)
        for index in range(size):
            count += np.int32(keys[index] >= limit)
        if count >= k:
            low = middle
        else:
            high = middle - 1
    return low


@inline
def _lowest_of_nucleus(keys, probabilities, size, share_outside):
    """The smallest key whose probability and that of all below it together exceed `share_outside`, by halving."""
    low, high = _LOWEST_KEY, _HIGHEST_KEY
    while low < high:
        middle = (low + high) >> 1
        limit, below = np.int32(middle), _f(0)
        for index in range(size):
            below += probabilities[index] if keys[index] <= limit else _f(0)
        if below > share_outside:
            high = middle
        else:
            low = middle + 1
    return low


@inline
def _weigh(scores, keys, lowest_key, probabilities, size):
    """exp(score - highest) where the key is high enough, else 0; returns their sum."""
    highest, limit, total = largest_of(scores, size), np.int32(lowest_key), _f(0)
    for index in range(size):
        weight = exp_of_negative(scores[index] - highest) if keys[index] >= limit else _f(0)
        probabilities[index] = weight
        total += weight
    return total


@inline
def _choose(scores, keys, probabilities, size, warpers, uniform):
    """The code of one row by temperature, top-k, top-p and inverse CDF; `uniform` < 0 asks for the likeliest."""
    temperature, top_k, top_p, min_kept = warpers
    if uniform < 0:
        best = 0
        for index in range(1, size):
            if scores[index] > scores[best]:
                best = index
        return best
    for index in range(size):
        scores[index] = scores[index] / _f(temperature)
        keys[index] = _key_of(scores[index])
    lowest_key = _LOWEST_KEY
    if 0 < top_k < size:
        lowest_key = _kth_largest(keys, size, np.int64(top_k))
    total = _weigh(scores, keys, lowest_key, probabilities, size)
    if top_p < 1:
        nucleus = _lowest_of_nucleus(keys, probabilities, size, _f((1 - top_p) * total))
        nucleus = min(nucleus, _kth_largest(keys, size, np.int64(min_kept)))
        lowest_key = max(lowest_key, nucleus)
        total = _weigh(scores, keys, lowest_key, probabilities, size)
    whole = 0.0
    for index in range(size):
        whole += probabilities[index]
    threshold, cumulative = min(uniform, _LARGEST_UNIFORM) * whole, 0.0
    for index in range(size):
        cumulative += probabilities[index]
        if cumulative > threshold:
            return index
    return size - 1


@inline
def _guide(logits, row, num_codes_rows, guidance_scale, out, size):
    """unconditional + w · (conditional - unconditional) of one row (Eq. 5), or its logits where nothing guides."""
    own = logits[row]
    if logits.shape[0] == num_codes_rows:
        for index in range(size):
            out[index] = own[index]
        return
    deaf, scale = logits[num_codes_rows + row], _f(guidance_scale)
    for index in range(size):
        out[index] = deaf[index] + scale * (own[index] - deaf[index])


@inline
def choose_codes(rows, new, logits, choice, scratch):
    """Fill column `new` of the chosen codes for this thread's rows."""
    guidance_scale, temperature, top_k, top_p, min_kept, uniforms, forced, evidence, chosen = choice
    guided, keys, probabilities = scratch
    size, warpers = len(keys), (temperature, top_k, top_p, min_kept)
    for row in range(rows[0], rows[1]):
        if forced[row, new] >= 0:
            chosen[row, new] = forced[row, new]
        else:
            _guide(logits, row, len(chosen), guidance_scale, guided, size)
            if evidence.size > 0:
                for index in range(size):
                    guided[index] += evidence[row, new, index]
            chosen[row, new] = _choose(guided, keys, probabilities, size, warpers, uniforms[row, new])
