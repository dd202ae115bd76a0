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
    checkpoint  where training stands, in a file, for a run that was killed to go on
    export      the network as an ONNX model
    data        where rows come from: built in, .npz files, folders of IDX files, tables
    tables      tables with named columns, and what a column holds
    recipe      how a model makes numbers of rows, kept with it
    plots       loss curves and first-layer weights as a picture
    backends    which array libraries are usable here, and why not
    cli         the mlp-xp command
"""

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

__version__ = "0.1.0"
