"""Dropout masks computed on the device: one seed gives equal masks on every backend.

A mask entry is a hash of its position, keyed by the seed and the layer: there is no generator, no state, and nothing to
move. The hash is a Feistel network on two 16-bit lanes held in int32. Every product stays below 2^31: overflow, which
libraries and compilers treat differently, does not occur.

Next: ``mlp`` multiplies hidden layers by the masks.
"""

from typing import TypeVar, cast

from mlp_xp._lib.arguments import check_number, check_seed, check_whole
from mlp_xp._lib.namespace import device_kwargs
from mlp_xp._lib.typing import Array, Namespace

Lane = TypeVar("Lane", int, Array)

_LANE = 0xFFFF
_MULTIPLIERS = (0x6A1D, 0x4E35, 0x59B5, 0x7A6B)  # odd and below 2^15, bits evenly spread; one a round


def _scramble(left: Lane, right: Lane, keys: tuple[Lane, Lane]) -> tuple[Lane, Lane]:
    """Permute the pairs of 16-bit numbers, in another way for each pair of keys."""
    for round_number, multiplier in enumerate(_MULTIPLIERS):
        product = (right ^ keys[round_number % 2]) * multiplier
        # the low half of a product depends on low bits only: fold the high half in
        left, right = right, left ^ ((product ^ (product >> 15)) & _LANE)
    return left, right


def dropout_mask(
    xp: Namespace,
    shape: tuple[int, int],
    rate: float,
    seed: int | Array,
    layer: int,
    like: Array,
    first: Array | None = None,
) -> Array:
    """0 with probability ``rate``, else ``1 / (1 - rate)``: inverted dropout, (n, d_h).

    Args:
        shape: (n, d_h); the entry at row i and column j depends on i * d_h + j, which must be below 2^31.
        rate: the share of units that are dropped, at least 0 and below 1.
        seed: 0 to 2^31 - 1, an int or a 0-d integer array (which may be traced).
        layer: the hidden layer's number, so that layers of one width differ.
        like: an array whose dtype and device the mask takes.
        first: how many rows of the batch come before these, a 0-d int32 array; None for none. The mask is then this
            part of the batch's mask.

    Returns:
        The mask, (n, d_h).

    Raises:
        ValueError: for 2^31 entries or more, and for a rate or a seed out of range.
        TypeError: for a rate or a seed of another kind.

    >>> import numpy as np
    >>> from array_api_compat import array_namespace
    >>> X = np.ones((2, 3))
    >>> dropout_mask(array_namespace(X), (2, 4), 0.5, 7, 1, X).tolist()
    [[2.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.0]]

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014, for dropout;
    Luby and Rackoff, How to construct pseudorandom permutations, 1988, for the hash.
    """
    rows, columns = shape
    rate, seed, layer = check_number("rate", rate, 0.0, 1.0), check_seed(xp, seed), check_whole("layer", layer, 0)
    if rows * columns >= 2**31:
        raise ValueError(f"dropout needs fewer than 2^31 entries in a layer's activations, got shape {shape}")
    if not isinstance(seed, int):
        seed = cast(int, xp.astype(seed, xp.int32))  # the same operators
    low, high = _scramble(seed & _LANE, seed >> 16, ((0x3C6E + layer) & _LANE, 0x1F83))
    position = xp.arange(rows * columns, dtype=xp.int32, **device_kwargs(like))
    if first is not None:
        position = position + first * columns
    left, right = _scramble(position & _LANE, position >> 16, (cast(Array, low), cast(Array, high)))
    uniform = (left << 15) ^ (right >> 1)  # 31 bits: 0 to 2^31 - 1
    keep = uniform >= min(round(rate * 2**31), 2**31 - 1)
    return xp.reshape(xp.astype(keep, like.dtype), shape) * (1.0 / (1.0 - rate))
