"""A multilayer perceptron with hand-derived gradients on any array library, and the gradient checker that proves it.

Read it in the order of the data's way. A module imports only what stands above it in this list:

    ops         affine and the activations, each -> (value, pullback)
    criterion   what a criterion is, and the targets and weights that it takes
    losses      criteria: logits and targets -> (loss, pullback)
    dropout     masks that are a hash of the position
    mlp         the network: init_params, forward, backward, objective, loss_and_grads, train_step, predict
    inside      hidden activations, and how outputs depend on inputs
    curvature   second derivatives times a vector: hvp, ggnvp
    per_example the gradient of each row, and its norm
    gradcheck   is this gradient right? For anybody's backward pass; knows nothing of networks
    mistakes    the usual mistakes in such a network's gradients, and the check that knows them
    optim       sgd, momentum, adam, ...: pure (init, update) pairs
    schedules   learning rates that change
    cost        what a step costs, from the sizes alone
    ranks       processes that train one network together, each on rows of its own
    metrics     accuracy and R^2
    train       minibatches and epochs: a generator that the caller logs, plots or stops
    checkpoint  where training stands, in a file: a run that was killed goes on
    workers     the workers of a Dask cluster train one network, each on the partitions that it holds
    convert     networks of scikit-learn and PyTorch, in and out
    export      the network as an ONNX model
    plots       loss curves, first-layer weights and importance of inputs as pictures
    data        where rows come from: built in, .npz files, folders of IDX files, tables
    backends    which array libraries are usable here, why others are not, and which is fastest
    parameters  what an estimator takes: one table
    estimators  MLPClassifier and MLPRegressor, with scikit-learn's contract
    cli         the mlp-xp command

``_lib`` lies below all of them. ``import mlp_xp`` imports no array library, not even NumPy, so that the command answers
at once: the names below are found when they are first asked for.
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
    from mlp_xp.curvature import ggnvp, hvp
    from mlp_xp.gradcheck import (
        Derivative,
        Report,
        TensorReport,
        check_hvp,
        check_jvp,
        check_pullback,
        directional_derivative,
        gradcheck,
        numerical_grad,
    )
    from mlp_xp.inside import hidden, input_gradients
    from mlp_xp.losses import cross_entropy, sigmoid, softmax
    from mlp_xp.mistakes import check_gradients, hypotheses
    from mlp_xp.mlp import backward, forward, init_params, loss_and_grads, objective, predict, predict_proba, train_step
    from mlp_xp.per_example import per_example_grad_norms, per_example_grads

# fmt: off
__all__ = [
    "Derivative", "Report", "StepCost", "TensorReport", "backward", "check_gradients", "check_hvp", "check_jvp",
    "check_pullback", "cross_entropy", "directional_derivative", "forward", "ggnvp", "gradcheck", "hidden", "hvp",
    "hypotheses", "init_params", "input_gradients", "loss_and_grads", "losses", "numerical_grad", "objective", "ops",
    "per_example_grad_norms", "per_example_grads", "predict", "predict_proba", "sigmoid", "softmax", "step_cost",
    "train_step",
]

_MODULES = (
    "backends", "checkpoint", "convert", "cost", "criterion", "curvature", "data", "dropout", "estimators", "export",
    "inside", "losses", "metrics", "mistakes", "mlp", "ops", "optim", "parameters", "per_example", "plots", "ranks",
    "schedules", "train", "workers",
)
_HOMES = ("mlp", "inside", "curvature", "per_example", "losses", "cost", "gradcheck", "mistakes")  # of the names above
# fmt: on


def __getattr__(name: str) -> Any:
    if name in _MODULES or f"mlp_xp.{name}" in moved.MODULES:
        return import_module(f"mlp_xp.{name}")  # which sets the attribute: this is asked once a name
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"mlp_xp.{home}")
            if hasattr(module, name):
                globals()[name] = found = getattr(module, name)
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


class _Package(ModuleType):
    """This module. Its attribute ``gradcheck`` stays the function when the package of that name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value.gradcheck if name == "gradcheck" and isinstance(value, ModuleType) else value)

    def __reduce__(self) -> tuple[Any, ...]:
        # by its name, as cloudpickle does with plain modules: a function that calls mx.train_step can be pickled
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
moved.install()
