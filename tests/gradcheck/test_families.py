"""The corpus of right gradients: each family's gradient is that of another library's automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
from gradient_families import FAMILIES, REBUILT, build

pytestmark = pytest.mark.only("numpy")  # the corpus is the same on every backend


def relative(a, b, unit):
    return np.linalg.norm(unit * (a - b)) / np.linalg.norm(unit * b)


def test_there_are_enough_families_and_half_are_rebuilt_from_other_libraries():
    assert len(FAMILIES) >= 50
    assert 2 * len(REBUILT) >= len(FAMILIES)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_torch(family, seed):
    torch = pytest.importorskip("torch")
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
