"""Situations of the cotangent: pullbacks that read its raw memory, right only where it is contiguous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from families_common import softmax
from gradient_cases import LEAST, Case
from gradient_damage import draw_damage

# name -> value(x, W), pullback(c, x, W, value) -> cotangents; x (n, p), W (p, q)
OPS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "affine": (lambda x, W: x @ W, lambda c, x, W, y: (c @ W.T, x.T @ c)),
    "tanh": (lambda x, W: np.tanh(x @ W), lambda c, x, W, y: _affine(c * (1.0 - y**2), x, W)),
    "exp": (lambda x, W: np.exp(x @ W), lambda c, x, W, y: _affine(c * y, x, W)),
    "square": (lambda x, W: (x @ W) ** 2, lambda c, x, W, y: _affine(2.0 * c * (x @ W), x, W)),
    "softmax": (
        lambda x, W: softmax(np, x @ W),
        lambda c, x, W, y: _affine(y * (c - np.sum(c * y, axis=1, keepdims=True)), x, W),
    ),
}


def _affine(dz: Any, x: Any, W: Any) -> tuple[Any, Any]:
    return dz @ W.T, x.T @ dz


def _flat_view(c: Any) -> Any:
    """``c.view(-1)`` of torch: an error unless c is contiguous."""
    if not c.flags.c_contiguous:
        raise ValueError("view size is not compatible with input tensor's size and stride")
    return c.reshape(c.shape)


# how a pullback reads memory: right for a contiguous cotangent
READS: dict[str, Callable[[Any], Any]] = {
    "in the order of memory": lambda c: c.ravel("K").reshape(c.shape),
    "in Fortran's order if it is so": lambda c: c.ravel("A").reshape(c.shape),
    "through a flat view": _flat_view,
}


def pullback(random: np.random.Generator, family: str, dtype: str, right: bool) -> Case | None:
    """An op on two arrays; wrong: its pullback reads raw memory, or its cotangents are damaged."""
    n, p, q = (int(k) for k in random.integers(2, 5, 3))
    name = str(random.choice(list(OPS)))
    value, pull = OPS[name]
    params = tuple(random.standard_normal(shape).astype(dtype) for shape in ((n, p), (p, q)))
    read = str(random.choice(list(READS))) if not right and random.random() < 0.7 else ""
    i = int(random.integers(0, 2))
    y = value(*params)
    g = pull(random.standard_normal(y.shape).astype(dtype), *params, y)[i]
    damage = None if right or read else draw_damage(random, g, np.ones(g.shape), 1e3 * LEAST[dtype])
    if not right and not read and damage is None:
        return None

    def op(x: Any, W: Any) -> tuple[Any, Callable[[Any], Any]]:
        y = value(x, W)

        def back(c: Any) -> tuple[Any, ...]:
            grads = pull(READS[read](c) if read else c, x, W, y)
            return grads if damage is None else (*grads[:i], damage.apply(grads[i]), *grads[i + 1 :])

        return y, back

    wrong = () if right else (0, 1) if read else (i,)
    note = f"{name}; reads c {read}" if read else f"{name}; {damage.name}" if damage else name
    return Case(op, None, params, ("x", "W"), "right" if right else "wrong", "numpy", wrong, note)
