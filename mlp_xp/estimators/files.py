"""A fitted estimator as one file, and back, on any backend: ``estimator.save(path)`` and ``load(path)``.

Arrays and header are those of ``_lib.files``: safetensors, a versioned header, no pickle. What is computed from a
loaded estimator is equal to rounding on every backend, and to the last bit on the one that saved it.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import isabstract
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from mlp_xp._lib import files
from mlp_xp._lib.arguments import check_library, check_path, described
from mlp_xp._lib.files import HostArray
from mlp_xp._lib.namespace import parameter_name, to_host
from mlp_xp._lib.parts import check_type, parts_of
from mlp_xp._lib.typing import Array, Params
from mlp_xp.backends.usable import device_named
from mlp_xp.estimators import targets
from mlp_xp.estimators.scaling import Scaling
from mlp_xp.ops import ACTIVATIONS
from mlp_xp.train import Record

_KIND = "model"

_PLAIN: dict[str, Any] = {
    "n_iter_": int, "t_": int, "loss_": float, "loss_curve_": list[float], "validation_losses_": list[float],
    "validation_scores_": list[float] | None, "best_validation_score_": float | None, "best_loss_": float | None,
    "n_layers_": int, "n_outputs_": int, "n_features_in_": int,
    "out_activation_": Literal["softmax", "logistic", "identity", "exp"],
    "_kind": Literal["binary", "multiclass", "multilabel-indicator", "soft"],
    "_learned_by": list[Any], "_sparse_labels": bool, "_state_of": str, "_idle": int, "_falls": int,
}  # fmt: skip
"""Attributes that are numbers, strings, or lists of them -> their types."""


_ARRAYS = ("", "best.", "state.", "scaling.")
"""Beginnings of the names of the arrays: parameters, the best of them, the optimizer's state, the scaling."""


class _Classes(TypedDict):
    dtype: str
    values: list[Any]


class Header(TypedDict):
    """What a model's file holds beside its arrays.

    estimator: the name of its class.
    settings: its parameters.
    tuples: the names of those that are tuples.
    attributes: those of ``_PLAIN``.
    history: the records of the epochs as lists.
    feature_names: those of the columns of X; empty where they have none.
    notes: what else belongs to the model.
    classes: the labels of a classifier, and their dtype.
    """

    estimator: str
    settings: dict[str, Any]
    tuples: NotRequired[list[str]]
    attributes: dict[str, Any]
    history: list[list[Any]]
    feature_names: list[str]
    notes: dict[str, Any]
    classes: NotRequired[_Classes]


_CLASSES: dict[str, type] = {}
"""The classes that a file may name; those of this package have their plain name, others that of their module too."""


def register(kind: type) -> None:
    """Let ``load`` construct estimators of this class."""
    _CLASSES[_name_of(kind)] = kind


def _name_of(kind: type) -> str:
    return kind.__name__ if kind.__module__.startswith(f"{__package__}.") else f"{kind.__module__}.{kind.__qualname__}"


def _class_named(path: str | Path, name: str, expected: type | None) -> type:
    """The class that a file names: only classes that were registered are ever constructed.

    A plain name is enough where one class has it: older files and scripts (``__main__``) give no other.

    Raises:
        ValueError: for an unknown class, or one that is neither ``expected`` nor a subclass of it.
    """
    known = {key: kind for key, kind in _CLASSES.items() if not isabstract(kind)}
    plain = name.removeprefix("__main__.")
    kinds = [known[name]] if name in known else [kind for kind in known.values() if kind.__qualname__ == plain]
    if expected in kinds:
        return expected
    if len(kinds) != 1:
        expectation = f"{path} must be a model of {' or '.join(known)}"
        raise ValueError(f"{expectation}, got one of {name}: import the module that defines it first")
    if expected is not None and not issubclass(kinds[0], expected):
        raise ValueError(f"{path} must be a model of {expected.__name__}, got one of {kinds[0].__name__}")
    return kinds[0]


def save(estimator: Any, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write a fitted estimator to a safetensors file, whole or not at all.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    path : str or Path
        The file; an older one is replaced.
    notes : dict, default=None
        What else belongs to the model, as numbers, strings, lists and dicts; ``read_notes`` returns it.
    """
    check_path("path", path)
    parameters = estimator.get_params(deep=False).items()
    header: dict[str, Any] = {
        "estimator": _name_of(type(estimator)),
        "settings": {name: plain(name, value) for name, value in parameters if name != "compile"},
        "tuples": [name for name, value in parameters if isinstance(value, tuple)],  # which JSON calls lists
        "attributes": {name: getattr(estimator, name) for name in _PLAIN if hasattr(estimator, name)},
        "history": [list(record) for record in estimator._history],
        "feature_names": [str(name) for name in getattr(estimator, "feature_names_in_", ())],
        "notes": dict(notes or {}),
    }
    if hasattr(estimator, "classes_"):
        classes = np.asarray(to_host(estimator.classes_))
        dtype = classes.dtype.str if classes.dtype.kind in "biuf" else "str"
        header["classes"] = {"dtype": dtype, "values": classes.tolist()}
    scaling = tuple(each for each in estimator.scaling_ or () if each is not None)
    arrays = (estimator._params(), getattr(estimator, "_best", ()), estimator._state or (), scaling)
    named = {
        _name(prefix, i): array for prefix, each in zip(_ARRAYS, arrays, strict=True) for i, array in enumerate(each)
    }
    files.write(path, _KIND, named, header)


def load(path: str | Path, xp: Any = np, device: Any = None, expected: type | None = None) -> Any:
    """Read an estimator from a file that ``save`` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    xp : module, default=numpy
        The array library to compute in.
    device : str or device of the library, default=None
        Where to compute; None is the library's own choice.
    expected : type, default=None
        The class that the estimator must be of.

    Returns
    -------
    estimator : MLPClassifier or MLPRegressor
        The fitted estimator. A subclass of these can be read once the module that defines it is imported.

    Raises
    ------
    TypeError
        For an ``xp`` that is no array library, or a path that is none.
    ValueError
        One sentence that begins with the path, for a file that can't be read, is truncated, damaged, newer, of another
        kind, or of another estimator.
    """
    check_path("path", path)
    library = check_library(xp)
    if expected is not None and not isinstance(expected, type):
        raise TypeError(f"expected must be a class of estimators, got {described(expected)}")
    device = device_named(library, device)
    arrays, header = files.read(path, _KIND)

    def placed(prefix: str, put: Callable[[Any], Array]) -> Params:
        names = takewhile(arrays.__contains__, (_name(prefix, position) for position in count()))
        return tuple([put(arrays[name]) for name in names])

    def learned(put: Callable[[Any], Array]) -> None:
        estimator._learned(placed("", put))
        estimator.scaling_ = Scaling(*scaling) if (scaling := placed("scaling.", put)) else None

    with parts_of(path, _KIND):
        check_type("header", header, Header)
        estimator = _restored_from(header, _class_named(path, header["estimator"], expected))
        known = {_name(prefix, n) for prefix in _ARRAYS for n in range(len(placed(prefix, np.asarray)))}
        if unused := arrays.keys() - known:
            raise ValueError(f"an array {min(unused)!r} that follows no other")
        learned(np.asarray)
        _check_predicts(estimator)
        if header["feature_names"]:
            estimator.feature_names_in_ = np.asarray(header["feature_names"], dtype=object)

    def put(array: HostArray) -> Array:
        made: Array = library.asarray(array, device=device)
        return made

    learned(put)
    estimator._state = placed("state.", put) or None
    if best := placed("best.", put):
        estimator._best = best
    if hasattr(estimator, "classes_"):
        estimator.classes_ = targets.placed(estimator.classes_, library, device)
    return estimator


def _restored_from(header: Mapping[str, Any], kind: type) -> Any:
    """The estimator of which a header tells, without its arrays."""
    settings = {name: _restored(value) for name, value in header["settings"].items()}
    settings |= {name: tuple(settings[name]) for name in header.get("tuples", ())}
    estimator: Any = kind(**settings)
    estimator._validate_params()
    for name, wanted in _PLAIN.items():
        if name in header["attributes"]:
            check_type(name, header["attributes"][name], wanted)
            setattr(estimator, name, header["attributes"][name])
    estimator._history = tuple(map(_record, header["history"]))
    check_type("history", estimator._history, tuple[Record, ...])
    if classes := header.get("classes"):
        labels = np.asarray(classes["values"], dtype=None if classes["dtype"] == "str" else np.dtype(classes["dtype"]))
        if labels.ndim != 1 or labels.dtype.kind not in "biufU":
            raise TypeError(f"the classes can't be {labels.dtype} of shape {labels.shape}")
        estimator.classes_ = labels
    return estimator


def _check_predicts(estimator: Any) -> None:
    """Raise for a network that can't predict a row, or not one number for each class: its parts do not fit."""
    params, widths = estimator._params(), estimator.n_features_in_
    row = np.zeros((1, widths), dtype=params[0].dtype) if params[0].shape[-2] == widths else None
    if row is None or len(params) != 2 * (estimator.n_layers_ - 1) or params[-1].shape[-1] != estimator.n_outputs_:
        raise ValueError(f"parameters of other shapes than a network of {estimator.n_layers_} layers has")
    with np.errstate(all="ignore"):
        estimator.predict(row)
        if hasattr(estimator, "predict_proba"):
            told = estimator.predict_proba(row).shape[-1]
            if told != len(estimator.classes_):
                raise ValueError(f"{len(estimator.classes_)} classes for {told} probabilities")


def _record(numbers: Sequence[Any]) -> Record:
    """The record of a list, with those of the members of an ensemble."""
    if len(numbers) not in (8, 9):
        raise TypeError(f"a record can't be {described(numbers)}")
    return Record._make([*numbers[:8], tuple(map(_record, numbers[8] if len(numbers) > 8 else ()))])


def _name(prefix: str, position: int) -> str:
    """The name of an array in the file."""
    return f"{prefix}{position if prefix in ('state.', 'scaling.') else parameter_name(position)}"


def read_notes(path: str | Path) -> dict[str, Any]:
    """Read the header of a file, without its arrays.

    Parameters
    ----------
    path : str or Path
        A file that ``save`` wrote.

    Returns
    -------
    header : dict
        ``notes`` as they were given to ``save``, and what was written of the estimator: its class, parameters
        (``settings``), attributes and history.
    """
    _, header = files.read(path, _KIND)
    with parts_of(path, _KIND):
        check_type("header", header, Header)
    return header


def plain(name: str, value: Any) -> Any:
    """A parameter as JSON has it.

    Raises:
        TypeError: for what is no part of a file, such as a function.
    """
    if isinstance(value, list | tuple):
        return [plain(name, entry) for entry in value]
    if isinstance(value, Mapping):
        return {"pairs": [[plain(name, key), plain(name, entry)] for key, entry in value.items()]}
    if isinstance(value, np.generic | np.ndarray):
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
    """The parameter of which ``plain`` made ``value``."""
    return dict(value["pairs"]) if isinstance(value, dict) else value
