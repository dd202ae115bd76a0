"""Small questions about arrays, against NumPy's answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlp_xp.gradcheck import arrays

RANDOM = np.random.default_rng(3)
A, B = RANDOM.standard_normal((3, 4)), RANDOM.standard_normal((3, 4))


def test_sizes_and_distances_are_those_of_the_largest_entries(xp, put):
    empty = put(np.zeros((0, 2)))
    assert arrays.largest(xp, put(A), put(-9.0 * B), empty) == np.max(np.abs(9.0 * B))
    assert arrays.largest(xp, empty) == arrays.largest(xp) == 0.0
    assert arrays.distance(xp, (put(A), put(B)), (put(B), put(B))) == np.max(np.abs(A - B))
    assert arrays.inner(xp, put(A), put(B)) == pytest.approx(np.vdot(A, B))
    assert arrays.how_many(xp, put(A) > 0.0) == np.sum(A > 0.0)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_norms_and_scales_are_right_where_squares_are_no_numbers(xp, put, host, scale):
    x = put(scale * A)
    assert arrays.norm(xp, x) == pytest.approx(scale * np.linalg.norm(A), rel=1e-12, abs=0.0)
    assert float(host(arrays.scale_of(xp, x))) == pytest.approx(scale * math.sqrt(np.mean(A * A)), rel=1e-12, abs=0.0)
    assert arrays.norm(xp, put(np.zeros((2, 0)))) == arrays.norm(xp, put(np.zeros(2))) == 0.0
    assert float(host(arrays.scale_of(xp, put(np.zeros((2, 0)))))) == 1.0
    assert float(host(arrays.scale_of(xp, put(np.zeros(2))))) == 1.0


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1.0, 1e9])
def test_entries_of_one_unit_have_one_scale_whatever_it_is(xp, put, host, unit):
    """Drawn from a normal distribution, few or many; a zero among them too."""
    for shape in ((1,), (2,), (12,), (60, 50), (80, 100)):
        x = unit * np.random.default_rng(0).standard_normal(shape)
        x.reshape(-1)[-1] *= 0.0 if x.size > 2 else 1.0
        scales = host(arrays.scales_of(xp, put(x)))
        assert scales.shape == ()
        assert scales == pytest.approx(math.sqrt(np.mean(x * x)), rel=1e-12, abs=0.0)


def test_entries_of_several_units_have_a_scale_each_and_a_zero_their_geometric_mean(xp, put, host):
    spread = 10.0 ** np.asarray([-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0])
    np.testing.assert_allclose(host(arrays.scales_of(xp, put(-spread))), spread, rtol=1e-12)
    with_zero = np.append(spread[:6], 0.0)
    np.testing.assert_allclose(host(arrays.scales_of(xp, put(with_zero))), [*spread[:6], 0.1], rtol=1e-12)
    # the logarithms deviate by 3 from their mean, or by a little less: numbers of two units
    for deviation, several in ((3.1, True), (2.9, False)):
        two = np.exp(deviation * np.asarray([1.0, -1.0, 1.0, -1.0]))
        assert (arrays.scales_of(xp, put(two)).shape == (4,)) == several
    # one is a thousand times as large as the mean of the others, or a little less
    for share, several in ((1.2e3, True), (0.8e3, False)):
        outlying = np.ones(400)
        outlying[7] = share
        assert (arrays.scales_of(xp, put(outlying)).shape == (400,)) == several


def test_no_entry_is_smaller_than_the_scale(xp, put, host):
    rms = math.sqrt(np.mean(A * A))
    np.testing.assert_allclose(host(arrays.sizes_of(xp, put(A))), np.maximum(np.abs(A), rms))


@pytest.mark.only("numpy")
@pytest.mark.parametrize("shape", [(2000,), (3999,), (4000,), (60, 100), (64, 64), (30, 20, 10), (1000, 30)])
def test_of_many_entries_about_two_thousand_of_all_columns_stand_for_the_rest(shape):
    x = np.arange(math.prod(shape)).reshape(shape)
    some = arrays._some(np, x)
    if x.size < 4000:
        assert some is x
        return
    assert 1300 <= some.size <= 2000  # a step is made larger, by one or two, where it would miss columns
    assert len(shape) == 1 or set(some % shape[-1]) == set(range(shape[-1]))
    assert (some[0], len(set(np.diff(some)))) == (0, 1)


@pytest.mark.only("numpy")
def test_of_many_zeros_none_is_looked_at():
    """Of 300,000 entries 700 are numbers, of two units: hardly any of them is among every 150th."""
    x = np.zeros(300_000)
    x[1:-1:428] = np.where(np.arange(x[1:-1:428].size) % 2, 1e6, 1e-6)
    assert arrays.scales_of(np, x).shape == x.shape


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("looked_at", "several"), [(0, True), (499, True), (500, False)])
def test_five_hundred_numbers_among_those_that_are_looked_at_stand_for_the_rest(looked_at, several):
    """The others are of two units; those that are looked at are ones, and zeros."""
    x = np.exp(np.linspace(0.0, -20.0, 300_000))
    some = arrays._some(np, np.arange(x.size))
    x[some] = np.arange(some.size) < looked_at
    assert (arrays.scales_of(np, x).shape == x.shape) == several


def test_random_directions_leave_no_entry_out_and_have_the_scales_of_the_array(xp, put, host):
    x = put(np.asarray([3.0, 4.0, 0.0, 0.0]) * 1e-3)
    drawn = [host(arrays.random_direction(xp, x, np.random.default_rng(seed))) / 2.5e-3 for seed in range(50)]
    sizes = np.abs(drawn)
    assert 0.5 <= sizes.min() < 0.55
    assert 1.45 < sizes.max() <= 1.5
    assert 0.35 < np.mean(np.asarray(drawn) > 0.0) < 0.65
    in_ones = host(arrays.random_direction(xp, x, np.random.default_rng(0), put(1.0)))
    np.testing.assert_allclose(in_ones, drawn[0], rtol=1e-12)


def test_entries_are_taken_by_their_positions_in_c_order(xp, put, host):
    x = put(A)
    np.testing.assert_array_equal(host(arrays.flat_positions(xp, x)), np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(host(arrays.taken(xp, x, [5, 0, 11])), A.reshape(-1)[[5, 0, 11]])


def test_copies_are_alike_and_not_the_same(xp, put, host):
    x = put(A)
    (copied,) = arrays.copied(xp, x)
    assert copied is not x
    np.testing.assert_array_equal(host(copied), A)
    narrow = put(A, xp.float32)
    for made in (arrays.like(x, narrow), arrays.from_host(xp, A.tolist(), narrow)):
        assert (made.dtype, arrays.dtype_name(made)) == (xp.float32, "float32")
        np.testing.assert_array_equal(host(made), A.astype(np.float32))
    assert arrays.dtype_name(1.5) == "<class 'float'>".rpartition(".")[2]
