"""The members of an ensemble: k networks that learn in one run, each as it would alone.

What is read at the end of an epoch is a list with an entry for each network, one entry where there is only one. A
member that has ended is frozen: the steps go on for all, and at the end of an epoch its arrays are put back.

Before: ``epoch``. Next: ``evaluate`` and ``loop``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from mlp_xp._lib.arguments import shortened
from mlp_xp._lib.namespace import device_kwargs, is_numpy, to_host, wide_dtype
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.optim import State
from mlp_xp.train.dataset import all_finite
from mlp_xp.train.epoch import Record, ensemble_size, is_good


def for_each(name: str, value: Any, count: int | None, check: Callable[[str, Any], Any]) -> Any:
    """``value`` after its check; where it is a sequence, the tuple of its ``count`` values, one for each network.

    Raises:
        ValueError: for a sequence of another length, or any for one network.
    """
    if not isinstance(value, (list, tuple)) and len(getattr(value, "shape", ())) != 1:
        return check(name, value)
    values = list(value)
    if count is None or len(values) != count:
        expected = "one value for one network" if count is None else f"one value, or {count}, one for each network"
        raise ValueError(f"{name} must be {expected}, got {len(values)}: {shortened(values)}")
    return tuple([check(f"{name}[{position}]", each) for position, each in enumerate(values)])


def of_member(value: Any, number: int) -> Any:
    """What ``for_each`` returned, for one of the networks."""
    return value[number] if isinstance(value, tuple) else value


def strength_of(xp: Namespace, value: Any, like: Array) -> float | Array | None:
    """The strength of a penalty that ``for_each`` returned: a number, an array (k,), or None where there is none."""
    if isinstance(value, tuple):
        return xp.asarray(value, dtype=like.dtype, **device_kwargs(like)) if any(value) else None
    return value or None


def numbers(xp: Namespace, *arrays: Array) -> list[list[float]]:
    """Arrays of one shape, 0-d or (k,), on the host: for each a list with one number a network, in one transfer."""
    if is_numpy(xp):
        return [cast(Any, each).reshape(-1).tolist() for each in arrays]
    together = xp.reshape(xp.stack(list(arrays)), (len(arrays), -1))
    lists: list[list[float]] = to_host(xp.astype(together, wide_dtype(xp, together.dtype))).tolist()
    return lists


def finite(xp: Namespace, params: Params) -> list[bool]:
    """Whether all parameters of each network are finite."""
    if ensemble_size(params) is None:
        return [all_finite(xp, *params)]
    each = [xp.all(xp.isfinite(p), axis=tuple(range(1, p.ndim))) for p in params]
    answers: list[bool] = to_host(xp.all(xp.stack(each), axis=0)).tolist()
    return answers


def chosen(xp: Namespace, which: Sequence[bool], new: tuple[Array, ...], old: tuple[Array, ...]) -> tuple[Array, ...]:
    """The arrays of ``new`` for the networks that are chosen, those of ``old`` for the others.

    What networks share in ``new``, an array without axes, is there for each of them then.
    """
    alike = [a.ndim == b.ndim for a, b in zip(new, old, strict=True)]
    if not any(which) or not old:
        return old
    if all(which) and all(alike):
        return new
    mask = xp.asarray(list(which), **device_kwargs(old[0]))

    def merged(a: Array, b: Array) -> Array:
        return xp.where(mask[(..., *(None,) * (b.ndim - 1))], a, b)

    return tuple([a if all(which) and same else merged(a, b) for a, b, same in zip(new, old, alike, strict=True)])


class Shared(NamedTuple):
    """Which arrays of an optimizer's state the networks of an ensemble share, such as Adam's count of steps.

    Steps see such an array without axes. An epoch has it once for each network, for they end after different steps.

    size: how many networks; None for one, which shares nothing.
    arrays: for each array of the state whether it is shared.
    """

    size: int | None
    arrays: tuple[bool, ...]

    def for_epoch(self, xp: Namespace, state: State) -> State:
        """A state of the first step, with a leading axis everywhere."""
        times = cast(int, self.size)
        return tuple([xp.stack([a] * times) if shared else a for a, shared in zip(state, self.arrays, strict=True)])

    def for_steps(self, state: State, running: Sequence[bool]) -> State:
        """The state that steps take: what is shared is equal for all networks that are running."""
        first = running.index(True)
        return tuple([a[first, ...] if shared else a for a, shared in zip(state, self.arrays, strict=True)])


def shared_by(count: int | None, state: State) -> Shared:
    """What is shared of the state with which an optimizer begins.

    Raises:
        ValueError: for an array that is neither shared nor divided among the networks.
    """
    if count is None:
        return Shared(None, (False,) * len(state))
    for position, array in enumerate(state):
        if array.ndim and array.shape[0] != count:
            what = f"a leading axis of {count}, an entry for each network, or no axis"
            raise ValueError(f"array {position} of the optimizer's state must have {what}, got {tuple(array.shape)}")
    return Shared(count, tuple([not array.ndim for array in state]))


def mean_record(records: Sequence[Record]) -> Record:
    """The record of an ensemble, of the records of its members after the same pass; see ``Record``."""
    good = [each for each in records if is_good(each)]
    run = max(records, key=lambda each: each.number)  # of one that learned in this pass

    def mean(name: str) -> Any:
        values = [getattr(each, name) for each in good]
        return None if values[0] is None else math.fsum(values) / len(values)

    names = ("loss", "penalty", "val_loss", "val_score", "lr")
    return run._replace(members=tuple(records), **{name: mean(name) for name in names})
