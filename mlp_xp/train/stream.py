"""Data that comes in batches: an iterable that is gone through once an epoch, and each batch is one step.

Order and size of the batches belong to the iterable, such as a list, or a ``DataLoader`` of PyTorch.

Before: ``dataset`` has what is checked of rows. Next: ``loop`` makes a pass over a ``Stream``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, cast

from mlp_xp._lib.arguments import described
from mlp_xp._lib.namespace import device_kwargs, namespace
from mlp_xp._lib.typing import Array, Params
from mlp_xp.losses import Criterion
from mlp_xp.train.dataset import Dataset, check_finite, check_network, checked, validation_rows


class Stream:
    """Batches, ready to be learned from: ``begin`` starts a pass over them.

    batches: the iterable of pairs ``(X, y)``, or triples with sample weights.
    prepared: ``prepared(X, y, sample_weight, in_first)`` makes the ``Dataset`` of a batch, and raises for one that
        can't be learned from; ``in_first`` says whether the pass is the first.
    passes: how many passes have ended.
    rows: how many rows the last pass had.
    last: the last batch that was prepared.
    """

    def __init__(self, batches: Any, prepared: Callable[[Any, Any, Any, bool], Dataset]) -> None:
        self.batches, self.prepared = batches, prepared
        self.passes = self.rows = 0
        self.last: Dataset | None = None
        self._begun: Iterator[tuple[Any, Any, Any]] | None = None

    @property
    def length(self) -> int | None:
        """How many batches a pass has, where the iterable knows it."""
        try:
            return len(self.batches)
        except TypeError:  # a DataLoader has a length only where its data have one
            return None

    @property
    def weighted(self) -> bool:
        """Whether the batches have weights, after a first one."""
        return self.last is not None and self.last.weight is not None

    def first(self) -> tuple[Any, Any, Any]:
        """``(X, y, sample_weight)`` of the first batch as it came; the next pass begins with it."""
        triples = self.triples()
        first = next(triples)
        self._begun = chain([first], triples)
        return first

    def triples(self) -> Iterator[tuple[Any, Any, Any]]:
        """A pass over ``(X, y, sample_weight)`` as they come, None for no weights.

        Raises:
            ValueError, TypeError: there is no batch, or one is something else.
        """
        if self._begun is not None:
            begun, self._begun = self._begun, None
            yield from begun
            return
        number = 0
        for number, batch in enumerate(_in_order(self.batches), 1):
            if not isinstance(batch, (tuple, list)) or not 2 <= len(batch) <= 3:
                expected = "a pair (X, y), or a triple (X, y, sample_weight)"
                raise TypeError(f"batch {number} must be {expected}, got {described(batch)}")
            yield (*batch, None)[:3]
        if not number:
            where = f" in pass {self.passes + 1}; a list can be gone through again" if self.passes else ""
            raise ValueError(f"batches must hold at least one batch, got none{where}")

    @property
    def dtype(self) -> Any:
        """Of the inputs of the first batch, as the network takes them; None for a sparse matrix."""
        with of_batch(1):
            return self.prepared(*self.first(), self.passes == 0).dtype

    def begin(self) -> Iterator[Dataset]:
        """A pass; its first batch is read at once, so that ``weighted`` is known."""
        batches = self._pass()
        return chain([next(batches)], batches)

    def _pass(self) -> Iterator[Dataset]:
        rows = 0
        for number, triple in enumerate(self.triples(), 1):
            with of_batch(number):
                data = self.prepared(*triple, self.passes == 0)
                if (number > 1 or self.passes) and (data.weight is not None) != self.weighted:
                    came = "no weights after weights" if self.weighted else "weights after none"
                    raise ValueError(f"sample_weight must be in every batch or in none, got {came}")
            self.last = data
            rows += data.X.shape[0]
            yield data
        self.rows = rows
        self.passes += 1


def _in_order(batches: Any) -> Iterable[Any]:
    """The batches one by one; what has positions and a length alone, as data of PyTorch may, is indexed."""
    if hasattr(batches, "__iter__"):
        return cast(Iterable[Any], batches)
    return (batches[position] for position in range(len(batches)))


@contextmanager
def of_batch(number: int) -> Iterator[None]:
    """Let what is raised about a batch, in one sentence, begin with its number, from 1."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"batch {number}: {error}") from None


def check_batches(batches: Any, passes: int) -> None:
    """Raise unless ``batches`` may be an iterable of batches that can be gone through ``passes`` times."""
    indexed = hasattr(batches, "__getitem__") and hasattr(batches, "__len__")
    other = hasattr(batches, "shape") or isinstance(batches, (str, bytes, Mapping))
    if other or not (hasattr(batches, "__iter__") or indexed):
        raise TypeError(f"batches must be an iterable of pairs (X, y), got {described(batches)}")
    if hasattr(batches, "__next__") and passes > 1:
        again = "an iterable that can be gone through again, such as a DataLoader or a list"
        kind = type(batches).__name__
        raise ValueError(f"batches must be {again}, for {passes} passes, got a {kind}, which is used up after one")


def read_batches(
    batches: Any, params: Params, validation: Any, criterion: Criterion, passes: int
) -> tuple[Stream, Dataset | None]:
    """A stream whose batches are checked as they come, and the rows that are held out, if any.

    Values are looked at in the first pass alone, shapes and dtypes in each.

    Args:
        batches: see ``Stream``.
        params: of the network that is to learn from it.
        validation: rows ``(X, y)`` to hold out, or None.
        criterion: which knows what targets it takes.
        passes: how often the batches are gone through.
    """
    check_batches(batches, passes)
    check_network(params, _row_for(params) if params else cast(Array, None))  # who says first that there are none
    check_finite(namespace(*params), params)

    def prepared(X: Any, y: Any, weight: Any, in_first: bool) -> Dataset:
        return checked(Dataset(X, y, weight), params, criterion, values=in_first)

    held_out = None if validation is None else validation_rows(validation, params, criterion)
    return Stream(batches, prepared), held_out


def _row_for(params: Params) -> Array:
    """A row of zeros of the width that W1 takes, for the checks that look at a batch."""
    xp, weight = namespace(*params), params[0]
    return xp.full((1, weight.shape[-2] if weight.ndim > 1 else 1), 0.0, dtype=weight.dtype, **device_kwargs(weight))
