"""A model from its file, ready to read data and to predict on any backend: for ``predict``, ``evaluate`` and others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp import backends
from mlp_xp._lib.typing import Params
from mlp_xp.cli._options import ROWS
from mlp_xp.data import Chunk, Source, open_data
from mlp_xp.data.recipe import Recipe, plain_recipe


class Model(NamedTuple):
    """A fitted estimator, where it computes, how it reads data, and what its file says besides."""

    path: str
    estimator: Any
    place: backends.Placement
    recipe: Recipe
    header: dict[str, Any]

    @property
    def is_classifier(self) -> bool:
        """Whether it tells classes apart."""
        return hasattr(self.estimator, "classes_")

    @property
    def classes(self) -> NDArray[Any]:
        """The labels, on the host."""
        return backends.to_host(self.estimator.classes_)

    def put(self, X: NDArray[Any]) -> Any:
        """Rows as the recipe makes them, standardised, where the model computes."""
        return self.place.put(np.ascontiguousarray(self.recipe.standardise(X)))

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Labels or numbers for rows as the recipe makes them."""
        with np.errstate(over="ignore"):  # of a sigmoid far out
            host = backends.to_host(self.estimator.predict(self.put(X)))
        return host if self.is_classifier else self.recipe.unscale(host.astype(np.float64))

    def predict_proba(self, X: NDArray[Any]) -> NDArray[Any]:
        """A probability for each class."""
        with np.errstate(over="ignore"):
            return backends.to_host(self.estimator.predict_proba(self.put(X)))

    def chunks(self, source: Source, rows: int | None = ROWS, labelled: bool = False) -> Iterator[tuple[Any, Any]]:
        """X as the recipe makes it, and the targets if they are wanted, so many rows at a time."""
        for chunk in source.chunks(rows):
            yield self.recipe.rows(source.where, chunk, dropping=labelled, labelled=labelled)

    def known(self, where: str, y: NDArray[Any]) -> NDArray[Any]:
        """Labels in the classes' own kind; raise for one that is none of them."""
        if (y.dtype.kind == "U") != (self.classes.dtype.kind == "U"):
            y = y.astype(self.classes.dtype)
        unknown = ~np.isin(y, self.classes)
        if unknown.any():
            known = ", ".join(map(str, self.classes[:8]))
            raise ValueError(
                f"{where}: row {int(np.argmax(unknown)) + 1} must be of a class that the model knows, {known}, "
                f"got {y[unknown][0]}"
            )
        return y

    def raw_params(self) -> Params:
        """W1, b1, W2, ... in float64 on the host of the network that takes rows that are not standardised.

        ``((x - m) / s) @ W + b = x @ (W / s) + (b - (m / s) @ W)``, and the scale of a target likewise.
        """
        params: list[Any] = [backends.to_host(p).astype(np.float64) for p in self.estimator._params()]
        recipe = self.recipe
        if recipe.mean:
            mean, scale = np.asarray(recipe.mean), np.asarray(recipe.scale)
            params[1] = params[1] - (np.broadcast_to(mean / scale, len(params[0])) @ params[0])
            params[0] = params[0] / np.broadcast_to(scale, len(params[0]))[:, None]
        if recipe.task == "regression":
            params[-2], params[-1] = params[-2] * recipe.y_scale, params[-1] * recipe.y_scale + recipe.y_mean
        return tuple(params)


def open_model(path: str, backend: str = "numpy", device: str | None = None) -> Model:
    """The model in ``path``, on ``backend``, in the dtype in which it was trained."""
    from mlp_xp import estimators
    from mlp_xp.estimators.files import read_notes

    header = read_notes(path)
    estimator = estimators.load(path)
    place = backends.load(backend, str(estimator.coefs_[0].dtype), device)
    if place.xp.__name__ != "array_api_compat.numpy":
        estimator = estimators.load(path, place.xp, place.device)
    notes = header["notes"].get("recipe")
    width = int(estimator.n_features_in_)
    task = "classification" if hasattr(estimator, "classes_") else "regression"
    recipe = plain_recipe(width, task) if notes is None else Recipe.from_notes(notes)
    return Model(str(path), estimator, place, recipe, header)


def open_for(model: Model, data: str) -> Source:
    """The data called ``data`` as the model reads it, its categories as text; the test set, if it has one."""
    columns = model.recipe.columns or ()
    text = [column.name for column in columns if column.categories is not None]
    if model.recipe.target is not None and model.is_classifier and model.classes.dtype.kind == "U":
        text.append(model.recipe.target)
    source = open_data(data, text)
    if model.recipe.columns is not None and not source.is_table:
        raise ValueError(f"{source.where} must be a table with the columns that the model was trained on, got arrays")
    return source.test or source


def digest(y: NDArray[Any]) -> str:
    """Of targets, by which data is known again."""
    raw = "\n".join(y).encode() if y.dtype.kind == "U" else np.ascontiguousarray(y).tobytes()
    return f"{len(y)} {hashlib.sha256(raw).hexdigest()[:16]}"


def refuse_no_rows(source: Source) -> None:
    """For a source whose chunks were none."""
    raise ValueError(f"{source.where} must have at least one row, got none")


def stem_of(data: str) -> str:
    """What results are called that are made of ``data``."""
    return Path(data.removeprefix("openml:")).resolve().stem if data not in ("", ".") else "model"


def first_chunk(source: Source) -> Chunk:
    """All rows."""
    chunk = next(source.chunks(None), None)
    if chunk is None or len(chunk.X) == 0:
        refuse_no_rows(source)
    assert chunk is not None
    return chunk
