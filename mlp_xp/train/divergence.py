"""What is said of a run whose loss is no longer finite: in which step, and the likely cause.

Before: ``plan``. Next: ``loop`` raises ``Diverged`` with it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from mlp_xp._lib.namespace import detached, is_floating, namespace
from mlp_xp._lib.typing import Namespace, Params
from mlp_xp.train.dataset import Dataset, held_numbers, is_array, targets_of
from mlp_xp.train.epoch import Epoch, is_good
from mlp_xp.train.members import numbers, of_member
from mlp_xp.train.plan import Plan
from mlp_xp.train.settings import Settings, rows_of_step
from mlp_xp.train.step import Sums
from mlp_xp.train.stream import Stream

# Data and parameters beyond this are a likely cause of a loss that overflows: standardised ones are a few units large.
_LARGE = 1e3


def first_bad(xp: Namespace, sums: Sequence[Sums], failed: Sequence[bool]) -> list[int]:
    """For each network that failed the first step with a loss that is not finite, from 0; the number of steps where
    there is none, for then a parameter is not finite. -1 for the others.

    Args:
        sums: before the first step and after each.
        failed: which networks did.
    """
    losses = list(zip(*numbers(xp, *(each.objective for each in sums[1:])), strict=True))
    bad = ([not math.isfinite(loss) for loss in each] for each in losses)
    first = (each.index(True) if True in each else len(each) for each in bad)
    return [step if fails else -1 for step, fails in zip(first, failed, strict=True)]


def all_lost(here: Epoch, running: Sequence[bool]) -> bool:
    """Whether all networks that do not run any more have diverged."""
    return all(runs or not is_good(here.last.members[position]) for position, runs in enumerate(running))


def what_diverged(bad: Sequence[int], plan: Plan, here: Epoch, cause_of: Callable[[int, float | None], str]) -> str:
    """What to say of a run whose networks have all diverged: which step of the epoch after ``here``, and why.

    Args:
        bad: what ``first_bad`` returned.
        plan: of the epoch.
        here: where the epoch began.
        cause_of: the likely cause, from a network's number and its rate in the step before; None where there was none.
    """
    count, ensemble = len(plan.seeds), len(bad) > 1
    position = next(number for number, step in enumerate(bad) if step >= 0)
    step, last = bad[position], here.last if here.history else None
    of = f" of network {position}, the last of {len(bad)} to diverge," if ensemble else ""
    what = f"the loss{of} is not finite at step {step + 1} of {count} in epoch {plan.number}"
    if step == count:
        what = f"the parameters{of} are not finite at the end of epoch {plan.number}"
    if last is not None and ensemble:
        last = last.members[position]
    rates = [None if last is None else last.lr, *plan.rates[position]]  # the rate of the step before comes first
    return f"{what}: {cause_of(position, rates[step])}"


def cause(
    data: Dataset | Stream, settings: Settings, start: Params | Epoch, scaled: bool, position: int, rate: float | None
) -> str:
    """The likely cause of a loss that is not finite, in words: what is the most times larger than it usually is.

    Args:
        data: the rows to learn from, or batches that have been gone through.
        settings: of the run.
        start: where the run began; the parameters of an epoch may be large because it diverges.
        scaled: whether there is a loss scale.
        position: of the network.
        rate: of the last step; None where none was made.
    """
    if isinstance(data, Stream):  # of which there is the last batch
        data = cast(Dataset, data.last)
        rows = data.X.shape[0] * settings.accumulate
    else:
        rows = rows_of_step(data.n, settings)
    inputs, targets, params = map(_largest, ((data.X,), (data.y,), () if isinstance(start, Epoch) else start))
    suspects = [
        (inputs / _LARGE, f"the inputs reach {inputs:.1e}: standardise them"),
        (targets / _LARGE, f"the targets reach {targets:.1e}: scale the target"),
        (params / _LARGE, f"the parameters that it starts from reach {params:.1e}: start from smaller ones"),
    ]
    weight, (_, weights) = 1.0, targets_of(namespace(data.y), data, data.y)
    if weights is not None:
        weight = float(namespace(weights).mean(weights if weights.ndim == 1 else weights[position, :]))
    given: Any = {**settings.options, "alpha": settings.alpha}
    for name in ("l2", "l1", "alpha"):
        strength = full = float(of_member(given.get(name, 0.0), position))
        if name == "alpha":
            strength /= weight * rows
        # a step on l2/2 W^2 alone makes W larger where the rate is above 2 / l2
        if rate is None or rate * strength > 2.0:
            suspects.append((strength, f"the penalty {name}, {full:.3g}, is too large"))
    default = "no step was made yet: activation and criterion give no finite loss for these inputs and parameters"
    if rate is not None:
        default = f"the learning rate, {rate:.3g}, is too large; or clip the gradients with clip_norm"
        suspects.append((rate, default))
    size, cause = max(suspects, key=lambda suspect: suspect[0])
    further = "; bfloat16 and float32 reach further than float16" if scaled else ""
    return f"{cause if size > 1.0 else default}{further}"


def _largest(arrays: Sequence[Any]) -> float:
    """The largest magnitude among floating arrays, sparse matrices of scipy and sources; labels are not large."""
    largest = 0.0
    for array in detached(*arrays):
        for part in (array,) if is_array(array) else held_numbers(array):
            xp = namespace(part)
            if is_floating(xp, part.dtype) and math.prod(part.shape):  # a sparse matrix may hold none
                largest = max(largest, float(xp.max(part)), -float(xp.min(part)))
    return largest
