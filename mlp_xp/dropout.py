"""Dropout masks and random numbers computed on the device: one seed gives equal ones on every backend.

A number is a hash of its position, keyed by the seed and the layer: there is no generator, no state, and nothing to
move. The hash is a Feistel network on two 16-bit lanes held in int32. Every product stays below 2^31: overflow, which
libraries and compilers treat differently, does not occur.

Next: ``mlp`` multiplies inputs and hidden layers by the masks.
"""

from typing import TypeVar, cast

from mlp_xp._lib.arguments import check_number, check_seed, check_whole
from mlp_xp._lib.namespace import device_kwargs
from mlp_xp._lib.typing import Array, Namespace

Lane = TypeVar("Lane", int, Array)

_LANE = 0xFFFF
_MULTIPLIERS = (0x6A1D, 0x4E35, 0x59B5, 0x7A6B)  # odd and below 2^15, bits evenly spread; one a round


def _scramble(number: Lane, keys: tuple[Lane, Lane]) -> tuple[Lane, Lane]:
    """Permute the pairs of the low and the high 16 bits of ``number``, in another way for each pair of keys."""
    left, right = number & _LANE, number >> 16
    del number  # with it, one array more of the size of a layer would be there at one time
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
        layer: the hidden layer's number, from 1, so that layers of one width differ; 0 is that of the inputs.
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
    keep = _hashes(xp, rows, columns, seed, layer, like, first) >= min(round(rate * 2**31), 2**31 - 1)
    return xp.reshape(xp.astype(keep, like.dtype), shape) * (1.0 / (1.0 - rate))


def _hashes(
    xp: Namespace, rows: int, columns: int, seed: int | Array, key: int, like: Array, first: Array | None
) -> Array:
    """A whole number of 31 bits for each position, (rows * columns,), in int32; the rows follow ``first`` others."""
    if not isinstance(seed, int):
        seed = cast(int, xp.astype(seed, xp.int32))  # the same operators
    low, high = cast(tuple[Array, Array], _scramble(seed, ((0x3C6E + key) & _LANE, 0x1F83)))
    left, right = _scramble(_positions(xp, rows, columns, like, first), (low, high))
    return (left << 15) ^ (right >> 1)


def _positions(xp: Namespace, rows: int, columns: int, like: Array, first: Array | None) -> Array:
    position = xp.arange(rows * columns, dtype=xp.int32, **device_kwargs(like))
    return position if first is None else position + first * columns


def uniform(
    xp: Namespace,
    shape: tuple[int, int],
    seed: int | Array,
    stream: int,
    like: Array,
    first: Array | None = None,
) -> Array:
    """Random numbers of 0 to 1 for the rows of a batch, (n, q): what a ``transform`` of ``train`` draws from.

    Args:
        xp: the namespace of ``like``.
        shape: (n, q); the entry at row i and column j depends on i * q + j, which must be below 2^31.
        seed: 0 to 2^31 - 1, an int or a 0-d integer array (which may be traced).
        stream: 0 to 32,767: streams of one seed differ from each other, and from the masks of dropout.
        like: an array whose dtype and device the numbers take.
        first: how many rows of the batch come before these, as in ``dropout_mask``.

    Returns:
        The numbers, (n, q), multiples of 2^-31 rounded to the dtype.

    Raises:
        ValueError: for 2^31 numbers or more, and for a seed or a stream out of range.
        TypeError: for a seed or a stream of another kind.

    >>> import numpy as np
    >>> from array_api_compat import array_namespace
    >>> X = np.ones((2, 3))
    >>> uniform(array_namespace(X), (2, 2), 7, 0, X).round(4).tolist()
    [[0.3569, 0.528], [0.0747, 0.3297]]
    """
    rows, columns = shape
    seed, stream = check_seed(xp, seed), check_whole("stream", stream, 0)
    if stream > 0x7FFF:
        raise ValueError(f"stream must be at most 32767, got {stream}")
    if rows * columns >= 2**31:
        raise ValueError(f"uniform makes fewer than 2^31 numbers, got shape {shape}")
    # keys from 2^15 on: those below are layers
    drawn = _hashes(xp, rows, columns, seed, 0x8000 + stream, like, first)
    return xp.reshape(xp.astype(drawn, like.dtype), shape) * 2.0**-31
