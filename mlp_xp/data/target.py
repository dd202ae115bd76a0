"""The target of a table or of arrays: how it is read, and whether it is learned as classes or as numbers.

Before: ``columns`` says what a column holds. Next: ``recipe`` reads the targets so.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.data.cells import Cells, plain_text
from mlp_xp.data.columns import Held, Wanted, counts_rows, held_by, listed_names, mostly_distinct, read_as
from mlp_xp.data.encoding import Place
from mlp_xp.data.tally import Tally, counted, spellings
from mlp_xp.data.values import category_key, is_missing, numbers_in, without_unit

_FEW = 20  # up to so many different whole numbers are classes, however few rows there are, if one is there twice
_TOLD_APART = 2**53  # below it float64 holds each whole number
_LAST = 2**63 - 1  # of int64


class Answer(NamedTuple):
    """How the target is read.

    task, reason: what it is learned as, and why.
    labels: in their spelling; None for numbers.
    decimal, unit: of numbers.
    kinds: how many different targets there are; 0 for very many.
    note: a sentence about what is not plain; "" for nothing.
    """

    task: str
    reason: str
    labels: tuple[str, ...] | None
    decimal: str = ""
    unit: str = ""
    kinds: int = 0
    note: str = ""


def answer_of(where: str, target: str, tallies: Mapping[str, Tally], wanted: Wanted, decimal: str) -> Answer:
    """How the column ``target`` is learned.

    Raises:
        ValueError: for a target without a value, with dates, with texts that are mostly different, or not of the task.
    """
    tally, what = tallies[target], f"the target {target!r}"
    if tally.missing == tally.rows:
        raise ValueError(f"{where}: {what} must have a value, it is missing in all rows")
    others = [name for name in tallies if name != target and name not in wanted.drop]
    another = f"--target names another column, such as {listed_names(others).partition(' ')[2]}"
    forced = target in wanted.categories
    held = Held("text") if forced else held_by(where, target, tally, decimal)
    if held.kind == "date":
        raise ValueError(f"{where}: {what} holds dates, which can't be learned; {another}")
    if held.kind == "number":
        seen = _numbers_seen(tally, held.decimal or decimal, held.unit)
        first = plain_text(next(iter(seen))) if seen else ""
        fraction = tally.fraction if seen is None else next((each for each in seen if each != np.floor(each)), None)
        form = "i" if fraction is None else "f"
        found = _Targets(None if seen is None else len(seen), tally.known, form, first, fraction)
        task, reason = _task_of(what, found, wanted.task)
        _check(f"{where}: {what}", found, task, another, wanted.task is not None)
        counting = counts_rows(target, tally, held)
        if counting and wanted.target is None:
            raise ValueError(f"{where}: {what}, the last column, {counting}; {another}, or this one if it is meant")
        said = counting or read_as(tally, held).replace("--drop leaves it out", another)
        spelled = None if task == "regression" else _spelled(tally, seen)
        note = f"{what} {said}" if said else ""
        return Answer(task, reason, spelled, held.decimal, held.unit, found.kinds or 0, note)
    counts = counted(tally)
    rare = counts is None or mostly_distinct(counts)
    if rare and not (counts and (forced or wanted.task == "classification")):
        many = "too many different texts to be classes" if counts is None else (
            f"{len(counts):,} different texts in {counts.total():,} rows, most of them seen once or twice")  # fmt: skip
        learned = "" if counts is None else ", --task classification learns it all the same"
        raise ValueError(f"{where}: {what} holds {many}; {another}{learned}")
    labels = spellings(tally)
    first = next(iter(labels.values()))
    found = _Targets(len(labels), tally.rows - tally.missing, "U", first, None)
    task, reason = _task_of(what, found, wanted.task)
    _check(f"{where}: {what}", found, task, another, forced or wanted.task is not None)
    return Answer(task, reason, tuple(labels.values()), kinds=len(labels))


def _numbers_seen(tally: Tally, decimal: str, unit: str) -> list[float] | None:
    """The different numbers of a column, in the order in which they came; None if they are not kept."""
    if tally.values is None:
        return None
    texts = [value for value in tally.values if isinstance(value, str)]
    said = numbers_in(without_unit(texts, unit), decimal) if texts else np.zeros(0)
    others = (value for value in tally.values if not isinstance(value, str))
    return list(dict.fromkeys([*others, *said[~np.isnan(said)].tolist()]))


def _spelled(tally: Tally, seen: list[float] | None) -> tuple[str, ...] | None:
    """The spellings of whole numbers that the file does not write as such, as 1.0 or +1; None where it does."""
    labels = spellings(tally)
    plain = seen is not None and not tally.dashes and list(labels) == list(map(plain_text, seen))
    return tuple(labels.values()) if plain and any(key != label for key, label in labels.items()) else None


class _Targets(NamedTuple):
    """Targets, summed up: how many different ones in how many rows, texts (U), whole (i) or other numbers (f)."""

    kinds: int | None
    rows: int
    form: str
    first: Any
    fraction: float | None


def _task_of(what: str, y: _Targets, task: str | None) -> tuple[str, str]:
    """The task for targets, and the reason, as ``infer_task`` says."""
    kinds = "many" if y.kinds is None else f"{y.kinds:,}"
    if y.form == "U":
        found, why = "classification", f"{what} holds {kinds} different texts"
    elif y.form == "f":
        found, why = "regression", f"{what} holds numbers with fractions"
    elif y.kinds is not None and y.kinds <= max(_FEW, math.isqrt(y.rows)) and (y.kinds < y.rows or y.kinds < 2):
        found, why = "classification", f"{what} holds {kinds} different whole numbers"
    else:
        found, why = "regression", f"{what} holds {kinds} different numbers"
    return (found, why) if task is None else (task, f"{what}, as --task says")


def _check(what: str, y: _Targets, task: str, another: str = "", insists: bool = True) -> None:
    """Raise unless targets fit the task.

    Args:
        what: the name of the target in a sentence.
        y: the targets.
        task: "classification" or "regression".
        another: how to choose another target; "" for no way.
        insists: whether the user chose the task, even if no class is there twice.
    """
    cure = f"; {another}" if another else ""
    if task == "regression" and y.form == "U":
        raise ValueError(f"{what} must hold numbers for a regression, got {y.first!r}{cure}")
    if y.kinds is not None and y.kinds < 2:
        of = "classes" if task == "classification" else "values"
        times = f"in all {y.rows:,} rows" if y.rows > 1 else "in one row"
        raise ValueError(f"{what} must have at least 2 different {of}, got only {y.first} {times}{cure}")
    if task == "classification" and y.form == "f":
        kind, got = ("whole numbers", y.fraction) if y.fraction is not None else ("whole numbers below 2^53", y.first)
        raise ValueError(f"{what} must hold {kind} or texts for a classification, got {got}{cure}")
    if not insists and task == "classification" and y.kinds == y.rows:
        few = f"must have at least 2 rows of one class to hold some of them out, got {y.kinds:,} classes"
        raise ValueError(f"{what} {few} in {y.rows:,} rows{cure}")


def infer_task(what: str, y: NDArray[Any], task: str | None) -> tuple[str, str]:
    """The task for targets ``y`` (n,), and the reason.

    Args:
        what: the name of the target in a sentence.
        y: as ``tidy`` returns them.
        task: the task that the user wants; None to infer it.

    Raises:
        ValueError: for targets that don't fit the task, and for fewer than two different ones.
    """
    fraction = next(iter(y[y != np.floor(y)]), None) if y.dtype.kind == "f" else None
    found = _Targets(len(np.unique(y)), len(y), y.dtype.kind, y[0] if len(y) else "", fraction)
    task, reason = _task_of(what, found, task)
    _check(what, found, task)
    return task, reason


def tidy(where: str, y: NDArray[Any]) -> NDArray[Any]:
    """Targets (n,) as int64 if all are whole numbers, as float64 if they are other numbers, else as texts.

    Raises:
        ValueError: for complex numbers, NaN and infinities.
    """
    if y.dtype.kind == "c":
        raise ValueError(f"{where}: the target must be numbers or texts, got {y.dtype}")
    if y.dtype.kind not in "iuf":
        return np.asarray([str(value) for value in y])
    if y.dtype.kind in "iu":
        if y.max(initial=0) > _LAST:
            row = int(np.argmax(y > _LAST))
            raise ValueError(f"{where}: the target must be at most {_LAST}, got {y[row]} in row {row + 1}")
        return y.astype(np.int64)
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise ValueError(f"{where}: the target must be finite, got {y[row]} in row {row + 1}")
    whole = (y == np.floor(y)).all() and np.abs(y).max(initial=0) < _TOLD_APART
    return y.astype(np.int64 if whole else np.float64)


def as_labels(place: Place, y: NDArray[np.float64]) -> NDArray[np.int64]:
    fractions = y != np.floor(y)
    if fractions.any():
        row = int(np.argmax(fractions))
        raise ValueError(f"{place.cell(row)}, the target, must be a whole number, got {y[row]:g}")
    large = np.abs(y) >= _TOLD_APART
    if large.any():
        row = int(np.argmax(large))
        raise ValueError(
            f"{place.cell(row)}, the target, must be below 2^53 in size, from where on whole numbers are not told "
            f"apart, got {y[row]:.16g}: --category reads classes as texts"
        )
    return y.astype(np.int64)


def as_floats(where: str, y: NDArray[Any]) -> NDArray[np.float64]:
    if y.dtype.kind == "U":
        raise ValueError(f"{where}: the target must hold numbers for a regression, got {str(y[0])!r}")
    return y.astype(np.float64)


def spelled_as(cells: Cells, labels: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Labels in the spelling of the training, others as they are; and which rows have none."""
    cells = cells.as_texts()
    by_key: dict[str, str] = {}
    for label in labels:
        by_key.setdefault(category_key(label), label)
    spelled = [text if text in labels else by_key.get(category_key(text), text) for text in cells.texts]
    missing = is_missing(cells.texts) & ~np.isin(cells.texts, labels) if cells.texts else np.zeros(0, dtype=bool)
    return cells.by_row(np.asarray(spelled, dtype=str), ""), cells.by_row(missing, True)
