"""A multilayer perceptron with hand-derived gradients on any array library, and the gradient checker that proves it.

Read it in the order of the data's way:

    ops         affine and the activations, each -> (value, pullback)
    losses      criteria: logits and targets -> (loss, pullback)
    mlp         the network: init_params, forward, backward, objective, loss_and_grads, train_step, predict
    cost        what a step costs, from the sizes alone
    mistakes    the usual mistakes in such a network's gradients, and the check that knows them
    gradcheck   finite differences, for anybody's backward pass; knows nothing of networks
    optim       sgd, momentum, adam, ...: pure (init, update) pairs
    schedules   learning rates that change
    train       minibatches and epochs: a generator that the caller logs, plots or stops
    metrics     accuracy and R^2
    checkpoint  where training stands, in a file, for a run that was killed to go on
    export      the network as an ONNX model
    estimators  MLPClassifier and MLPRegressor, with scikit-learn's contract
    data        where rows come from: built in, .npz files, folders of IDX files, tables
    tables      tables with named columns, and what a column holds
    recipe      how a model makes numbers of rows, kept with it
    plots       loss curves and first-layer weights as a picture
    backends    which array libraries are usable here, and why not
    cli         the mlp-xp command

The names below are found when they are first asked for: ``import mlp_xp`` imports no array library, not even NumPy, so
that the command answers at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlp_xp._lib import moved
from mlp_xp._lib.version import __version__ as __version__

if TYPE_CHECKING:
    from mlp_xp import losses, ops
    from mlp_xp.cost import StepCost, step_cost
    from mlp_xp.gradcheck import Report, TensorReport, check_hvp, check_pullback, gradcheck, numerical_grad
    from mlp_xp.losses import cross_entropy, sigmoid, softmax
    from mlp_xp.mistakes import check_gradients, hypotheses
    from mlp_xp.mlp import (
        backward,
        forward,
        init_params,
        loss_and_grads,
        objective,
        predict,
        predict_proba,
        train_step,
    )

__all__ = [
    "Report",
    "StepCost",
    "TensorReport",
    "backward",
    "check_gradients",
    "check_hvp",
    "check_pullback",
    "cross_entropy",
    "forward",
    "gradcheck",
    "hypotheses",
    "init_params",
    "loss_and_grads",
    "losses",
    "numerical_grad",
    "objective",
    "ops",
    "predict",
    "predict_proba",
    "sigmoid",
    "softmax",
    "step_cost",
    "train_step",
]

_MODULES = (
    "backends", "checkpoint", "cost", "data", "dropout", "estimators", "export", "losses", "metrics", "mistakes", "mlp",
    "ops", "optim", "plots", "schedules", "train",
)  # fmt: skip
_HOMES = ("mlp", "losses", "cost", "gradcheck", "mistakes")  # of the names in __all__


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mlp_xp.{name}")  # which sets the attribute: this is asked once a name
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"mlp_xp.{home}")
            if hasattr(module, name):
                globals()[name] = found = getattr(module, name)
                return found
    if f"mlp_xp.{name}" in moved.MODULES:
        return import_module(f"mlp_xp.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


class _Package(ModuleType):
    """This module, of which ``gradcheck`` is the function, whoever imports the package of that name, and whenever."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value.gradcheck if name == "gradcheck" and isinstance(value, ModuleType) else value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its name, as cloudpickle does with plain modules: functions that call ``mx.train_step`` travel."""
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
moved.install()
