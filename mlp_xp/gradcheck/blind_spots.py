"""Blind spots of a point: properties of the arrays and their gradients behind which a mistake could hide.

Before: ``evidence``. Next: ``report`` shows the sentences beside the verdict.
"""

import math
from collections.abc import Iterator

from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.gradcheck.arrays import how_many, largest
from mlp_xp.gradcheck.evidence import Evidence, LocalGradient, Probe


def blind_spots(evidence: Evidence) -> Iterator[str]:
    """A sentence for every property of the arrays and their gradients behind which a mistake could hide."""
    here = evidence.here
    for leaf, (name, x) in enumerate(zip(here.flat.names, here.local.point, strict=True)):
        gradient = here.gradient[leaf]
        xp = namespace(x)
        if not math.prod(x.shape):
            continue
        if x.ndim == 2:
            yield from _of_a_matrix(xp, name, x)
        if largest(xp, gradient) == 0.0:
            yield f"the gradient of {name} is zero everywhere: a wrong one may be zero there too"
        # at a kink a gradient changes from point to point, too
        elif is_rounding(here, leaf) and not any(map(_has_a_kink, evidence.found[leaf].here)):
            yield f"the gradient of {name} is zero here, to rounding: weight the outputs, whose sum cancels"
        elif gradient.ndim == 2:
            yield from _of_its_gradient(xp, name, gradient)


# A gradient that changes by this share of itself between points a few units in the last place apart is rounding.
_ALL_ROUNDING = 0.1


def is_rounding(here: LocalGradient, leaf: int) -> bool:
    """Whether the gradient of array ``leaf`` is nothing but rounding: its true value is zero, as far as is known.

    Such is that of a sum over the outputs of batch norm, or of softmax: the sum does not change.
    """
    gradient = here.gradient[leaf]
    xp = namespace(gradient)
    scatter = max((largest(xp, neighbour[leaf] - gradient) for neighbour in here.neighbours), default=0.0)
    return scatter > _ALL_ROUNDING * largest(xp, gradient)


def _has_a_kink(probe: Probe) -> bool:
    return probe.tied or probe.kink > _ALL_ROUNDING * probe.scale


def _of_a_matrix(xp: Namespace, name: str, x: Array) -> Iterator[str]:
    rows, columns = x.shape
    if largest(xp, x) == 0.0:
        yield f"{name} is all zeros: nothing flows back through it, and mistakes upstream of it don't show"
    elif columns > 1 and bool(xp.all(x == x[:, :1])):
        yield f"all columns of {name} are equal: a mix-up between its units doesn't show"
    elif rows > 1 and bool(xp.all(x == x[:1, :])):
        yield f"all rows of {name} are equal: a mix-up between its inputs doesn't show"
    elif rows == columns > 1 and bool(xp.all(x == xp.matrix_transpose(x))):
        yield f"{name} equals its transpose: a transposition that is forgotten, or too much, doesn't show"


def _of_its_gradient(xp: Namespace, name: str, gradient: Array) -> Iterator[str]:
    size = xp.abs(gradient)
    # entries this small are lost in the rounding of the largest once squared: nothing along them is checked
    nothing = math.sqrt(xp.finfo(gradient.dtype).eps) * xp.max(size)
    for axis, lines, why in ((0, "columns", "dead or saturated units"), (1, "rows", "dead units or inputs before it")):
        zero = xp.max(size, axis=axis) <= nothing
        if count := how_many(xp, zero):
            yield (
                f"{count:,} of {zero.shape[0]:,} {lines} of the gradient of {name} are zero or nearly so, {why}: "
                "what flows through them is not checked"
            )
    if min(gradient.shape) > 1:
        row, column = divmod(int(xp.argmax(xp.reshape(size, (-1,)), axis=0)), gradient.shape[1])
        outer = gradient[:, column][:, None] * (gradient[row, :] / gradient[row, column])[None, :]
        if bool(xp.all(xp.abs(gradient - outer) <= nothing)):
            yield f"the gradient of {name} has rank one, as for a batch of one row: sums over a batch are not checked"
