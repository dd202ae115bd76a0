"""The corpus of right gradients: each family's gradient is that of another library's automatic differentiation."""

from __future__ import annotations

import gradcheck_situations as benchmark
import numpy as np
import pytest
from gradient_cases import LEAST, Request
from gradient_damage import KINDS as DAMAGES
from gradient_damage import draw_damage
from gradient_families import FAMILIES, REBUILT, build
from gradient_situations import SITUATIONS, build_case, requests

pytestmark = pytest.mark.only("numpy")  # the corpus is the same on every backend
TORCH = pytest.mark.only("torch")  # which the sessions of the others do not install


def relative(a, b, unit):
    return np.linalg.norm(unit * (a - b)) / np.linalg.norm(unit * b)


def test_there_are_enough_families_and_half_are_rebuilt_from_other_libraries():
    assert len(FAMILIES) >= 50
    assert 2 * len(REBUILT) >= len(FAMILIES)


@TORCH
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_torch(family, seed):
    import torch

    problem = build(family, np.random.default_rng(seed))
    tensors = [torch.tensor(p, requires_grad=True) for p in problem.params]
    problem.f(*tensors).backward()
    for ours, tensor, unit in zip(problem.grad(*problem.params), tensors, problem.units, strict=True):
        truth = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        if np.any(truth):
            assert relative(ours, truth, unit) < 1e-10  # sums of a hundred terms, some of which cancel
        assert np.shape(ours) == truth.shape


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_differences(family, seed):
    problem = build(family, np.random.default_rng(seed))
    for i, (ours, unit) in enumerate(zip(problem.grad(*problem.params), problem.units, strict=True)):
        d = unit * np.random.default_rng(seed).normal(size=unit.shape)

        def along(t, i=i, d=d):
            return float(problem.f(*(p + t * d if j == i else p for j, p in enumerate(problem.params))))

        h = 1e-3
        slope = sum(c * (along(k * h) - along(-k * h)) for k, c in ((1, 45.0), (2, -9.0), (3, 1.0))) / (60.0 * h)
        scale = np.sum(np.abs(ours * d)) + abs(along(0.0))
        # truncation h^6 f^(7) and rounding eps |f| / h; a kink within three steps shows as more
        assert abs(slope - np.sum(ours * d)) < 1e-8 * scale


# --- the situations: right cases are right and wrong ones wrong, by differences of our own ---------------------------

SHOWN = [name for name in SITUATIONS if name not in ("stairs", "low precision", "raw memory", "straight through")]


def disagreement(case):
    """The largest |slope by differences - slope by the gradient| / sum |g_i d_i|, over three directions an array."""
    random = np.random.default_rng(0)
    params = [np.asarray(p, dtype=np.float64) for p in case.params]
    worst = 0.0
    for i in [i for i in range(len(params)) for _ in range(3)]:
        d = case.units[i] * random.normal(size=params[i].shape)

        def along(t, i=i, d=d):
            return float(case.f(*(p + t * d if j == i else p for j, p in enumerate(params))))

        h = 1e-5  # smaller than the distance to any edge, and to all kinks but the unlucky ones
        slope = (8.0 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12.0 * h)
        g = np.asarray(case.grad(*params)[i], dtype=np.float64)
        worst = max(worst, abs(slope - np.sum(g * d)) / (np.sum(np.abs(g * d)) + 1e-5 * abs(along(0.0)) + 1e-300))
    return worst


@pytest.mark.parametrize("situation", SHOWN)
def test_right_cases_are_right(situation):
    asked = requests(range(58), [situation], rights=[True])
    cases = [(r, case) for r in asked if r.dtype == "float64" or situation == "float32 data" if (case := build_case(r))]
    assert len(cases) >= 20 or situation in ("float32 only", "float32 branch")
    for request, case in cases:
        bound = 1e-4 if request.dtype == "float64" else 1e-3
        assert disagreement(case) < bound, request


def moved(case):
    random = np.random.default_rng(1)
    return case._replace(
        params=tuple(p + 0.02 * u * random.normal(size=p.shape) for p, u in zip(case.params, case.units, strict=True))
    )


def wrong_cases(situation):
    asked = [r for r in requests(range(58), [situation], rights=[False]) if r.dtype == "float64"]
    return [(request, case) for request in asked if (case := build_case(request)) is not None]


def test_a_gradient_wrong_here_is_wrong_here_and_right_nearby():
    cases = wrong_cases("wrong here")
    assert len(cases) > 20
    for request, case in cases:
        assert disagreement(case) > 1e-4, request
        assert disagreement(moved(case)) < 1e-4, request


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damage_shows_in_its_dtype(kind, dtype):
    random = np.random.default_rng(0)
    seen = 0
    for _ in range(200):
        unit = 10.0 ** random.uniform(-9, 9, (3, 3))
        g = (random.normal(size=(3, 3)) / unit).astype(dtype)
        damage = draw_damage(random, g, unit, LEAST[dtype])
        if damage is not None and damage.name == kind:
            seen += 1
            wrong = damage.apply(g)
            assert wrong.dtype == g.dtype
            change = np.linalg.norm((wrong.astype(np.float64) - g) * unit) / np.linalg.norm(g * unit)
            assert change >= LEAST[dtype]
    assert seen


def test_a_gradient_wrong_elsewhere_is_right_here_and_wrong_nearby():
    cases = wrong_cases("wrong elsewhere")
    assert len(cases) > 20
    for request, case in cases:
        assert disagreement(case) < 1e-6, request
        assert disagreement(moved(case)) > 1e-5, request


def test_a_request_names_one_case():
    request = Request("huber", "damaged", "float64", False, 3)
    one, other = build_case(request), build_case(request)
    assert one.note == other.note
    assert all(np.array_equal(a, b) for a, b in zip(one.grad(*one.params), other.grad(*other.params), strict=True))


# --- the benchmark's own counting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "situation", [pytest.param(name, marks=TORCH if name == "low precision" else ()) for name in SITUATIONS]
)
def test_every_situation_has_cases_of_each_truth_that_it_knows(situation):
    for dtype in SITUATIONS[situation].dtypes:
        asked = [request for request in requests(range(12), [situation]) if request.dtype == dtype]
        truths = {case.truth for request in asked if (case := build_case(request)) is not None}
        expected = {"straight through": {"hidden"}, "zero gradient": {"right", "zero", "wrong"}}
        assert truths == expected.get(situation, {"right", "wrong"})


def outcome(verdict, truth):
    return benchmark.Outcome(verdict, truth, 0.0, 0, "")


def test_the_counts_and_targets_are_those_of_the_outcomes():
    wrong = Request("huber", "damaged", "float64", False, 0)
    right = wrong._replace(right=True)
    asked = [wrong, wrong, right, right, right]
    outcomes = [outcome("fail", "wrong"), outcome("pass", "wrong"), outcome("pass", "right"), outcome("fail", "right")]
    outcomes += [outcome("skip", "")]
    rows = benchmark.counts(asked, outcomes)
    assert [(row["truth"], row["cases"], row["fail"], row["pass"]) for row in rows] == [
        ("right", 2, 1, 1),
        ("wrong", 2, 1, 1),
    ]
    met = {row["target"]: (row["value"], row["met"]) for row in benchmark.targets(rows)}
    assert met["wrong in float64 not refused, 0"] == ("1 of 2", False)
    assert met["right refused, 0"] == ("1 of 2", False)
    assert [(row["right"], row["verdict"]) for row in benchmark.misses(asked, outcomes)] == [
        (False, "pass"),
        (True, "fail"),
    ]


def test_a_right_gradient_that_says_nothing_wrong_is_no_miss_unless_it_fails():
    request = Request("huber", "zero gradient", "float64", True, 0)
    assert not benchmark.misses([request], [outcome("inconclusive", "zero")])
    assert benchmark.misses([request], [outcome("inconclusive", "right")])
    assert benchmark.misses([request], [outcome("pass", "hidden")])
