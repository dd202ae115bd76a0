"""A fitted estimator as one file, and back, on any backend: ``estimator.save(path)`` and ``load(path)``.

Arrays and header are those of ``_lib.files``: safetensors, a versioned header, no pickle. What is computed from a
loaded estimator is equal to rounding on every backend, and to the last bit on the one that saved it.
"""

from collections.abc import Mapping, Sequence
from inspect import isabstract
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp._lib import files
from mlp_xp._lib.arguments import check_library
from mlp_xp._lib.namespace import parameter_name, to_host
from mlp_xp._lib.typing import Params
from mlp_xp.backends.usable import device_named
from mlp_xp.estimators import targets
from mlp_xp.estimators.scaling import Scaling
from mlp_xp.ops import ACTIVATIONS
from mlp_xp.train import Record

_KIND = "model"

# Attributes that are numbers, strings, or lists of them.
_PLAIN = (
    "n_iter_", "t_", "loss_", "loss_curve_", "validation_losses_", "validation_scores_", "best_validation_score_",
    "best_loss_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "_kind",
    "_learned_by", "_sparse_labels", "_state_of", "_idle", "_falls",
)  # fmt: skip


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
    arrays = {"": estimator._params(), "best.": getattr(estimator, "_best", ()), "state.": estimator._state or ()}
    arrays["scaling."] = tuple(each for each in estimator.scaling_ or () if each is not None)
    named = {_name(prefix, i): array for prefix, each in arrays.items() for i, array in enumerate(each)}
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
        For an ``xp`` that is no array library.
    ValueError
        One sentence that begins with the path, for a file that can't be read, is truncated, damaged, newer, of another
        kind, or of another estimator.
    """
    library = check_library(xp)
    device = device_named(library, device)
    arrays, header = files.read(path, _KIND)

    def placed(prefix: str) -> Params:
        names = takewhile(arrays.__contains__, (_name(prefix, position) for position in count()))
        return tuple(library.asarray(arrays[name], device=device) for name in names)

    try:
        kind = _class_named(path, header["estimator"], expected)
        settings = {name: _restored(value) for name, value in header["settings"].items()}
        settings |= {name: tuple(settings[name]) for name in header.get("tuples", ())}
        estimator: Any = kind(**settings)
        vars(estimator).update(header["attributes"])
        names, classes = header["feature_names"], header.get("classes")
        estimator._history = tuple(map(_record, header["history"]))
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} must be a model of this version of mlp_xp, got one that lacks a part") from None
    estimator._learned(placed(""))
    estimator._state = placed("state.") or None
    estimator.scaling_ = Scaling(*scaling) if (scaling := placed("scaling.")) else None
    if best := placed("best."):
        estimator._best = best
    if names:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    if classes is not None:
        dtype = None if classes["dtype"] == "str" else np.dtype(classes["dtype"])
        estimator.classes_ = targets.placed(np.asarray(classes["values"], dtype=dtype), library, device)
    return estimator


def _record(numbers: Sequence[Any]) -> Record:
    """The record of a list, with those of the members of an ensemble."""
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
    return files.read(path, _KIND)[1]


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
