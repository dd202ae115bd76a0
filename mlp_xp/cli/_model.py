"""A model opened from its file: it reads data and predicts on any backend. Used by every command that takes a MODEL."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, Required, TypedDict

import numpy as np
from numpy.typing import NDArray

from mlp_xp._lib.arguments import check_whole
from mlp_xp._lib.namespace import is_numpy, to_host
from mlp_xp._lib.parts import check_type, parts_of
from mlp_xp._lib.wording import count_of, listed
from mlp_xp.backends import NARROW_DTYPES, Placement, load
from mlp_xp.data import Chunk, Source, open_data
from mlp_xp.data.cells import cells_of
from mlp_xp.data.files import title_of
from mlp_xp.data.recipe import Encoded, Recipe, plain_recipe, rows_at_a_time, scales_in
from mlp_xp.data.source import BY_LOOKING, Reading, no_rows
from mlp_xp.data.values import category_key, is_missing


class _Split(TypedDict):
    share: float
    seed: int
    digest: str


class _Refitted(TypedDict):
    rows: int
    epochs: int


class _Data(TypedDict, total=False):
    """What was learned from; all of it, but in models of older versions."""

    name: Required[str]
    rows: Required[int]
    trained: Required[int]
    validated: Required[int]
    tested: Required[int]
    left_out: dict[str, str]
    split: _Split
    folds: int
    refitted: _Refitted | None


class _Baseline(TypedDict):
    predicts: str | float | bool | None
    name: str
    value: float | None
    error: NotRequired[float | None]


class _Test(TypedDict):
    name: str
    value: float | None
    low: float | None
    high: float | None
    rows: int
    baseline: NotRequired[_Baseline]


class _Notes(TypedDict, total=False):
    """What ``train`` writes in a model of what belongs to it, as far as a command reads it."""

    recipe: dict[str, Any] | None
    data: _Data
    command: str
    versions: dict[str, str]
    test: _Test


class Model(NamedTuple):
    """A fitted estimator with what belongs to it.

    estimator: an ``MLPClassifier`` or ``MLPRegressor``.
    place: where it computes.
    recipe: how it reads data.
    header: what else its file says.
    """

    estimator: Any
    place: Placement
    recipe: Recipe
    header: dict[str, Any]

    @property
    def is_classifier(self) -> bool:
        """Whether it predicts labels."""
        return self.recipe.task == "classification"

    @property
    def score_name(self) -> str:
        """The name of the score on validation rows."""
        return self.estimator.scoring or ("accuracy" if self.is_classifier else "R^2")

    @property
    def classes(self) -> NDArray[Any]:
        """The labels, on the host."""
        return to_host(self.estimator.classes_)

    def put(self, X: NDArray[Any]) -> Any:
        """Rows that the recipe has read, where the model computes."""
        return self.place.put(np.ascontiguousarray(self.recipe.filled(X)))

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Labels, or numbers in units of the target, for rows that the recipe has read."""
        with np.errstate(over="ignore"):  # exp of a large logit
            host = to_host(self.estimator.predict(self.put(X)))
        return host if self.is_classifier else host.astype(np.float64)

    def predict_proba(self, X: NDArray[Any]) -> NDArray[Any]:
        """The probability of each class: (n, k)."""
        with np.errstate(over="ignore"):
            return to_host(self.estimator.predict_proba(self.put(X)))

    def spread(self, X: NDArray[Any], std: bool, levels: tuple[float, ...]) -> list[NDArray[Any]]:
        """What a regression says besides: the standard deviation if asked for, and a quantile for each level, (n,)."""
        said: list[Any] = [self.estimator.predict(self.put(X), return_std=True)[1]] if std else []
        if levels:
            quantiles = self.estimator.predict_quantiles(self.put(X), levels)
            said += [quantiles[:, position] for position in range(len(levels))]
        return [to_host(each).astype(np.float64) for each in said]

    def chunks(self, source: Source, rows: int | None = None, why: str = "") -> Iterator[tuple[Chunk, Encoded]]:
        """So many rows at a time, by default as many as hold a million numbers, as they are and as numbers.

        They come with targets if ``why`` says what these are for.

        Rows that the training would have dropped are not among the numbers: ``Encoded.kept`` has those that are.

        Raises:
            ValueError: when there are no rows, or targets are needed and there are none.
        """
        recipe, empty, dropped, labelled = self.recipe, True, 0, bool(why)
        dtype = str(to_host(self.estimator.coefs_[0]).dtype)
        if source.reading.decimal is not None:  # what is found in this file goes before what was found in training
            recipe = recipe._replace(reading=source.reading)
        if labelled and source.is_table and recipe.target and recipe.target not in (source.columns or ()):
            there = listed([repr(name) for name in source.columns or ()], _MOST_NAMED)
            raise ValueError(f"{source.where} must have the target, column {recipe.target!r}, {why}; it has {there}")
        for chunk in source.chunks(rows or rows_at_a_time(source)):
            encoded = recipe.rows(source.where, chunk, dropping=True, labelled=labelled)
            if labelled and encoded.y is None:
                raise ValueError(f"{source.where} must hold targets, {why}")
            check_range(source.where, recipe, encoded, dtype)
            empty = empty and not len(encoded.X)
            dropped += len(chunk.X) - len(encoded.X)
            yield chunk, encoded
        if empty and not dropped:
            raise no_rows(source.where)
        if empty and labelled:
            value = "a value" if recipe.missing == "drop" else f"a value of the target {recipe.target!r}"
            every = " in every column of the model" if recipe.missing == "drop" else ""
            raise ValueError(
                f"{source.where} must have a row with {value}{every}, got {count_of(dropped, 'row')} without"
            )

    def known(self, where: str, y: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Labels in the dtype of the classes; raise for one that is no class, in one of these ``rows`` of the data."""
        if (y.dtype.kind == "U") != (self.classes.dtype.kind == "U"):
            y = y.astype(self.classes.dtype)
        unknown = ~np.isin(y, self.classes)
        if unknown.any():
            known = ", ".join(map(str, self.classes[:8]))
            raise ValueError(
                f"{where}: row {rows[np.argmax(unknown)] + 1} must be of a class that the model knows, {known}, "
                f"got {y[unknown][0]}"
            )
        return y


class Counts:
    """How many rows of some data are not as those of the training were.

    unknown: column -> rows with a category that the training did not have.
    missing: column -> rows with a missing value that was filled in.
    dropped: rows without a target, or with a missing value that the training would have dropped.
    fate: what became of those.
    styles: column -> how one of its dates is read, where they are written in another style than in training.
    """

    def __init__(self, fate: str = "without a target or with a missing value left out") -> None:
        self.fate = fate
        self.unknown: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.dropped = 0
        self.styles: dict[str, str] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, recipe: Recipe, chunk: Chunk, encoded: Encoded) -> None:
        """Count some rows."""
        self.unknown.update(encoded.unknown)
        self.missing.update(encoded.missing)
        self.dropped += len(chunk.X) - len(encoded.X)
        self.styles = {**encoded.styles, **self.styles}
        for name in encoded.unknown:
            examples = self._examples.setdefault(name, [])
            if len(examples) < _MOST_EXAMPLES:
                more = (text for text in _unknown_texts(recipe, chunk, name) if text not in examples)
                examples.extend(islice(more, _MOST_EXAMPLES - len(examples)))

    def as_record(self) -> dict[str, Any]:
        """What there is of it, as JSON takes it."""
        found = {"unknown": dict(self.unknown), "missing": dict(self.missing), "dropped": self.dropped,
                 "styles": self.styles}  # fmt: skip
        return {name: each for name, each in found.items() if each}

    def __str__(self) -> str:
        """One sentence, without a full stop; "" where all rows are as those of the training."""
        parts = []
        if self.unknown:
            each = [
                f"{name!r} ({count_of(n, 'row')}: {_quoted(self._examples[name])})" for name, n in self.unknown.items()
            ]
            parts.append(f"categories that the training did not have are in {listed(each, _MOST_NAMED)}")
        if self.missing:
            each = [f"{name!r} ({count_of(n, 'row')})" for name, n in self.missing.items()]
            parts.append(f"missing values were filled in, in {listed(each, _MOST_NAMED)}")
        if self.dropped:
            parts.append(f"{count_of(self.dropped, 'row')} {self.fate}")
        if self.styles:
            each = [f"{name!r} ({said})" for name, said in self.styles.items()]
            parts.append(f"dates are written in another style than in training, in {listed(each, _MOST_NAMED)}")
        return "; ".join(parts)


_MOST_EXAMPLES, _MOST_NAMED = 3, 6


def _quoted(texts: list[str]) -> str:
    """The first texts of a column, more of which there may be."""
    shown = ", ".join(map(repr, texts[: _MOST_EXAMPLES - 1]))
    return f"{shown}, ..." if len(texts) == _MOST_EXAMPLES else shown


def _unknown_texts(recipe: Recipe, chunk: Chunk, name: str) -> list[str]:
    """The categories of a column that the training did not have, each once."""
    column = next(each for each in recipe.columns or () if each.name == name)
    cells = cells_of(name, chunk.X[name], recipe.reading.decimal or ".", recipe.reading.missing).as_texts()
    known = {category_key(each) for each in (*column.categories, *column.rare)}
    missing = is_missing(cells.texts)
    return [
        text for text, gone in zip(cells.texts, missing, strict=True) if not gone and category_key(text) not in known
    ]


def kept_in(dtype: str) -> str:
    """The dtype of data and parameters where a network computes in ``dtype``."""
    return "float32" if dtype in NARROW_DTYPES else dtype


def place_of(options: Mapping[str, Any]) -> Placement | None:
    """Where the options of a training say that data and parameters are; None where the backend is to be chosen.

    Raises:
        ValueError: for a backend that can't be used, or that does not compute in the dtype.
    """
    backend, dtype, device = options["backend"], options["dtype"], options["device"]
    if dtype in NARROW_DTYPES:
        if backend in ("auto", "numpy"):
            raise ValueError(f"--dtype {dtype} takes --backend torch, jax or cupy, which compute in it, got {backend}")
        load(backend, dtype, device)
    return None if backend == "auto" else load(backend, kept_in(dtype), device)


def open_model(path: str, backend: str = "numpy", device: str | None = None) -> Model:
    """The model in ``path``, on ``backend``, in the dtype in which it was trained."""
    from mlp_xp import estimators
    from mlp_xp.estimators.files import read_notes
    from mlp_xp.estimators.scaling import Scaling

    header = read_notes(path)
    estimator = estimators.load(path)
    place = load(backend, str(estimator.coefs_[0].dtype), device)
    if not is_numpy(place.xp):
        estimator = estimators.load(path, place.xp, place.device)
    with parts_of(path, "model"):
        check_type("notes", header["notes"], _Notes)
        baseline = header["notes"].get("test", {}).get("baseline")
        if baseline and baseline["name"] != "accuracy":
            check_type("notes.test.baseline.predicts", baseline["predicts"], float)
        for name in ("rows", "trained", "validated", "tested") if "data" in header["notes"] else ():
            check_whole(f"notes.data.{name}", header["notes"]["data"][name], int(name in ("rows", "trained")))
    if notes := header["notes"].get("recipe"):
        with parts_of(path, "model"):
            if notes["width"] != estimator.n_features_in_:
                raise ValueError(f"{notes['width']} inputs of the recipe, {estimator.n_features_in_} of the network")
            recipe, scales = Recipe.from_notes(notes), scales_in(notes)
            if (recipe.task == "classification") != hasattr(estimator, "classes_"):
                raise ValueError(f"a {recipe.task} of {type(estimator).__name__}")
        if scales:
            estimator.scaling_ = Scaling(*map(place.put, scales))
    else:
        task = "classification" if hasattr(estimator, "classes_") else "regression"
        recipe = plain_recipe(int(estimator.n_features_in_), task)
    if recipe.target is not None and recipe.labels is None and recipe.task == "classification":
        classes = to_host(estimator.classes_)
        if classes.dtype.kind == "U":  # recipes up to 0.1.0 hold no labels
            recipe = recipe._replace(labels=tuple(classes.tolist()))
    return Model(estimator, place, recipe, header)


def open_for(model: Model, data: str, reading: Reading = BY_LOOKING) -> Source:
    """The data called ``data``, or its test set if it has one; what ``reading`` leaves open is as in training."""
    source = open_data(data, reading, model.recipe.reading, model.recipe.orders)
    return source.test or source


def check_range(where: str, recipe: Recipe, encoded: Encoded, dtype: str) -> None:
    """Raise for a number that the dtype does not reach; that a file holds an infinity is refused before."""
    X, y, most = encoded.X, encoded.y, np.finfo(dtype).max
    if _reaches_beyond(X, most):
        row, place = np.argwhere(np.abs(X) > most)[0]
        names = [column.name for column in recipe.columns or () for _ in column.names]
        number = encoded.kept[row]
        cell = f"{where}: row {number + 1}, column {names[place]!r}" if names else f"{where}[{number}, {place}]"
    elif y is not None and y.dtype.kind == "f" and _reaches_beyond(y, most):
        cell = f"{where}: row {encoded.kept[np.argmax(np.abs(y) > most)] + 1}, the target"
        cell += f" {recipe.target!r}" if recipe.target else ""
    else:
        return
    reached = f"at most {most:.1e} in size, as far as {dtype} reaches"
    raise ValueError(f"{cell} must be {reached}: training with --dtype float64 reaches further")


def _reaches_beyond(values: NDArray[Any], most: Any) -> bool:
    """Whether a number is larger in size than ``most``, without a copy of all of them; NaN is not."""
    if not values.size:
        return False
    return bool(max(np.fmax.reduce(values, axis=None), -np.fmin.reduce(values, axis=None)) > most)


def digest(y: NDArray[Any]) -> str:
    """A fingerprint of targets; ``evaluate`` recognises the data of the training by it."""
    raw = "\n".join(y).encode() if y.dtype.kind == "U" else np.ascontiguousarray(y).tobytes()
    return f"{len(y)} {hashlib.sha256(raw).hexdigest()[:16]}"


def stem_of(data: str) -> str:
    """The name for files made from ``data``: that of its file or folder."""
    if Path(data).is_dir() or not data:
        return Path(data).resolve().stem if data not in ("", ".") else "model"
    return title_of(data)
