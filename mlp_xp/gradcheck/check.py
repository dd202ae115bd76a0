"""Compare a gradient with difference quotients, and judge by what those can resolve.

Every numeric entry comes with its uncertainty: how far the quotients of two steps disagree (truncation, kinks), plus
the rounding of the function's values divided by the step, plus the rounding of the analytic side. Two values that
differ by less agree; beyond it the textbook's rule decides: below 1e-5 right, above 1e-3 a bug, in between unknown.

Before: ``differences`` and ``noise``. Next: ``diagnosis`` and ``report``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np  # for the host's random numbers alone

from mlp_xp._namespace import beside, is_floating, namespace
from mlp_xp._typing import Array, Namespace, Op
from mlp_xp.gradcheck.diagnosis import diagnose
from mlp_xp.gradcheck.differences import central_differences, default_step
from mlp_xp.gradcheck.noise import evaluation_noise
from mlp_xp.gradcheck.report import Report, TensorReport, Verdict

# The textbook's rule (CS231n, Gradient checks): relative errors below the first are right, above the second a bug.
RIGHT, WRONG = 1e-5, 1e-3

# A quotient of two values, each with noise sigma, extrapolated over two steps has standard deviation 0.95 sigma / h:
# six of them leave one false alarm in 10^9 entries.
_NOISE_MARGIN = 6.0

# An analytic entry is a sum over the batch and through the layers whose terms may cancel: its rounding error is that of
# the largest entries, with room for a few dozen roundings.
_ANALYTIC_ROUNDINGS = 50.0

# Where a kink lies between the points of a stencil, a smaller one leaves it outside.
_STEP_SCALES = (1.0, 1 / 32, 1 / 1024)


def gradcheck(
    f: Callable[..., Any],
    grad: Callable[..., Any],
    params: Sequence[Array],
    names: Sequence[str] | None = None,
    seed: int = 0,
    *,
    vectorized: bool = False,
    max_entries: int = 10_000,
) -> Report:
    """Is ``grad`` the gradient of ``f`` at ``params``? ``|a - n| / (|a| + |n|)`` for every entry, against differences.

    When the parameters are not float64 but f, given float64 copies of them, computes in float64, so do the differences:
    they are then sharp, and the report's ``reference`` says so.

    Args:
        f: f(*params) -> 0-d, deterministic; nothing else is asked of it.
        grad: grad(*params) -> a tuple of gradients, one per parameter, of its shape and dtype.
        params: real floating arrays of one library, any shapes.
        names: of the parameters, for the report.
        seed: of what is drawn: the direction in which noise is measured, the sample of a large tensor's entries.
        vectorized: whether f also takes one parameter with a leading axis, (k, *shape), and then returns (k,).
        max_entries: of a tensor with more entries than this a random sample is checked, and the report says so.

    Returns:
        A ``Report``: ``verdict``, ``ok``, ``tensors``, ``evaluations``, ``raise_if_failed()``, and text by ``str``.

    Raises:
        ValueError: where f is not finite at params or does not return one number, or grad returns another number.
        TypeError: where params are not real floating arrays of one library.
    """
    params = tuple(params)
    if not params:
        raise ValueError("params must hold at least one array, got none")
    xp = namespace(*params)
    names = tuple(names) if names is not None else tuple(f"params[{i}]" for i in range(len(params)))
    if len(names) != len(params):
        raise ValueError(f"names must name each of the {len(params)} params, got {len(names)}")
    for name, param in zip(names, params, strict=True):
        if not is_floating(xp, param.dtype):
            raise TypeError(f"{name} must be real floating, got {param.dtype}")
    gradients = grad(*params)
    if not isinstance(gradients, tuple | list) or len(gradients) != len(params):
        came = f"{len(gradients)}" if isinstance(gradients, tuple | list) else f"{type(gradients).__name__}"
        raise ValueError(f"grad must return a tuple of {len(params)} gradients, one per parameter, got {came}")

    calls = _Counted(f)
    reference = _reference_point(xp, calls, params)
    value = float(calls(*reference))
    if not math.isfinite(value):
        raise ValueError(f"f must be finite at params, got {value}")
    epsilon = float(xp.finfo(reference[0].dtype).eps)
    noise = evaluation_noise(xp, calls, reference, value, epsilon, seed)
    rows = []
    for position, (name, param, gradient) in enumerate(zip(names, params, gradients, strict=True)):
        size = math.prod(param.shape)
        flaw = _contract_flaw(xp, param, gradient)
        if flaw:
            rows.append(TensorReport(name, "fail", math.inf, (), math.nan, math.nan, math.nan, flaw, 0, size))
            continue
        if size == 0:
            rows.append(TensorReport(name, "pass", 0.0, (), 0.0, 0.0, 0.0, "", 0, 0))
            continue

        def along(x: Array, position: int = position) -> Any:
            return calls.batch(x.shape[0] if vectorized else 1, *reference[:position], x, *reference[position + 1 :])

        sample = _sample(size, max_entries, seed)
        comparison = _compare(xp, along, reference[position], gradient, sample, noise, vectorized)
        rows.append(_judge(xp, name, param.shape, sample, *comparison))
    return Report(tuple(rows), calls.count, str(reference[0].dtype).rpartition(".")[2])


def check_pullback(
    op: Op, args: Sequence[Array], seed: int = 0, *, names: Sequence[str] | None = None, max_entries: int = 10_000
) -> Report:
    """Is the pullback of ``op(*args) -> (value, pullback)`` right? Checks ``grad <value, c> = pullback(c)``, c random.

    Args:
        op: its value may have any shape; ``pullback(c)`` returns a tuple, one cotangent per argument.
        args: real floating arrays; bind everything that is not differentiated.
        seed: of the cotangent and as in ``gradcheck``.
        names, max_entries: as in ``gradcheck``.
    """
    args = tuple(args)
    value, _ = op(*args)
    xp = namespace(value)
    drawn = np.random.default_rng(seed).standard_normal(value.shape)

    def cotangent(like: Array) -> Array:
        return xp.asarray(drawn, dtype=like.dtype, **beside(like))

    def f(*arrays: Array) -> Array:
        value, _ = op(*arrays)
        return xp.sum(value * cotangent(value))

    def grad(*arrays: Array) -> Any:
        value, pullback = op(*arrays)
        return pullback(cotangent(value))

    return gradcheck(f, grad, args, names, seed, max_entries=max_entries)


class _Counted:
    """``f`` and how many points it was asked for."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.count = f, 0

    def __call__(self, *params: Array) -> Any:
        return self.batch(1, *params)

    def batch(self, width: int, *params: Array) -> Any:
        self.count += width
        return self.f(*params)


def _reference_point(xp: Namespace, f: Callable[..., Any], params: tuple[Array, ...]) -> tuple[Array, ...]:
    """``params`` in float64 where the library has it and f computes in it, else as they are."""
    info = xp.__array_namespace_info__()
    available = info.dtypes(kind="real floating", **beside(params[0]))
    if "float64" not in available or all(p.dtype == xp.float64 for p in params):
        return params
    wide = tuple(xp.astype(p, xp.float64) for p in params)
    try:
        return wide if f(*wide).dtype == xp.float64 else params
    except Exception:  # whatever a function raises that was written for one dtype: its own dtype it is
        return params


def _contract_flaw(xp: Namespace, param: Array, gradient: Any) -> str:
    """Why ``gradient`` can't be a gradient of ``param``, or nothing."""
    namespace(param, gradient)
    if tuple(gradient.shape) != tuple(param.shape):
        return f"the gradient has shape {tuple(gradient.shape)}, the parameter {tuple(param.shape)}"
    if gradient.dtype != param.dtype:
        return f"the gradient has dtype {gradient.dtype}, the parameter {param.dtype}"
    if not bool(xp.all(xp.isfinite(gradient))):
        return "the gradient has entries that are NaN or infinite"
    return ""


def _sample(size: int, most: int, seed: int) -> list[int]:
    if size <= most:
        return list(range(size))
    return cast(list[int], sorted(np.random.default_rng(seed).choice(size, most, replace=False).tolist()))


class _Comparison(NamedTuple):
    """Flat arrays over the entries that were looked at."""

    analytic: Array
    numeric: Array
    uncertainty: Array


def _compare(
    xp: Namespace,
    f: Callable[[Array], Any],
    x: Array,
    gradient: Array,
    sample: list[int],
    noise: float,
    vectorized: bool,
) -> _Comparison:
    """Analytic and numeric values of the sampled entries, each numeric one from the step that makes it surest."""
    chosen = xp.asarray(sample, dtype=xp.int32, **beside(x))
    flat = xp.reshape(gradient, (-1,))
    analytic_rounding = _ANALYTIC_ROUNDINGS * float(xp.finfo(gradient.dtype).eps) * float(xp.max(xp.abs(flat)))
    analytic = xp.astype(xp.take(flat, chosen, axis=0), x.dtype)
    numeric = xp.zeros_like(analytic)
    uncertainty = xp.full(analytic.shape, math.inf, dtype=x.dtype, **beside(x))
    for scale in _STEP_SCALES:
        step = scale * default_step(xp, x)
        near = central_differences(xp, f, x, step, sample, vectorized)
        far = central_differences(xp, f, x, 2.0 * step, sample, vectorized)
        # Richardson: the errors of the two are 1 : 4, so a third of their difference more cancels both
        estimate = near + (near - far) / 3.0
        step_taken = xp.take(xp.reshape(step, (-1,)), chosen, axis=0)
        disagreement, rounding = xp.abs(near - far), _NOISE_MARGIN * noise / step_taken
        surer = disagreement + rounding < uncertainty
        numeric = xp.where(surer, estimate, numeric)
        uncertainty = xp.where(surer, disagreement + rounding, uncertainty)
        resolved = uncertainty <= WRONG * (xp.abs(analytic) + xp.abs(numeric))
        # a smaller step helps where the two quotients disagree, at a kink or a sharp bend; against rounding it does not
        if bool(xp.all(resolved | (disagreement <= rounding))):
            break
    return _Comparison(analytic, numeric, uncertainty + analytic_rounding)


def _judge(
    xp: Namespace, name: str, shape: tuple[int, ...], sample: list[int], a: Array, n: Array, uncertainty: Array
) -> TensorReport:
    size = math.prod(shape)
    gap, scale = xp.abs(a - n), xp.abs(a) + xp.abs(n)
    excess = gap - uncertainty
    visible = (excess > 0.0) | (uncertainty <= WRONG * scale)
    relative = xp.where(visible, gap / xp.where(scale > 0.0, scale, xp.ones_like(scale)), xp.zeros_like(gap))
    worst = int(xp.argmax(relative, axis=0)) if bool(xp.any(relative > 0.0)) else int(xp.argmax(scale, axis=0))
    total = float(xp.sum(scale))
    resolution = float(xp.sum(uncertainty)) / total if total else 0.0
    wrong = int(xp.sum(xp.astype(excess > WRONG * scale, xp.int32)))
    verdict: Verdict = "pass"
    diagnosis = ""
    if wrong:
        verdict = "fail"
        whole = len(sample) == size
        diagnosis = diagnose(xp, xp.reshape(a, shape) if whole else a, xp.reshape(n, shape) if whole else n, wrong)
    elif bool(xp.any(excess > RIGHT * scale)):
        verdict = "inconclusive"
        diagnosis = f"the largest relative error is between {RIGHT:g}, right, and {WRONG:g}, a bug"
    elif resolution > WRONG:
        verdict = "inconclusive"
        diagnosis = f"rounding noise hides relative errors below {resolution:.1e}; use float64, or a larger gradient"
    index = tuple(int(i) for i in np.unravel_index(sample[worst], shape))
    return TensorReport(
        name, verdict, float(relative[worst]), index, float(a[worst]), float(n[worst]), resolution, diagnosis,
        len(sample), size,
    )  # fmt: skip
