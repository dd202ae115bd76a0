"""Dropout masks and random numbers computed on the device: one seed gives equal ones on every backend.

A number is a hash of its position, keyed by the seed and the layer: there is no generator, no state, and nothing to
move. The hash is a Feistel network on two 16-bit lanes held in int32. Every product stays below 2^31: overflow, which
libraries and compilers treat differently, does not occur. Positions stay below 2^31 too: rows are cut in blocks, and
each block counts anew, with keys of its own.

Next: ``mlp`` multiplies inputs and hidden layers by the masks.
"""

from numbers import Integral
from typing import Any, TypeVar, cast

from mlp_xp._lib.arguments import check_number, check_seed, check_whole
from mlp_xp._lib.namespace import device_kwargs, is_integral
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
    first: int | Array | None = None,
) -> Array:
    """0 with probability ``rate``, else ``1 / (1 - rate)``: inverted dropout, (n, d_h).

    Args:
        shape: (n, d_h), d_h below 2^31; an entry depends on its row in the batch, its column, and d_h.
        rate: the share of units that are dropped, at least 0 and below 1.
        seed: 0 to 2^31 - 1, an int or a 0-d integer array (which may be traced).
        layer: the hidden layer's number, from 1, so that layers of one width differ; 0 is that of the inputs.
        like: an array whose dtype and device the mask takes.
        first: how many rows of the batch come before these, an int or a 0-d int32 array (which may be traced); None for
            none. The mask is then this part of the batch's mask. A batch has at most 2^31 rows.

    Returns:
        The mask, (n, d_h).

    Raises:
        ValueError: for a row or a column beyond 2^31, and for a rate, a seed or a first out of range.
        TypeError: for a rate or a seed of another kind.

    >>> import numpy as np
    >>> from array_api_compat import array_namespace
    >>> X = np.ones((2, 3))
    >>> dropout_mask(array_namespace(X), (2, 4), 0.5, 7, 1, X).tolist()
    [[2.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.0]]

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014, for dropout;
    Luby and Rackoff, How to construct pseudorandom permutations, 1988, for the hash.
    """
    rate, seed, layer = check_number("rate", rate, 0.0, 1.0), check_seed(xp, seed), check_whole("layer", layer, 0)
    keep = _hashes(xp, shape, seed, layer, like, first) >= min(round(rate * 2**31), 2**31 - 1)
    return xp.astype(keep, like.dtype) * (1.0 / (1.0 - rate))


def _hashes(
    xp: Namespace, shape: tuple[int, int], seed: int | Array, number: int, like: Array, first: int | Array | None
) -> Array:
    """A whole number of 31 bits for each entry, (n, q), in int32; the rows follow ``first`` others of their batch.

    Rows are cut in blocks, each of as many rows as hold fewer than 2^31 entries. Row i and column j of a block are
    hashed as the position i q + j, keyed by the number of the block too: the first block is keyed by the seed alone.
    """
    rows, columns = shape
    if first is None:
        first = 0
    elif isinstance(first, Integral) or not _is_whole_array(xp, first):
        first = check_whole("first", first, 0)
    else:
        first = xp.astype(cast(Array, first), xp.int32)
    end = first + rows if isinstance(first, int) else 2**31  # what an array holds is not looked at
    if end > 2**31 or columns >= 2**31:
        after = f" after {first} rows" if end > 2**31 else ""
        raise ValueError(f"dropout and uniform reach 2^31 rows of fewer than 2^31 columns, got shape {shape}{after}")
    if not isinstance(seed, int):
        seed = cast(int, xp.astype(seed, xp.int32))  # the same operators
    keys = _scramble(seed, ((0x3C6E + number) & _LANE, 0x1F83))
    height, kind = (2**31 - 1) // max(columns, 1), {"dtype": xp.int32, **device_kwargs(like)}
    if end > height:
        row = cast(int, xp.arange(rows, **kind)[:, None] + first)  # the same operators
        keys, first = _keys_of_block(keys, row // height), row % height
    # the positions have no name here, which would keep them in memory
    left, right = cast(tuple[Array, Array], _scramble(_positions(xp, shape, first * columns, kind), keys))
    return (left << 15) ^ (right >> 1)


def _is_whole_array(xp: Namespace, value: Any) -> bool:
    """Whether this is a 0-d integer array, which may be traced."""
    return getattr(value, "shape", None) == () and is_integral(xp, getattr(value, "dtype", None))


def _positions(xp: Namespace, shape: tuple[int, int], start: int | Array, kind: dict[str, Any]) -> Array:
    """Whole numbers (n, q) that count from ``start``, or in each row from its own where ``start`` is (n, 1)."""
    if isinstance(start, int):
        position = xp.reshape(xp.arange(shape[0] * shape[1], **kind), shape)
        return position + start if start else position
    # Dask cuts zeros of the whole shape in chunks; the sum of a column and a row would be a single chunk
    return xp.full(shape, 0, **kind) + xp.arange(shape[1], **kind) + start


def _keys_of_block(keys: tuple[int, int], block: int) -> tuple[int, int]:
    """Other keys for each number of a block; for block 0 ``keys`` themselves."""
    moved, still = _scramble(block, keys), _scramble(0, keys)  # of a permutation: no two blocks have equal keys
    return moved[0] ^ (keys[0] ^ still[0]), moved[1] ^ (keys[1] ^ still[1])


def uniform(
    xp: Namespace,
    shape: tuple[int, int],
    seed: int | Array,
    stream: int,
    like: Array,
    first: int | Array | None = None,
) -> Array:
    """Random numbers of 0 to 1 for the rows of a batch, (n, q): what a ``transform`` of ``train`` draws from.

    Args:
        xp: the namespace of ``like``.
        shape: (n, q), q below 2^31; a number depends on its row in the batch, its column, and q.
        seed: 0 to 2^31 - 1, an int or a 0-d integer array (which may be traced).
        stream: 0 to 32,767: streams of one seed differ from each other, and from the masks of dropout.
        like: an array whose dtype and device the numbers take.
        first: how many rows of the batch come before these, as in ``dropout_mask``.

    Returns:
        The numbers, (n, q), multiples of 2^-31 rounded to the dtype.

    Raises:
        ValueError: for a row or a column beyond 2^31, and for a seed, a stream or a first out of range.
        TypeError: for a seed or a stream of another kind.

    >>> import numpy as np
    >>> from array_api_compat import array_namespace
    >>> X = np.ones((2, 3))
    >>> uniform(array_namespace(X), (2, 2), 7, 0, X).round(4).tolist()
    [[0.3569, 0.528], [0.0747, 0.3297]]
    """
    seed, stream = check_seed(xp, seed), check_whole("stream", stream, 0)
    if stream > 0x7FFF:
        raise ValueError(f"stream must be at most 32767, got {stream}")
    # numbers from 2^15 on: those below are layers
    return xp.astype(_hashes(xp, shape, seed, 0x8000 + stream, like, first), like.dtype) * 2.0**-31
