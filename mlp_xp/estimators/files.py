"""A fitted estimator as one file, and back, on any backend: ``estimator.save(path)`` and ``load(path)``.

Arrays and header are those of ``_lib.files``: safetensors, a versioned header, no pickle. What is computed from a
loaded estimator is equal to rounding on every backend, and to the last bit on the one that saved it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp._lib import files
from mlp_xp._lib.namespace import namespace, parameter_name, to_host
from mlp_xp.ops import ACTIVATIONS
from mlp_xp.train import Record

_KIND = "model"

# Attributes that are numbers, strings, or lists of them.
_PLAIN = (
    "n_iter_", "t_", "loss_", "loss_curve_", "validation_losses_", "validation_scores_", "best_validation_score_",
    "best_loss_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "_kind",
    "_sparse_labels", "_state_of",
)  # fmt: skip


def save(estimator: Any, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write a fitted estimator to ``path``, whole or not at all.

    Args:
        estimator: fitted.
        path: the file.
        notes: whatever else belongs to the model, as numbers, strings, lists and dicts; ``read_notes`` gives it back.
    """
    settings = {
        name: plain(name, value) for name, value in estimator.get_params(deep=False).items() if name != "compile"
    }
    arrays = {parameter_name(position): array for position, array in enumerate(estimator._params())}
    if estimator._state is not None:
        arrays |= {f"state.{position}": array for position, array in enumerate(estimator._state)}
    arrays |= {f"best.{parameter_name(i)}": array for i, array in enumerate(getattr(estimator, "_best", ()))}
    header: dict[str, Any] = {
        "estimator": type(estimator).__name__,
        "settings": settings,
        "attributes": {name: getattr(estimator, name) for name in _PLAIN if hasattr(estimator, name)},
        "history": [list(record) for record in estimator._history],
        "feature_names": [str(name) for name in getattr(estimator, "feature_names_in_", ())],
        "notes": dict(notes or {}),
    }
    if hasattr(estimator, "classes_"):
        classes = np.asarray(to_host(estimator.classes_))
        header["classes"] = {
            "dtype": classes.dtype.str if classes.dtype.kind in "biuf" else "str",
            "values": classes.tolist(),
        }
    files.write(path, _KIND, arrays, header)


def load(path: str | Path, xp: Any = np, device: Any = None, expected: type | None = None) -> Any:
    """The estimator in the file ``path``.

    Args:
        path: from ``save``.
        xp: the array library that it is to compute in, as a module.
        device: of that library.
        expected: the class that it must be of.

    Raises:
        ValueError: one sentence that begins with the path, for a file that can't be read, is truncated, damaged, newer,
            of another kind, or of another estimator.
    """
    from mlp_xp import estimators

    arrays, header = files.read(path, _KIND)
    try:
        kind = getattr(estimators, header["estimator"])
        if expected is not None and kind is not expected:
            raise ValueError(f"{path} must be a model of {expected.__name__}, got one of {kind.__name__}")
        estimator = kind(**{name: _restored(value) for name, value in header["settings"].items()})
        vars(estimator).update(header["attributes"])
        names, classes = header["feature_names"], header.get("classes")
        history = tuple(Record(*record) for record in header["history"])
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} must be a model of this version of mlp_xp, got one that lacks a part") from None
    library = namespace(xp.empty(0))
    placed = {name: library.asarray(array, device=device) for name, array in arrays.items()}
    estimator._learned(tuple(placed[parameter_name(i)] for i in range(2 * (estimator.n_layers_ - 1))))
    states = sum(name.startswith("state.") for name in placed)
    estimator._state = tuple(placed[f"state.{i}"] for i in range(states)) if states else None
    if "best.W1" in placed:
        estimator._best = tuple(placed[f"best.{parameter_name(i)}"] for i in range(len(estimator._params())))
    estimator._history = history
    if names:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    if classes is not None:
        dtype = classes["dtype"]
        estimator._restore_classes(np.asarray(classes["values"], dtype=None if dtype == "str" else np.dtype(dtype)))
        if dtype != "str" and library is not namespace(np.empty(0)):
            estimator.classes_ = library.asarray(estimator.classes_, device=device)
    return estimator


def read_notes(path: str | Path) -> dict[str, Any]:
    """What ``save`` was given as ``notes``, and what it wrote of the estimator: settings, attributes, history."""
    _, header = files.read(path, _KIND)
    return header


def plain(name: str, value: Any) -> Any:
    """A setting as JSON has it, or a sentence."""
    if isinstance(value, list | tuple):
        return [plain(name, entry) for entry in value]
    if isinstance(value, Mapping):
        return {"pairs": [[plain(name, key), plain(name, entry)] for key, entry in value.items()]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    own: Any = getattr(value, "record", None)
    if own in ACTIVATIONS.values():
        return own.name
    if name == "random_state" and not isinstance(value, int | None):
        return None  # a generator: what it would draw next is no part of the model
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(
        f"{name} can't be saved, it is {type(value).__name__}, not a name or a number; set_params({name}=...) first: "
        "what was learned stays"
    )


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(value["pairs"])
    return value
