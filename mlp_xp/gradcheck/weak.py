"""Weak probes: points at which a mistake could hide, called out beside the verdict and never part of it.

Before: ``check`` has compared the gradient at the point. Next: ``report``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mlp_xp._namespace import namespace
from mlp_xp._typing import Array, Namespace


def weaknesses(names: Sequence[str], point: Sequence[Array], gradients: Sequence[Array]) -> Iterator[str]:
    """A sentence for every condition of the arrays and their gradients under which a bug could hide."""
    for name, x, gradient in zip(names, point, gradients, strict=True):
        xp = namespace(x)
        if not math.prod(x.shape):
            continue
        if x.ndim == 2:
            yield from _of_a_matrix(xp, name, x)
        size = xp.abs(gradient)
        if float(xp.max(size)) == 0.0:
            yield f"the gradient of {name} is zero everywhere: a wrong one may be zero there too"
        elif gradient.ndim == 2:
            yield from _of_its_gradient(xp, name, gradient, size)


def _of_a_matrix(xp: Namespace, name: str, x: Array) -> Iterator[str]:
    rows, columns = x.shape
    if float(xp.max(xp.abs(x))) == 0.0:
        yield f"{name} is all zeros: nothing flows back through it, and mistakes upstream of it don't show"
    elif columns > 1 and bool(xp.all(x == x[:, :1])):
        yield f"all columns of {name} are equal: a mix-up between its units doesn't show"
    elif rows > 1 and bool(xp.all(x == x[:1, :])):
        yield f"all rows of {name} are equal: a mix-up between its inputs doesn't show"
    elif rows == columns > 1 and bool(xp.all(x == xp.matrix_transpose(x))):
        yield f"{name} equals its transpose: a transposition that is forgotten, or too much, doesn't show"


def _of_its_gradient(xp: Namespace, name: str, gradient: Array, size: Array) -> Iterator[str]:
    largest = xp.max(size)
    # a share of the gradient that is lost in its own rounding once squared: nothing along it is checked
    nothing = math.sqrt(xp.finfo(gradient.dtype).eps) * largest
    for axis, of, why in ((0, "columns", "dead or saturated units"), (1, "rows", "dead units or inputs before it")):
        lines = xp.max(size, axis=axis) <= nothing
        count = int(xp.sum(xp.astype(lines, xp.int32)))
        if count:
            yield (
                f"{count:,} of {lines.shape[0]:,} {of} of the gradient of {name} are zero or nearly so, {why}: "
                "what flows through them is not checked"
            )
    if min(gradient.shape) > 1:
        place = int(xp.argmax(xp.reshape(size, (-1,)), axis=0))
        row, column = divmod(place, gradient.shape[1])
        outer = gradient[:, column][:, None] * (gradient[row, :] / gradient[row, column])[None, :]
        if bool(xp.all(xp.abs(gradient - outer) <= nothing)):
            yield f"the gradient of {name} has rank one, as for a batch of one row: sums over a batch are not checked"
