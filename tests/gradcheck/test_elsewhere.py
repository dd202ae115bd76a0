"""More evidence: at which other points a doubtful gradient is asked for, and how many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from array_api_compat import array_namespace

from mlp_xp.gradcheck import elsewhere
from mlp_xp.gradcheck.elsewhere import look_far, look_further
from mlp_xp.gradcheck.evidence import Findings, Probe, gather, gradient_at
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.local import prepare

pytestmark = pytest.mark.only("numpy")  # what follows is about numbers

# A probe that resolves nothing, one that is wrong and may be so by a kink, and one that resolves all.
COARSE, AT_A_KINK, SHARP = Probe(1.0, 1.0, 1.0, 1.0), Probe(2.0, 1.0, 0.1, 1.0, tied=True), Probe(1.0, 1.0, 1e-12, 1.0)

NEARBY = [(1.0, 0.03), (1.0, 0.03), (1.0, 0.1)]  # factors, and distances in the scale of the array
AWAY = [(0.25, 0.2), (4.0, 0.2), (0.06, 0.2), (16.0, 0.2)]


def evidence_of(f, grad, *params):
    """What is measured at ``params``."""
    flat, random = flattened(f, grad, params, None), np.random.default_rng(0)
    return gather(gradient_at(flat, prepare(flat.f, flat.arrays, 0), flat.grad(*flat.arrays), random), random)


def found(here, **more):
    """The evidence of a gradient, all of whose probes at params are ``here``."""
    evidence = evidence_of(lambda x: np.sum(x * x), lambda x: (2.0 * x,), np.full(20_000, 3.0))
    findings = Findings((here, here), more=(here, here), **more)
    return evidence._replace(found=(findings, Findings((SHARP,), more=(SHARP,))))


@pytest.fixture
def moves(monkeypatch):
    """``moves(evidence)``: factor and distance of each point that is asked for from 3, f being defined at none."""

    def of(look, evidence):
        points = []

        def moved(local, arrays, seed, same_noise=False):
            points.append(arrays[0] / 3.0)
            return local._replace(value=math.nan)

        monkeypatch.setattr(elsewhere, "moved", moved)
        look(evidence, np.random.default_rng(0))
        # entries move by a half to three halves of the distance, to either side
        middles = [(np.max(x) + np.min(x)) / 2.0 for x in points]
        return [(m, (np.max(x) - np.min(x)) / 3.0 / m) for m, x in zip(middles, points, strict=True)]

    return of


def test_what_rounding_hides_is_looked_for_nearby_and_then_at_smaller_and_larger_parameters(moves):
    expected = [*NEARBY, *AWAY]
    got = moves(look_further, found(COARSE))
    np.testing.assert_allclose(got, expected, rtol=1e-2)


def test_what_is_wrong_at_a_kink_is_looked_at_nearby_and_then_close_by(moves):
    np.testing.assert_allclose(moves(look_further, found(AT_A_KINK)), NEARBY, rtol=1e-2)
    cleared = found(AT_A_KINK, elsewhere=((SHARP, SHARP),))
    np.testing.assert_allclose(moves(look_further, cleared), [(1.0, 1e-3), (1.0, 1e-4)], rtol=1e-2)


def test_what_is_known_is_looked_for_nowhere_but_far_away(moves):
    assert moves(look_further, found(SHARP)) == []
    np.testing.assert_allclose(moves(look_far, found(SHARP)), [(1.0, 0.1)], rtol=1e-2)


@pytest.mark.parametrize(
    ("ties", "sides"), [((3, 2), (3, 2)), ((20, 5), (16, 0)), ((10, 10), (10, 5)), ((1, 1), (1, 1))]
)
def test_two_sides_are_taken_along_sixteen_entries_at_most_of_all_arrays_together(ties, sides):
    """The slope along all entries of an array together is one of them."""
    arrays = [np.append(np.zeros(count), 1.0) for count in ties]

    def f(*arrays):
        return sum(array_namespace(x).sum(abs(x)) for x in arrays)

    got = look_further(evidence_of(f, lambda *x: tuple(map(np.sign, x)), *arrays), np.random.default_rng(0))
    alone = [[each.position for each in findings.sides if each.position is not None] for findings in got.found]
    assert tuple(map(len, alone[:2])) == sides
    assert all(position < count for positions, count in zip(alone, ties, strict=False) for position in positions)


@pytest.mark.parametrize(
    ("returned", "asked", "frozen"),
    [
        ((0.0, 0.0, 0.0), 3, True),
        ((0.0, 0.0, 1.0), 3, False),
        ((1.0, 0.0, 0.0), 3, False),
        ((1.0, 1.0, 1.0), 3, False),
        ((1.0, None, 1.0), 2, False),
        ((None, 1.0, 1.0), 1, False),
    ],
)
def test_far_away_three_points_are_asked_until_one_has_a_right_gradient(monkeypatch, returned, asked, frozen):
    """The gradient of ``sum x^3`` at each: that of params over again, once more plus a number, or right (None)."""
    x, noise = np.asarray([0.7, -1.3, 2.1]), []

    def moved(local, arrays, seed, same_noise=False):
        noise.append(same_noise)
        return elsewhere_moved(local, arrays, seed, same_noise)

    elsewhere_moved = elsewhere.moved
    monkeypatch.setattr(elsewhere, "moved", moved)
    evidence = evidence_of(
        lambda x: np.sum(x**3),
        lambda at: (3.0 * at * at if not noise or (off := returned[len(noise) - 1]) is None else 3.0 * x * x + off,),
        x,
    )
    got = look_far(evidence, np.random.default_rng(0))
    assert [len(there) for there in got.far] == [1] * asked
    assert [there[0].wrong for there in got.far] == [off is not None for off in returned[:asked]]
    assert (got.frozen, noise) == (frozen, [True, False, False][:asked])
