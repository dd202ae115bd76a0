"""The checkers that the benchmark compares, each with its defaults: check(case, f) -> ours: a report; peers: passed.

A case holds ``grad``, ``params`` and ``names``; f is handed in by itself, so that its calls can be counted.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import mlp_xp

# SciPy returns a norm of differences without a verdict. Its own tests demand less than 1.5e-7, those of scikit-learn
# less than 1e-5 or more: this is the more generous bound.
SCIPY_BOUND = 1e-5


def ours(case: Any, f: Callable[..., Any]) -> Any:
    """``mlp_xp.gradcheck``, or ``check_pullback`` if the case has an op instead of a gradient."""
    if case.grad is None:
        return mlp_xp.check_pullback(f, case.params, names=case.names)
    return mlp_xp.gradcheck(f, case.grad, case.params, case.names or None, hypotheses=getattr(case, "hypotheses", None))


def torch_checker(fast_mode: bool) -> Callable[..., bool]:
    """``torch.autograd.gradcheck``, the gradient as the backward of a Function."""

    def check(case: Any, f: Callable[..., Any]) -> bool:
        import torch
        from torch.autograd.gradcheck import GradcheckError, gradcheck

        class Function(torch.autograd.Function):  # type: ignore[misc]
            @staticmethod
            def forward(ctx: Any, *params: Any) -> Any:
                ctx.save_for_backward(*params)
                return f(*params)

            @staticmethod
            def backward(ctx: Any, dy: Any) -> Any:
                return tuple(dy * g for g in case.grad(*ctx.saved_tensors))

        torch.manual_seed(0)
        params = tuple(torch.tensor(p, requires_grad=True) for p in case.params)
        try:
            return bool(gradcheck(Function.apply, params, fast_mode=fast_mode))
        except GradcheckError:
            return False

    return check


def jax_checker(case: Any, f: Callable[..., Any]) -> bool:
    """JAX's ``check_grads``, the gradient as a custom_vjp."""
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    function = jax.custom_vjp(f)
    function.defvjp(lambda *p: (f(*p), p), lambda p, dy: tuple(dy * g for g in case.grad(*p)))
    params = tuple(jax.numpy.asarray(p) for p in case.params)
    try:
        check_grads(function, params, order=1, modes=["rev"])  # a custom_vjp has no forward mode
    except AssertionError:
        return False
    return True


def hips_checker(case: Any, f: Callable[..., Any]) -> bool:
    """``check_grads`` of HIPS autograd, the gradient as the vjp of a primitive."""
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    function = primitive(lambda *params: f(*params))

    def vjp(argnums: Sequence[int], ans: Any, args: tuple[Any, ...], kwargs: Any) -> Callable[[Any], Any]:
        def pull(dy: Any) -> Any:
            grads = case.grad(*args)
            return [dy * grads[i] for i in argnums]

        return pull

    defvjp_argnums(function, vjp)
    np.random.seed(0)  # noqa: NPY002, the source of its directions
    try:
        check_grads(function, modes=["rev"], order=1)(*case.params)  # a hand-written gradient has no second order
    except AssertionError:
        return False
    return True


def scipy_checker(case: Any, f: Callable[..., Any]) -> bool:
    """``scipy.optimize.check_grad`` on the flat parameters, against ``SCIPY_BOUND``."""
    from scipy.optimize import check_grad

    shapes = [p.shape for p in case.params]
    ends = np.cumsum([p.size for p in case.params])[:-1]

    def apart(x: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(shape) for part, shape in zip(np.split(x, ends), shapes, strict=True)]

    def flat(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([array.ravel() for array in arrays])

    return bool(
        check_grad(lambda x: f(*apart(x)), lambda x: flat(case.grad(*apart(x))), flat(case.params)) < SCIPY_BOUND
    )


CHECKERS: dict[str, Callable[..., Any]] = {
    "mlp_xp": ours,
    "torch slow": torch_checker(False),
    "torch fast": torch_checker(True),
    "jax": jax_checker,
    "HIPS autograd": hips_checker,
    "SciPy": scipy_checker,
}

MODULES = {"torch slow": "torch", "torch fast": "torch", "jax": "jax", "HIPS autograd": "autograd", "SciPy": "scipy"}


def installed(checker: str) -> bool:
    """Whether the library of a checker is there."""
    return checker not in MODULES or importlib.util.find_spec(MODULES[checker]) is not None


def through_numpy(checker: str, case: Any) -> tuple[Any, Callable[..., Any]]:
    """The case and its f for a peer: the same NumPy functions, whatever arrays the peer holds."""

    def asarray(x: Any) -> Any:
        if MODULES[checker] == "torch":
            import torch

            return torch.tensor(np.asarray(x))
        if MODULES[checker] == "jax":
            import jax

            return jax.numpy.asarray(x)
        return x

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arrays: Any) -> Any:
            # SciPy hands float64 to a function of float32
            plain = [
                np.asarray(a.detach() if hasattr(a, "detach") else a, dtype=p.dtype)
                for a, p in zip(arrays, case.params, strict=True)
            ]
            out = function(*plain)
            return tuple(asarray(o) for o in out) if isinstance(out, tuple) else asarray(out)

        return called

    return case._replace(grad=wrapped(case.grad)), wrapped(case.f)


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes that start in this block use one thread.

    The networks are small: on a shared machine two threads that wait for each other are slower than one. torch's slow
    mode took 0.36 s on one thread and 11 to 117 s on two.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)
