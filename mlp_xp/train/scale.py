"""The loss scale of float16: what is too small for its floats goes back through the network larger.

The gradient is linear in the loss: that of ``scale * loss``, divided by ``scale``, is the same, and fewer numbers on
its way are below 6e-8, where float16 ends. The scale is found as the run goes. It falls by half where a gradient is not
finite, and grows slowly where all are. It lives in the optimizer's state, on the device: nothing waits for it, a
compiled step takes it, and a run that goes on has it.

Before: ``optim`` has the optimizers. Next: ``step`` scales by the last array of the state; ``loop`` decides whether.
"""

from typing import Any

from mlp_xp._lib.namespace import namespace, scalar_like
from mlp_xp._lib.typing import Array, Params
from mlp_xp.optim import Optimizer, State, sum_of_squares

# The derivative of a cross-entropy by a logit is at most 1, and times this within float16, which ends at 65504.
_FIRST = 2.0**15
# Each good step: twice as much after 1000. A step in a thousand is lost where the scale is as large as it can be.
_GROWTH = 2.0**1e-3
# Gradients of 0 let the scale grow without end; times infinity they would be NaN.
_LARGEST = 2.0**60


def needs_loss_scale(dtype: Any, params: Params) -> bool:
    """Whether floats of ``dtype`` end before those of the parameters do: float16 does, bfloat16 does not."""
    own = params[0].dtype
    if dtype is None or dtype == own:
        return False
    xp = namespace(params[0])
    return float(xp.finfo(dtype).max) < 1e-3 * float(xp.finfo(own).max)


def with_loss_scale(optimizer: Optimizer) -> Optimizer:
    """``optimizer`` for gradients that may be infinite or NaN, since the loss was scaled; see above.

    Its state is that of ``optimizer``, then the scale, 0-d, or (k,) for k networks. A gradient that is not finite
    counts as 0, so that nothing but the optimizer's own memory moves the parameters.

    Args:
        optimizer: which is given finite gradients.

    Source: Micikevicius et al., Mixed precision training, 2018.
    """

    def init(params: Params) -> State:
        zero = params[1][..., 0]
        return *optimizer.init(params), namespace(zero).zeros_like(zero) + _FIRST

    def update(params: Params, grads: Params, state: State, lr: float | Array) -> tuple[Params, State]:
        *own, scale = state
        xp = namespace(scale)
        # a sum is finite where all its terms are, and reads each gradient once
        good = xp.isfinite(sum_of_squares(xp, grads, ensemble=scale.ndim > 0))
        masks = (good[(..., *(None,) * (g.ndim - good.ndim))] for g in grads)
        grads = tuple([xp.where(mask, g, xp.zeros_like(g)) for mask, g in zip(masks, grads, strict=True)])
        params, new = optimizer.update(params, grads, tuple(own), lr)
        half, more, most = (scalar_like(xp, value, scale) for value in (0.5, _GROWTH, _LARGEST))
        return params, (*new, xp.minimum(scale * xp.where(good, more, half), most))

    return Optimizer(init, update, f"{optimizer.name}, loss scale" if optimizer.name else "")
