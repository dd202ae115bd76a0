"""How a model turns rows into numbers: columns, categories and target, kept in the file of the model.

A ``Recipe`` is learned from all rows of a source and applied to these and all later ones: rows -> X (n, d_in).

Before: ``columns`` decides what each column holds. Next: ``cli`` saves a recipe with each model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.arguments import one_of
from mlp_xp._lib.parts import check_type
from mlp_xp._lib.wording import count_of, listed
from mlp_xp.data.cells import cells_of
from mlp_xp.data.columns import Decision, Wanted, decide, listed_names
from mlp_xp.data.encoding import CYCLES, Column, Manner, Place, check_named, encode_into, numbers_of
from mlp_xp.data.piecewise import edges_of, filled_bins, names_of
from mlp_xp.data.source import Chunk, Reading, Source, no_rows
from mlp_xp.data.tally import Tally, look
from mlp_xp.data.target import Answer, answer_of, as_floats, as_labels, infer_task, spelled_as, tidy

__all__ = [
    "About", "Encoded", "Learned", "Recipe", "Wanted", "infer_task", "learn", "plain_recipe", "read",
    "rows_at_a_time", "scales_in", "survey", "tidy",
]  # fmt: skip

ROWS = 2**16
"""Rows to look at or to encode at a time, fewer where there are many columns."""

_CELLS = 2**20  # to look at or to encode at a time
_VALUES = 2_000_000  # different values to keep, of all columns together


class Encoded(NamedTuple):
    """Rows as numbers.

    X: (n, d_in), NaN where ``Recipe.filled`` fills in.
    y: the targets (n,); None where there are none, or they are not wanted.
    kept: the number of each row in the data, from 0.
    unknown: column -> in how many rows it has a category that the training did not have.
    missing: column -> in how many rows a missing value is filled in.
    styles: column -> how one of its dates is read, where they are written in another style than in training.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    kept: NDArray[np.int64]
    unknown: dict[str, int]
    missing: dict[str, int]
    styles: Mapping[str, str] = {}


class Recipe(NamedTuple):
    """How rows become numbers.

    task: "classification" or "regression".
    target: the name of the target column; None for arrays.
    columns: the columns of a table, as ``Column`` has them; None for arrays.
    names: names of the columns of X that ``filled`` returns; empty where they have none.
    width: the number of columns of X that ``filled`` returns.
    missing: what to do with a missing value: "auto" fills in the median and says so in a column of its own, "refuse"
        refuses it, "drop" drops its row, "fill" fills in the mean.
    fill: that median or mean of each column of X; empty with the others, and before ``learn_fill``.
    image_shape: (height, width) when the columns are pixels.
    unknown: what to do with a category that the training did not have: "level" takes it for one of its own, "refuse".
    labels: the classes in the spelling of the training; None for numbers.
    target_decimal: the decimal mark of the target; "" for that of the file.
    reading: how files are read that don't say it themselves.
    numbers: "plain", or "piecewise" for bins between quantiles.
    bins: their edges for each column of X that ``rows`` returns, () for one without; empty before ``learn_fill``.
    target_unit: what stands behind the numbers of the target, such as "kg"; "" for nothing.
    given: the names of all columns of the data, in its order; empty for arrays and for models up to 0.1.0.
    """

    task: str
    target: str | None
    columns: tuple[Any, ...] | None
    names: tuple[str, ...]
    width: int
    missing: str = "refuse"
    fill: tuple[float, ...] = ()
    image_shape: tuple[int, int] | None = None
    unknown: str = "refuse"
    labels: tuple[str, ...] | None = None
    target_decimal: str = ""
    reading: Reading = Reading()
    numbers: str = "plain"
    bins: tuple[tuple[float, ...], ...] = ()
    target_unit: str = ""
    given: tuple[str, ...] = ()

    @property
    def orders(self) -> tuple[tuple[str, ...], ...]:
        """The names of the columns of data that does not name them: as in training, and without the target."""
        return self.given, tuple(name for name in self.given if name != self.target)

    def rows(
        self, where: str, chunk: Chunk, dropping: bool = False, labelled: bool = True, dtype: Any = np.float64
    ) -> Encoded:
        """Some rows as numbers.

        Args:
            where: the name of the data in an error.
            chunk: rows of the source.
            dropping: whether rows with missing values may be dropped; a prediction needs every row.
            labelled: whether the targets are wanted.
            dtype: of X.

        Raises:
            ValueError: for other columns than those learned from, and for a missing value that is to be refused.
        """
        if self.columns is None:
            return self._arrays(where, chunk, labelled, dtype)
        if isinstance(chunk.X, np.ndarray):
            raise ValueError(f"{where} must be a table with the columns that the model was trained on, got arrays")
        frame, y = chunk.X, None
        kept = np.arange(chunk.first, chunk.first + len(frame))
        if labelled and self.target is not None:
            y, absent = self._targets(where, frame, kept, dropping)
            if absent.any():
                frame, kept, y = frame[~absent], kept[~absent], y[~absent]
        raw = [name for column in self.columns for name in column.names]
        X = np.empty((len(frame), len(raw)), dtype=dtype)
        found = encode_into(X, where, self.columns, frame, kept, self._manner)
        if self.missing in ("refuse", "drop") and (gone := np.isnan(X).any(axis=1)).any():
            if self.missing == "refuse" or not dropping:
                self._refuse_missing(where, X, kept)
            X, kept, y = X[~gone], kept[~gone], None if y is None else y[~gone]
            found = {name: each._replace(missing=0) for name, each in found.items()}
        unknown = {name: each.unknown for name, each in found.items() if each.unknown}
        missing = {name: each.missing for name, each in found.items() if each.missing}
        styles = {name: each.style for name, each in found.items() if each.style}
        return Encoded(X, y, kept, unknown, missing, styles)

    @property
    def raw_width(self) -> int:
        """The number of columns of X that ``rows`` returns."""
        return self.width if self.columns is None else sum(len(column.names) for column in self.columns)

    @property
    def _manner(self) -> Manner:
        return Manner(self.reading.decimal or ".", self.reading.missing, self.unknown)

    def _arrays(self, where: str, chunk: Chunk, labelled: bool, dtype: Any) -> Encoded:
        if not isinstance(chunk.X, np.ndarray):
            raise ValueError(f"{where} must hold arrays, as what the model was trained on did, got a table")
        if chunk.X.shape[1] != self.width:
            raise ValueError(f"{where} must have rows of {self.width} numbers, got {chunk.X.shape[1]}")
        y = None
        if labelled and chunk.y is not None:
            y = tidy(where, chunk.y)
            y = y if self.task == "classification" else as_floats(where, y)
        return Encoded(chunk.X.astype(dtype), y, np.arange(chunk.first, chunk.first + len(chunk.X)), {}, {})

    def _refuse_missing(self, where: str, X: NDArray[Any], kept: NDArray[np.int64]) -> None:
        row, position = np.argwhere(np.isnan(X))[0]
        names = [column.name for column in self.columns or () for _ in column.names]
        times = count_of(int(np.isnan(X[:, position]).sum()), "row")
        missing = f"row {kept[row] + 1}, column {names[position]!r} is missing (in {times} of this column)"
        remedy = "train with --missing auto takes it for a value of its own, --missing fill puts the mean there"
        raise ValueError(f"{where}: {missing}; {remedy}, --missing drop leaves such rows out")

    def _targets(
        self, where: str, frame: Any, rows: NDArray[np.int64], dropping: bool
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The targets (n,) as float64, int64 or texts, and which of them are missing."""
        assert self.target is not None
        check_named("the target", where, frame.columns, self.target)
        place, manner = Place(where, self.target, rows), self._manner
        decimal = self.target_decimal or manner.decimal
        cells = cells_of(f"{where}: the target {self.target!r}", frame[self.target], decimal, manner.missing)
        if self.labels is None:
            numbers = numbers_of(place, cells, decimal, self.target_unit)
            y: NDArray[Any] = numbers.copy()  # a view would keep the data frame alive
            absent = np.isnan(y)
            if self.task == "classification":
                y = as_labels(place, np.where(absent, 0.0, y))
        else:
            y, absent = spelled_as(cells, self.labels)
        if absent.any() and not (self.missing == "auto" or (dropping and self.missing == "drop")):
            cell = place.cell(int(np.argmax(absent)))
            raise ValueError(f"{cell}, the target, is missing; train with --missing drop leaves such rows out")
        return y, absent

    def learn_fill(self, X: NDArray[Any]) -> Self:
        """The recipe with all that is learned from training rows: what is filled in, and the edges of bins.

        Args:
            X: these rows as ``rows`` returns them: (n, d_in).
        """
        recipe = self
        if self.missing == "fill":
            recipe = self._replace(fill=tuple(np.nan_to_num(np.nanmean(X, axis=0, dtype=float)).tolist()))
        elif self.missing == "auto" and self.columns is not None:
            of_numbers = [column.categories is None for column in self.columns for _ in column.names]
            fill = (_median(X[:, place]) if wanted else 0.0 for place, wanted in enumerate(of_numbers))
            recipe = self._replace(fill=tuple(fill))
        return recipe if self.numbers == "plain" or self.image_shape else recipe._learn_bins(X)

    def _learn_bins(self, X: NDArray[Any]) -> Self:
        bins = tuple(edges_of(X[:, place]) for place in range(X.shape[1]))
        if self.columns is None:
            raw = self.names if len(self.names) == len(bins) else ()
        else:
            raw = tuple(name for column in self.columns for name in column.names)
        names = (each for name, edges in zip(raw, bins, strict=False) for each in names_of(name, edges) or (name,))
        width = sum(max(len(edges) - 1, 1) for edges in bins)
        return self._replace(bins=bins, names=tuple(names), width=width)

    def filled(self, X: NDArray[Any]) -> NDArray[Any]:
        """X as a model takes it: what is learned in place of a missing value, and numbers in bins if that is wanted.

        X itself where nothing is to be done.
        """
        if self.fill and np.isnan(X.max(initial=0.0)):  # a copy of a large X may be too much
            X = np.where(np.isnan(X), np.asarray(self.fill, dtype=X.dtype), X)
        if not any(self.bins):
            return X
        parts = (
            filled_bins(X[:, place], edges) if edges else X[:, place, None] for place, edges in enumerate(self.bins)
        )
        return np.concatenate(list(parts), axis=1)

    def as_notes(self) -> dict[str, Any]:
        """The recipe as numbers, strings, lists and dicts."""
        columns = None if self.columns is None else [list(column) for column in self.columns]
        return {**self._asdict(), "columns": columns, "reading": self.reading._asdict()}

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Self:
        """The recipe of which ``as_notes`` made these notes; what they say besides is of ``scales_in``.

        Raises:
            KeyError, TypeError, ValueError: a part is missing or of another type.
        """
        known = {key: _as_tuples(each) for key, each in notes.items()}
        if known.get("missing") == "fill" and "fill" not in known:
            known["fill"] = known.get("mean") or (0.0,) * known["width"]
        if known.get("columns") is not None:
            known["columns"] = tuple(Column(*column) for column in known["columns"])
        if "reading" in known:
            known["reading"] = Reading(**{key: _as_tuples(each) for key, each in known["reading"].items()})
        recipe = cls(**{key: each for key, each in known.items() if key in cls._fields})
        check_type("recipe", recipe, cls)
        check_type("columns", recipe.columns, tuple[Column, ...] | None)
        recipe._check_fits()
        return recipe

    def _check_fits(self) -> None:
        """Raise for words that stand for nothing, and for parts of other lengths than the columns that they are of."""
        words = {"task": ("classification", "regression"), "missing": ("auto", "refuse", "drop", "fill"),
                 "unknown": ("level", "refuse"), "numbers": ("plain", "piecewise")}  # fmt: skip
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be {one_of(allowed, getattr(self, name))}")
        raw = self.raw_width if self.columns is not None or not self.bins else len(self.bins)
        made = sum(max(len(edges) - 1, 1) for edges in self.bins) if self.bins else raw
        if made != self.width or {len(self.bins), len(self.fill)} - {0, raw}:
            raise ValueError(f"columns that become {made} numbers, of which {self.width} are wanted")
        for column in self.columns or ():
            if column.kind not in ("", "truth", "date") or {*column.parts} - {*CYCLES}:
                raise ValueError(f"column {column.name!r} can't be a {column.kind!r} of {column.parts}")


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(each) for each in value) if isinstance(value, list) else value


def _median(x: NDArray[Any]) -> float:
    """The median of the numbers that are there; 0 if there are none."""
    known = x[~np.isnan(x)]
    return float(np.median(known)) if len(known) else 0.0


def scales_in(notes: Mapping[str, Any]) -> tuple[NDArray[Any], ...] | None:
    """Mean and scale of X, (width,), and those of y, (1,), which the recipes of models up to 0.1.0 held; else None."""
    if not notes.get("scale"):
        return None
    ofs = [np.broadcast_to(np.asarray(notes[key], dtype=float), (notes["width"],)) for key in ("mean", "scale")]
    if notes["task"] != "regression":
        return tuple(ofs)
    return *ofs, np.asarray([notes["y_mean"]]), np.asarray([notes["y_scale"]])


def plain_recipe(width: int, task: str) -> Recipe:
    """The recipe of a model that was trained without one: rows are taken as they are."""
    return Recipe(task, None, None, (), width)


# --- reading -----------------------------------------------------------------------------------------------------


def read(source: Source, recipe: Recipe, dtype: Any = np.float64, into: NDArray[Any] | None = None) -> Encoded:
    """All rows of a source as numbers, in one array that grows as the rows are read.

    Args:
        source: the rows; with targets, if the recipe has any. How its text is read goes before what the recipe says.
        recipe: how they become numbers.
        dtype: of X.
        into: an array with room for all rows, of which X is a part then.

    Raises:
        ValueError: as ``Recipe.rows`` does, and when there are no rows.

    >>> from mlp_xp.data import open_data
    >>> iris = open_data("iris")
    >>> read(iris, learn(iris, Wanted()).recipe, np.float32).X.shape
    (150, 4)
    """
    if source.reading.decimal is not None:
        recipe = recipe._replace(reading=source.reading)
    X: NDArray[Any] = np.empty((0, 0), dtype=dtype) if into is None else into
    parts: list[Encoded] = []
    low = high = 0
    for chunk in source.chunks(rows_at_a_time(source)):
        part = recipe.rows(source.where, chunk, dropping=True, dtype=dtype)
        low, high = high, high + len(part.X)
        if into is None:  # the system moves a large array to a larger place without copying it
            X.resize((high, part.X.shape[1]), refcheck=False)
        elif high > len(into):
            raise ValueError(f"{source.where} must not change while it is read: it has more rows than a moment ago")
        X[low:high] = part.X
        parts.append(part._replace(X=part.X[:0].copy()))  # not the rows, which are in X
    if not parts:
        raise no_rows(source.where)
    X = X if into is None else into[:high]
    targets = [part.y for part in parts if part.y is not None]
    y = np.concatenate(targets) if targets else None
    kept = np.concatenate([part.kept for part in parts])
    return Encoded(X, y, kept, _summed(part.unknown for part in parts), _summed(part.missing for part in parts))


def _summed(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, times in each.items():
            total[name] = total.get(name, 0) + times
    return total


def rows_at_a_time(source: Source) -> int:
    """How many rows are looked at or encoded at a time, so that what they take does not depend on their width."""
    return max(1, min(ROWS, _CELLS // max(len(source.columns or range(784)), 1)))


# --- learning ----------------------------------------------------------------------------------------------------


class About(NamedTuple):
    """What a column of the data is taken for.

    name: the column.
    taken_for: "number", "true or false", "date", "3 categories", "target: 2 classes", "left out".
    values: how many rows have a value.
    distinct: how many different values there are; None for more than are counted.
    missing: how many rows have none.
    becomes: the number of columns of X.
    why: why it is left out, or how it is read; "" if that is plain.
    """

    name: str
    taken_for: str
    values: int
    distinct: int | None
    missing: int
    becomes: int
    why: str


class Learned(NamedTuple):
    """What is learned from the data.

    recipe: how rows become numbers.
    reason: why the task is what it is.
    notes: sentences about what was found.
    columns: what each column is taken for, in the order of the data; empty for arrays.
    rows: how many rows there are.
    """

    recipe: Recipe
    reason: str
    notes: tuple[str, ...]
    columns: tuple[About, ...]
    rows: int


def learn(source: Source, wanted: Wanted) -> Learned:
    """The recipe of a source, from one pass over all of its rows; what is filled in is still to be learned.

    Args:
        source: where the rows are from.
        wanted: what the user says about them.

    Raises:
        ValueError: for columns that do not exist, a target that can't be learned, and text among numbers.
    """
    return _learn_table(source, wanted) if source.is_table else _learn_arrays(source, wanted)


def _learn_arrays(source: Source, wanted: Wanted) -> Learned:
    where = source.where
    if wanted.target is not None or wanted.drop or wanted.categories:
        raise ValueError(f"--target, --drop and --category name columns of a table, {where} has none")
    targets, width = [], 0
    for chunk in source.chunks(rows_at_a_time(source)):
        if chunk.y is None:
            raise ValueError(f"{where} must hold y beside X to be trained on")
        width = chunk.X.shape[1]
        targets.append(chunk.y)
    if not targets:
        raise no_rows(where)
    y = tidy(where, np.concatenate(targets))
    task, reason = infer_task("the target", y, wanted.task)
    names = source.columns or ()
    recipe = Recipe(task, None, None, names, width, wanted.missing, image_shape=source.image_shape)
    return Learned(recipe._replace(numbers=wanted.numbers), reason, (), (), len(y))


def _learn_table(source: Source, wanted: Wanted) -> Learned:
    where, names = source.where, tuple(map(str, source.columns or ()))
    if len(names) < 2:
        only = f"got {names[0]!r} alone; --sep says what stands between columns" if names else "got none"
        raise ValueError(f"{where} must have a column besides the target, {only}")
    last = next((name for name in names[::-1] if name not in wanted.drop), names[-1])
    target = wanted.target or source.target or last
    for option, chosen in (("the target", (target,)), ("--drop", wanted.drop), ("--category", wanted.categories)):
        for name in chosen:
            check_named(option, where, names, name)
    if target in wanted.drop:
        raise ValueError(
            f"{where}: the target {target!r} can't be left out: without --drop {target!r}, or with another --target"
        )
    tallies, decimal = survey(source, target), source.reading.decimal or "."
    rows = tallies[target].rows
    answer = answer_of(where, target, tallies, wanted, decimal)
    decisions = {
        name: Decision("nothing", None, "--drop says so")
        if name in wanted.drop
        else decide(where, name, tallies[name], wanted, decimal)
        for name in names
        if name != target
    }
    columns = tuple(each.column for each in decisions.values() if each.column is not None)
    if not columns:
        left = "; ".join(f"{name!r} {each.why.partition(';')[0]}" for name, each in decisions.items() if each.why)
        raise ValueError(
            f"{where} must have a column besides the target {target!r}, got none with a value to learn from"
            f"{f' ({left})' if left else ''}"
        )
    made = tuple(name for column in columns for name in column.names)
    given = source.reading
    recipe = Recipe(
        answer.task, target, columns, made, len(made), wanted.missing, unknown=wanted.unknown, labels=answer.labels,
        target_decimal=answer.decimal, target_unit=answer.unit, numbers=wanted.numbers,
        reading=Reading(given.separator, given.decimal, header=given.header, missing=given.missing), given=names,
    )  # fmt: skip
    abouts = tuple(_about(name, tallies[name], decisions.get(name), answer) for name in names)
    notes = (answer.note, *_notes(decisions, wanted), *_missing_note(decisions, abouts, target, wanted))
    return Learned(recipe, answer.reason, tuple(filter(None, notes)), abouts, rows)


def survey(source: Source, target: str | None = None) -> dict[str, Tally]:
    """The tally of each column of a table, from one pass over all of its rows; that of the target keeps spellings.

    Raises:
        ValueError: for a table without rows.
    """
    names = tuple(map(str, source.columns or ()))
    tallies = dict.fromkeys(names, Tally())
    limit = max(1000, min(10_000, _VALUES // max(len(names), 1)))
    decimal, missing = source.reading.decimal or ".", source.reading.missing
    for chunk in source.chunks(rows_at_a_time(source)):
        for position, name in enumerate(names):
            where, column = f"{source.where}: column {name!r}", chunk.X.iloc[:, position]
            cells = cells_of(where, column, decimal, missing, spelled=name == target)
            tallies[name] = look(tallies[name], cells, decimal, limit)
    if not names or not tallies[names[0]].rows:
        raise no_rows(source.where)
    return tallies


def _about(name: str, tally: Tally, decision: Decision | None, answer: Answer) -> About:
    numeric = answer.labels is None if decision is None else decision.kind in ("number", "date")
    missing = tally.missing + (tally.dashes if numeric else 0)
    counts = (tally.rows - missing, tally.distinct_numbers if numeric else tally.distinct, missing)
    if decision is None:
        taken_for = f"target: {answer.kinds:,} classes" if answer.task == "classification" else "target: number"
        return About(name, taken_for, *counts, 0, answer.reason)
    if decision.column is None:
        return About(name, "left out", *counts, 0, decision.why)
    many = len(decision.column.categories or ()) + len(decision.column.rare)
    named = {"truth": "true or false", "categories": f"{many:,} categor{'y' if many == 1 else 'ies'}"}
    return About(name, named.get(decision.kind, decision.kind), *counts, len(decision.column.names), decision.why)


def _notes(decisions: Mapping[str, Decision], wanted: Wanted) -> list[str]:
    """A sentence for all columns of which the same is to be said."""
    same: dict[tuple[bool, str], list[str]] = {}
    for name, each in decisions.items():
        if each.why and name not in wanted.drop and each.kind != "truth":
            why = each.why.replace(repr(name), "NAME") if "--category" in each.why else each.why
            same.setdefault((each.column is None, why), []).append(name)
    notes = []
    for (left_out, why), names in same.items():
        what, _, remedy = why.replace("NAME", repr(names[0])).partition("; ")
        if len(names) > 1:
            what = what.replace("holds", "hold").replace("is ", "are ").replace("counts", "count")
        notes.append(f"{listed_names(names)} {what}{': left out' if left_out else ''}{f'; {remedy}' if remedy else ''}")
    return notes


def _missing_note(
    decisions: Mapping[str, Decision], abouts: tuple[About, ...], target: str, wanted: Wanted
) -> list[str]:
    """One sentence about all missing values."""
    if wanted.missing != "auto":
        return []
    used = [each for each in abouts if each.missing and each.becomes]
    lost = next(each.missing for each in abouts if each.name == target)
    said = []
    if used:
        shown = listed([f"{each.name!r} ({count_of(each.missing, 'row')})" for each in used], 4)
        kinds = {decisions[each.name].kind == "categories" for each in used}
        numbers = "numbers get the median and a column that says so" if False in kinds else ""
        levels = f"categories {'' if numbers else 'get '}a level of their own" if True in kinds else ""
        said.append(f"values are missing in {shown}: {', '.join(filter(None, (numbers, levels)))}")
    if lost:
        said.append(f"{count_of(lost, 'row')} without a target {'are' if lost > 1 else 'is'} dropped")
    return [f"{'; '.join(said)}; --missing decides otherwise"] if said else []
