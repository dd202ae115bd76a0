"""Dropout masks: equal on every backend, of the right rate and scale, shared by forward and backward, uncorrelated.

Rows far down a batch are reached by ``first``: no array here is large.
"""

from __future__ import annotations

import numpy as np
import pytest
import textbook
from marks import EAGER
from scipy.stats import chi2

import mlp_xp as mx
from mlp_xp import dropout
from mlp_xp.dropout import dropout_mask

# a standard normal number is larger once in 10^5 masks; the seeds are fixed, so a pass stays a pass
Z_SCORE = 4.5


def mask(xp, put, host, shape, rate, seed, layer=1):
    return host(dropout_mask(xp, shape, rate, seed, layer, put(np.zeros(1))))


@pytest.mark.parametrize(
    ("rate", "seed", "layer"), [(0.5, 0, 1), (0.25, 1, 2), (0.9, 2**31 - 1, 1), (0.1, 65536, 3), (1e-9, 7, 1)]
)
def test_one_seed_gives_the_same_mask_on_every_backend(xp, put, host, rate, seed, layer):
    ours = mask(xp, put, host, (16, 32), rate, seed, layer)
    np.testing.assert_allclose(ours, textbook.dropout_mask(16, 32, rate, seed, layer), rtol=4e-16)  # of 1 / (1 - rate)


@pytest.mark.only("numpy", "torch", "jax", "cupy", "dpnp")
def test_masks_agree_beyond_the_first_65536_positions(xp, put, host):
    ours = mask(xp, put, host, (300, 256), 0.5, 3)  # the upper 16 bits of a position are no longer 0
    np.testing.assert_array_equal(ours[-40:], textbook.dropout_mask(300, 256, 0.5, 3, 1)[-40:])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_units_are_dropped_at_the_rate_and_the_rest_scaled_to_keep_the_mean(xp, put, host, rate):
    ours = mask(xp, put, host, (256, 128), rate, 5)
    np.testing.assert_allclose(np.unique(ours), [0.0, 1.0 / (1.0 - rate)], rtol=4e-16)
    deviation = (np.mean(ours == 0) - rate) / np.sqrt(rate * (1 - rate) / ours.size)
    assert abs(deviation) < Z_SCORE


def correlation(a, b):
    """The z-score of the correlation of two masks at rate 1/2, which are +-1 after centring."""
    return np.sum((a - 1) * (b - 1)) / np.sqrt(a.size)


def test_masks_are_uncorrelated_along_rows_and_columns_and_between_neighbouring_seeds_and_layers(xp, put, host):
    shape = (256, 128)
    masks = {(seed, layer): mask(xp, put, host, shape, 0.5, seed, layer) for seed in (0, 1, 2) for layer in (1, 2)}
    one = masks[0, 1]
    scores = {f"rows {lag} apart": correlation(one[lag:], one[:-lag]) for lag in (1, 2, 4, 8, 64)}
    scores |= {f"columns {lag} apart": correlation(one[:, lag:], one[:, :-lag]) for lag in (1, 2, 4, 8, 64)}
    scores |= {f"{a} and {b}": correlation(masks[a], masks[b]) for a in masks for b in masks if a < b}
    scores["transposed"] = correlation(one[:128], one[:128].T) / np.sqrt(2)  # each pair is counted twice
    # the sums over rows and over columns vary as those of independent numbers: chi-square, standardised
    for axis, name in ((0, "columns"), (1, "rows")):
        counts = np.sum(one - 1, axis=axis) ** 2 / one.shape[axis]
        scores[f"even {name}"] = (np.sum(counts) - counts.size) / np.sqrt(2 * counts.size)
    for name, score in scores.items():
        assert abs(score) < Z_SCORE, name


def test_layers_and_seeds_differ(put, host):
    # inputs of zero, all parameters 1: the first hidden units are 1, after dropout they are the mask
    X, params = put(np.zeros((6, 4))), [put(np.ones_like(p)) for p in textbook.parameters((4, 5, 5))]
    options = {"activation": "identity", "criterion": "squared_error", "dropout": 0.5}
    first, _ = mx.forward(X, *params, seed=1, **options)
    again, _ = mx.forward(X, *params, seed=1, **options)
    other, _ = mx.forward(X, *params, seed=2, **options)
    np.testing.assert_array_equal(host(first), host(again))
    assert np.any(host(first) != host(other))
    # each output is 1 + the row's sum over the mask
    expected = 1 + textbook.dropout_mask(6, 5, 0.5, 1, 1).sum(axis=1)
    np.testing.assert_array_equal(host(first), np.repeat(expected[:, None], 5, axis=1))
    # a second hidden layer gets a mask of its own, which multiplies these numbers
    X, params = put(np.zeros((6, 4))), [put(np.ones_like(p)) for p in textbook.parameters((4, 5, 5, 5))]
    deep, _ = mx.forward(X, *params, seed=1, **options)
    theirs = 1 + expected * textbook.dropout_mask(6, 5, 0.5, 1, 2).sum(axis=1)
    np.testing.assert_array_equal(host(deep), np.repeat(theirs[:, None], 5, axis=1))
    assert np.any(theirs != 1 + expected * textbook.dropout_mask(6, 5, 0.5, 1, 1).sum(axis=1))


def test_forward_and_backward_share_the_mask(put, host):
    X, params = textbook.batch(), textbook.parameters((4, 5, 3))
    options = {"dropout": 0.5, "seed": 9}
    _, (_, _, dW2, _) = mx.loss_and_grads(put(X), put(textbook.labels()), *map(put, params), **options)
    theirs = textbook.gradients(X, textbook.labels(), *params, **options)
    assert textbook.relative_error(host(dW2), theirs[2]) <= 1e-13
    # a unit that is dropped in every row learns nothing in either layer; the others do
    rate = 0.8
    dropped = np.all(textbook.dropout_mask(6, 5, rate, 9, 1) == 0, axis=0)
    assert dropped.sum() == 2
    _, grads = mx.loss_and_grads(put(X), put(textbook.labels()), *map(put, params), dropout=rate, seed=9)
    np.testing.assert_array_equal(np.all(host(grads[0]) == 0, axis=0), dropped)
    np.testing.assert_array_equal(np.all(host(grads[2]) == 0, axis=1), dropped)


@EAGER
def test_dropout_of_inputs_is_the_network_on_masked_inputs(put, host):
    """With the other masks as they are: the loss, its gradient, that of each row, a second derivative, and forward."""
    X, y, params = textbook.batch(), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    masked = X * textbook.dropout_mask(6, 4, 0.4, 9, 0)
    options = {"activation": "tanh", "dropout": 0.3, "seed": 9}
    along = tuple(map(put, textbook.parameters(seed=5)))
    results = [
        (*mx.loss_and_grads(put(at), y, *params, **options, **more)[1],
         *mx.per_example_grads(put(at), y, *params, **options, **more),
         *mx.hvp(put(at), y, *params, vectors=along, **options, **more),
         mx.forward(put(at), *params, dropout=0.3, seed=9, **more)[0])
        for at, more in ((X, {"input_dropout": 0.4}), (masked, {}))
    ]  # fmt: skip
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(host(ours), host(theirs), rtol=1e-13, atol=1e-14)


@pytest.mark.only("numpy")
def test_over_all_seeds_inputs_keep_their_mean():
    # inputs of 1 through a network that sums them: n masks of one seed after the other
    ones, params = np.ones((64, 50)), (np.eye(50), np.zeros(50))
    options = {"criterion": "squared_error", "input_dropout": 0.2}
    outputs = np.stack([mx.forward(ones, *params, seed=seed, **options)[0] for seed in range(20)])
    deviation = np.sqrt(0.2 / 0.8 / outputs.size)  # of a mean of numbers that are 0 or 1 / 0.8
    assert abs(outputs.mean() - 1.0) < Z_SCORE * deviation
    assert not np.array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_random_numbers_are_uniform_and_those_of_a_part_of_the_batch_are_a_part(xp, put, host, seed):
    like = put(np.zeros(1))
    ours = host(dropout.uniform(xp, (40, 50), seed, 0, like))
    assert (ours.min() >= 0.0, ours.max() < 1.0) == (True, True)
    assert abs(ours.mean() - 0.5) < Z_SCORE * np.sqrt(1 / 12 / ours.size)
    counts = np.histogram(ours, bins=16, range=(0, 1))[0]
    assert np.sum((counts - 125) ** 2 / 125) < 15 + Z_SCORE * np.sqrt(2 * 15)  # chi-square of 15 degrees of freedom
    part = dropout.uniform(xp, (10, 50), seed, 0, like, put(np.asarray(30, dtype=np.int32)))
    np.testing.assert_array_equal(host(part), ours[30:])
    other = host(dropout.uniform(xp, (40, 50), seed, 1, like))
    assert abs(np.sum((ours - 0.5) * (other - 0.5)) * 12 / np.sqrt(ours.size)) < Z_SCORE
    assert np.all(host(dropout.uniform(xp, (40, 50), seed, 2**15 - 1, like)) < 1.0)
    with pytest.raises(ValueError, match=r"^stream must be at most 32767, got 32768$"):
        dropout.uniform(xp, (2, 2), seed, 2**15, like)


# --- rows beyond 2^31 entries --------------------------------------------------------------------------------------

# widths, and how many rows have fewer than 2^31 entries: 2^31 is no multiple of 3, and one of the others
HEIGHTS = {1: 2**31 - 1, 3: 715_827_882, 64: 33_554_431, 131_072: 16_383}
LAST_ROW = 2**31 - 1


def chosen(columns):
    return sorted({0, columns // 3, columns // 2, columns - 1})


def far_rows():
    """Widths, and numbers of rows before four that are the last of one block and the first of the next."""
    for columns, height in HEIGHTS.items():
        last = LAST_ROW // height
        starts = {min(block * height - 2, LAST_ROW - 3) for block in (1, 2, last // 2 + 1, last)}
        yield from ((columns, before) for before in sorted(starts | {LAST_ROW - 3}))


@pytest.mark.parametrize(("columns", "before"), tuple(far_rows()))
def test_rows_beyond_2_31_entries_have_the_numbers_that_unbounded_ints_give(xp, put, host, columns, before):
    like, seed, stream = put(np.zeros(1)), 5, 3
    bits = np.asarray(
        [textbook.random_bits(before + i, columns, chosen(columns), seed, 2**15 + stream) for i in range(4)]
    )
    for first in (before, put(before, xp.int32)):
        ours = host(dropout.uniform(xp, (4, columns), seed, stream, like, first))
        np.testing.assert_array_equal(ours[:, chosen(columns)], bits / 2**31)
    drawn = [textbook.random_bits(before + i, columns, chosen(columns), seed, 2) for i in range(4)]
    expected = np.where(np.asarray(drawn) < 0.25 * 2**31, 0.0, 1 / 0.75)
    for first in (before, put(before, xp.int32)):
        ours = host(dropout_mask(xp, (4, columns), 0.25, put(seed, xp.int32), 2, like, first))
        np.testing.assert_allclose(ours[:, chosen(columns)], expected, rtol=4e-16)


def compiled(backend, function):
    if backend == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.only("torch", "jax")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_compiled_the_rows_before_are_an_argument_and_may_be_any_number(xp, put, host, backend):
    like = put(np.zeros(1))
    one = compiled(backend, lambda seed, first: dropout.uniform(xp, (4, 64), seed, 1, like, first))
    for before in (0, 5, HEIGHTS[64] - 2, 3 * HEIGHTS[64] - 2, LAST_ROW - 3):
        bits = [textbook.random_bits(before + i, 64, range(64), 9, 2**15 + 1) for i in range(4)]
        np.testing.assert_array_equal(host(one(put(9, xp.int32), put(before, xp.int32))), np.asarray(bits) / 2**31)


@EAGER
@pytest.mark.parametrize("block", [1, 63])
def test_a_batch_cut_in_parts_has_the_mask_of_the_whole_across_the_limit(xp, put, host, block):
    like, before = put(np.zeros(1)), block * HEIGHTS[64] - 5

    def part(rows, first):
        return host(dropout_mask(xp, (rows, 64), 0.5, 3, 1, like, first))

    whole = part(10, put(before, xp.int32))
    for cuts in ((5, 5), (3, 7), (6, 4), (1, 4, 1, 4)):
        starts = [before + int(start) for start in np.cumsum((0, *cuts[:-1]))]
        for firsts in (starts, [put(start, xp.int32) for start in starts]):
            parts = [part(rows, first) for rows, first in zip(cuts, firsts, strict=True)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)


@EAGER
def test_far_rows_repeat_no_others_and_are_uniform(xp, put, host):
    """Each block begins at position 0 again: without keys of its own it would repeat the first."""
    like, shape = put(np.zeros(1)), (200, 64)
    starts = [block * HEIGHTS[64] for block in (0, 1, 2, 3, 32, 62, 63)]
    drawn = {start: host(dropout.uniform(xp, shape, 5, 0, like, start)) for start in starts}
    drawn |= {seed: host(dropout.uniform(xp, shape, seed, 0, like)) for seed in (4, 6)}
    drawn |= {"layer": host(dropout.uniform(xp, shape, 5, 1, like))}
    cells, scores = np.prod(shape) / 64, {}
    for name, numbers in drawn.items():
        scores[name] = np.sum((np.histogram(numbers, bins=64, range=(0, 1))[0] - cells) ** 2 / cells)
        for other in list(drawn)[: list(drawn).index(name)]:
            pairs = np.histogram2d(numbers.ravel(), drawn[other].ravel(), bins=8, range=[(0, 1), (0, 1)])[0]
            scores[name, other] = np.sum((pairs - cells) ** 2 / cells)
    for name, score in scores.items():
        assert score < chi2.isf(1e-5, 63), name


@pytest.mark.only("numpy")
def test_no_two_blocks_of_rows_have_equal_keys():
    blocks = np.concatenate([np.arange(2**16), LAST_ROW - np.arange(2**16)]).astype(np.int32)
    for keys in ((0, 0), (0xFFFF, 0xFFFF), (0x1234, 0xABCD)):
        low, high = dropout._keys_of_block(keys, blocks)
        assert (low[0], high[0]) == keys
        assert (min(low.min(), high.min()), max(low.max(), high.max())) == (0, 0xFFFF)
        assert np.unique(low * 2**16 + high.astype(np.int64)).size == blocks.size


@EAGER
def test_a_batch_has_at_most_2_31_rows_of_fewer_than_2_31_columns(xp, put, host):
    like = put(np.zeros(1))
    for draw in (
        lambda shape, first: dropout_mask(xp, shape, 0.5, 3, 1, like, first),
        lambda shape, first: dropout.uniform(xp, shape, 3, 1, like, first),
    ):
        assert host(draw((2, 3), LAST_ROW - 1)).shape == (2, 3)
        assert host(draw((1, 1), LAST_ROW)).shape == (1, 1)
        assert host(draw((2, 0), None)).shape == (2, 0)
        words = r"^dropout and uniform reach 2\^31 rows of fewer than 2\^31 columns, got shape "
        with pytest.raises(ValueError, match=words + r"\(2, 3\) after 2147483647 rows$"):
            draw((2, 3), LAST_ROW)
        with pytest.raises(ValueError, match=words + r"\(1, 2147483648\)$"):
            draw((1, 2**31), None)
        with pytest.raises(ValueError, match=words + r"\(3, 2147483648\)$"):
            draw((3, 2**31), 5)
        with pytest.raises(ValueError, match=r"^first must be at least 0, got -1$"):
            draw((2, 3), -1)


def positions_of(bits, keys):
    """The two positions below 2^32 whose 31 bits these are: the rounds of the network, the last one first."""
    for low in (0, 1):
        left, right = bits >> 15, (bits << 1 & 0xFFFF) + low
        for turn, multiplier in reversed(tuple(enumerate((0x6A1D, 0x4E35, 0x59B5, 0x7A6B)))):
            product = (left ^ keys[turn % 2]) * multiplier
            left, right = right ^ ((product ^ (product >> 15)) & 0xFFFF), left
        yield right * 2**16 + left


@EAGER
@pytest.mark.parametrize("rate", [1 - 2**-31, 1 - 2**-33, np.nextafter(1, 0)])
def test_a_rate_next_to_1_keeps_one_unit_in_2_31(xp, put, host, rate):
    """The one of the largest number; a limit of 2^31, to which these rates round, would not fit in int32."""
    seed, layer = 2, 1
    keys = textbook.scramble(seed, 0, (0x3C6E + layer, 0x1F83))
    for bits, kept in ((2**31 - 1, True), (2**31 - 2, False)):
        position = min(positions_of(bits, keys))  # of a matrix of one column: the number of the row
        assert textbook.random_bits(position, 1, [0], seed, layer) == [bits]
        ours = host(dropout_mask(xp, (1, 1), rate, seed, layer, put(np.zeros(1)), position))
        assert ours == (1 / (1 - rate) if kept else 0.0)


def test_a_seed_may_be_an_array(xp, put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    for seed in (0, 2**31 - 1):
        expected = host(mx.objective(X, y, *params, dropout=0.5, seed=seed))
        for form in (put(seed, xp.int32), put(seed, xp.int64), np.int64(seed)):
            assert host(mx.objective(X, y, *params, dropout=0.5, seed=form)) == expected


def test_without_dropout_the_seed_changes_nothing(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), [put(p) for p in textbook.parameters()]
    assert host(mx.objective(X, y, *params, seed=4)) == host(mx.objective(X, y, *params))


def test_predictions_do_not_drop(put, host):
    X, params = put(textbook.batch()), [put(p) for p in textbook.parameters()]
    p, _ = mx.forward(X, *params)
    np.testing.assert_array_equal(host(p), host(mx.predict_proba(X, *params)))
