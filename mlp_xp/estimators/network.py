"""The network of an estimator: its initial values, its options, what it computes, and its ways to files and devices.

Before: ``data`` checks what comes in. Next: ``curves`` and ``base`` learn.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, Self, cast

import numpy as np  # the library of a loaded estimator, unless another is named
from array_api_compat import to_device
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from mlp_xp._lib.arguments import check_params
from mlp_xp._lib.namespace import Placement, namespace, placement_of
from mlp_xp._lib.typing import Array, Params
from mlp_xp.estimators import files
from mlp_xp.estimators.data import check_X, in_chunks, is_device_array
from mlp_xp.export import to_onnx
from mlp_xp.mlp import TrainOptions, predict
from mlp_xp.ops import activations_of
from mlp_xp.parameters import Numbers, SharedParameters, entries_of
from mlp_xp.train import Record, is_sparse


def _constraint(allowed: Any) -> Any:
    """An allowed value of a parameter, in the words of scikit-learn's validation."""
    if isinstance(allowed, Numbers):
        kind, high = Integral if allowed.kind is int else Real, None if math.isinf(allowed.high) else allowed.high
        return Interval(kind, allowed.low, high, closed={"[)": "left", "()": "neither", "[]": "both"}[allowed.ends])
    if isinstance(allowed, tuple):
        return StrOptions(set(allowed))
    if isinstance(allowed, float):
        return Options(Real, {allowed})
    return "boolean" if allowed is bool else allowed


class Network(SharedParameters, BaseEstimator, ABC):
    """The network of an estimator, from its initial values on."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        files.register(cls)
        if "_parameter_constraints" not in vars(cls):
            cls._parameter_constraints = {
                name: [_constraint(each) for each in entry.allowed] for name, entry in entries_of(cls).items()
            }

    def _initialize(self, place: Placement, d_in: int, outputs: int, random: Any) -> None:
        """Glorot and Bengio's uniform initial values, of weights and biases, drawn in scikit-learn's order."""
        hidden, after = self._hidden(), self.activation
        if isinstance(after, list | tuple):
            activations_of(after, len(hidden))  # raises unless there is one for each hidden layer
        after = [*after, None] if isinstance(after, list | tuple) else [after] * (len(hidden) + 1)
        sizes, drawn = (d_in, *hidden, outputs), []
        for p, q, activation in zip(sizes[:-1], sizes[1:], after, strict=True):
            bound = math.sqrt((2.0 if activation in ("logistic", "sigmoid") else 6.0) / (p + q))
            drawn.append(place.put(random.uniform(-bound, bound, (p, q))))
            drawn.append(place.put(random.uniform(-bound, bound, q)))
        self._learned(tuple(drawn))
        self.n_iter_, self.t_, self.n_layers_, self.n_outputs_ = 0, 0, len(sizes), outputs
        self._history: tuple[Record, ...] = ()
        self._state: Params | None = None  # of the optimizer of this solver:
        self._state_of: str = self.solver

    def _hidden(self) -> list[int]:
        """The widths of the hidden layers."""
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        for size in sizes:
            if not isinstance(size, Integral):
                raise ValueError(f"hidden_layer_sizes must be whole numbers, got {sizes}")
            if size <= 0:
                raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return list(map(int, sizes))

    def _check_continues(self, X: Any) -> None:
        """Raise unless what was learned so far is of the library, the dtype and the device of X."""
        if not is_sparse(X):
            namespace(X, *self._params(), names=("X",))
        check_params(self._params(), X)

    def _params(self) -> Params:
        """W1, b1, W2, b2, ..."""
        params = [*self.coefs_, *self.intercepts_]
        params[::2], params[1::2] = self.coefs_, self.intercepts_
        return tuple(params)

    def _learned(self, params: Params) -> None:
        """Let these be the network's parameters."""
        self.coefs_, self.intercepts_ = list(params[::2]), list(params[1::2])

    def _activations(self) -> Any:
        """One for all hidden layers, or a list of one for each."""
        return list(self.activation) if isinstance(self.activation, list | tuple) else self.activation

    def _options(self, weight: Array | None = None) -> TrainOptions:
        """The options of the objective."""
        options = TrainOptions(activation=self.activation, criterion=self.criterion or self._criterion())
        if weight is not None:
            options["sample_weight"] = weight
        if self.dropout:
            options["dropout"] = float(self.dropout)
        return options

    @abstractmethod
    def _criterion(self) -> str:
        """The name of the criterion."""

    def _outputs(self, X: Any, method: str, logits: bool = False) -> Array:
        """What the network predicts for the rows of X, or its logits; ``method`` was called, for messages."""
        check_is_fitted(self)
        params, activation = self._params(), self._activations()
        criterion = "squared_error" if logits else self._criterion()  # whose predictions are the logits
        parts = [
            predict(chunk, *params, activation=activation, criterion=criterion)
            for chunk in in_chunks(check_X(self, X, method), placement_of(params[0]))
        ]
        return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts)

    def to(self, device: Any) -> Self:
        """Move what was learned to another device of its library.

        Parameters
        ----------
        device : str or device of the library
            Such as "cuda" or "cpu".

        Returns
        -------
        self : object
            The estimator.
        """
        check_is_fitted(self)
        self._learned(tuple(to_device(array, device) for array in self._params()))
        for name in ("_state", "_best"):
            arrays: Params | None = getattr(self, name, None)
            if arrays is not None:
                setattr(self, name, tuple(to_device(array, device) for array in arrays))
        classes: Any = getattr(self, "classes_", None)
        if is_device_array(classes):
            self.classes_: Any = to_device(classes, device)
        return self

    def save(self, path: Any) -> None:
        """Write the fitted estimator to a safetensors file, whole or not at all.

        Parameters
        ----------
        path : str or Path
            The file; an older one is replaced.
        """
        check_is_fitted(self)
        files.save(self, path)

    @classmethod
    def load(cls, path: Any, xp: Any = np, device: Any = None) -> Self:
        """Read an estimator that ``save`` wrote.

        Parameters
        ----------
        path : str or Path
            The file.
        xp : module, default=numpy
            The array library to compute in.
        device : str or device of the library, default=None
            Where to compute; None is the library's own choice.

        Returns
        -------
        estimator : object
            An estimator of this class, or of a subclass.
        """
        return cast(Self, files.load(path, xp, device, expected=cls))

    def to_onnx(self, path: Any = None) -> Any:
        """Write the fitted network as an ONNX model; see ``mlp_xp.export``.

        Parameters
        ----------
        path : str or Path, default=None
            The file; None writes none.

        Returns
        -------
        model : onnx.ModelProto
            The model.
        """
        check_is_fitted(self)
        options: Any = {"activation": self._activations(), "criterion": self._criterion()}
        return to_onnx(path, *self._params(), classes=self._names_of_classes(), **options)

    def _names_of_classes(self) -> Any:
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
