"""How a run goes: the settings, and what stays the same from its first epoch to its last.

Before: ``step`` and ``members``. Next: ``plan`` plans an epoch, ``loop`` runs it.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias

from mlp_xp._lib.typing import Params
from mlp_xp.mlp import TrainOptions
from mlp_xp.optim import Optimizer
from mlp_xp.ranks import ALONE, Ranks
from mlp_xp.schedules import Schedule
from mlp_xp.train.dataset import Dataset
from mlp_xp.train.epoch import Epoch, Record
from mlp_xp.train.members import Shared
from mlp_xp.train.step import Exchange, Step, Transform
from mlp_xp.train.stream import Stream

Score: TypeAlias = Callable[[Params], float] | Literal["loss"]
"""``score(params)``, higher is better; or "loss": there is no score, and the loss on the validation set is watched."""


class Settings(NamedTuple):
    """How a run goes: what ``train`` takes by keyword, see there; and in place of ``patience`` and ``tol``:

    score: may also be a sequence of functions, one for each network.
    watch: the number of a record that is to fall; the best epoch is the one where it was lowest.
    stop: ``stop(watched)``, whether a network ends after epochs with these numbers; None where none does.
    """

    epochs: int
    optimizer: Optimizer
    lr: float | Schedule | Sequence[float | Schedule]
    batch_size: int = 128
    shuffle: bool = True
    seed: int = 0
    score: Score | Sequence[Score] | None = None
    stop: Callable[[Sequence[float]], bool] | None = None
    watch: Callable[[Record], float] = attrgetter("watched")
    alpha: float | Sequence[float] = 0.0
    clip_norm: float | None = None
    callbacks: Sequence[Callable[[Epoch], object]] = ()
    order: Callable[[int], Any] | None = None
    compile: Callable[[Any], Any] | bool | None = None
    options: TrainOptions = TrainOptions()
    accumulate: int = 1
    max_norm: float | None = None
    transform: Transform | None = None
    ranks: Ranks = ALONE


def steps_in(n: int, settings: Settings) -> int:
    """How many steps an epoch on ``n`` rows has."""
    return -(-n // rows_of_step(n, settings))


def rows_of_step(n: int, settings: Settings) -> int:
    """How many of ``n`` rows the first step of an epoch takes."""
    return min(n, settings.batch_size * settings.accumulate)


class Run(NamedTuple):
    """What stays the same from epoch to epoch.

    data, held_out, settings: see ``run``.
    counts: how many rows each rank learns from; of batches, [0].
    weighted: whether rows have weights; None where the batches will say it.
    shared: what the networks share of the state.
    step: of the run.
    exchange: what ranks tell each other.
    cause_of: see ``what_diverged``.
    began: when training began, by the clock of ``time.perf_counter``.
    """

    data: Dataset | Stream
    held_out: Dataset | Sequence[Dataset] | None
    settings: Settings
    counts: list[int]
    weighted: bool | None
    shared: Shared
    step: Step
    exchange: Exchange
    cause_of: Callable[[int, float | None], str]
    began: float
