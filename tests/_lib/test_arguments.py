"""Bad input gets one clear sentence: what was expected and what came. One row for each way to get it wrong."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp import backends, optim
from mlp_xp.gradcheck import check_hvp, check_jvp, directional_derivative
from mlp_xp.train import train

V, T = ValueError, TypeError
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def good(xp, put, device):
    """Right arguments; each row spoils one of them."""
    X, y, t = textbook.batch(), textbook.labels(), textbook.soft_targets()
    p = tuple(put(a) for a in textbook.parameters())

    def zeros(*shape, dtype="float64"):
        return put(np.zeros(shape), getattr(xp, dtype))

    def run(optimizer=None, epochs=1, X=put(X), y=put(y), params=p, **options):
        return list(train(X, y, params, optimizer=optimizer or optim.sgd(), epochs=epochs, **{"lr": 0.1, **options}))

    return SimpleNamespace(
        xp=xp, put=put, device=device, X=put(X), y=put(y), t=put(t), p=p, zeros=zeros, train=run
    )  # fmt: skip


def op_square(x):
    return x * x, lambda c: (2.0 * x * c,)


def op_half_sum(logits, targets, weights):
    return mx.losses.squared_error(logits, targets, weights)


def bent(curvature, of=op_square):
    """An activation, or another op, with this for its second derivative."""

    def op(*arrays):
        return of(*arrays)

    op.curvature = curvature
    return op


def half_gradient(g, **options):
    """A check of a wrong gradient, so that its hypotheses are asked."""
    return mx.gradcheck(lambda x: g.xp.sum(x * x), lambda x: (1.0 * x,), (g.X,), **options)


CHECKS = {  # each with a seed
    "gradcheck": lambda g, seed: half_gradient(g, seed=seed),
    "check_pullback": lambda g, seed: mx.check_pullback(op_square, (g.X,), seed=seed),
    "check_jvp": lambda g, seed: check_jvp(lambda x: x * x, lambda x, v: 2.0 * x[0] * v[0], (g.X,), seed=seed),
    "check_hvp": lambda g, seed: check_hvp(lambda x: x, lambda x, v: v, g.X, seed=seed),
    "directional_derivative": lambda g, seed: directional_derivative(g.xp.sum, g.X, g.X, seed=seed),
}
ANSWERS = {  # each of a function that returns this value
    "differences": lambda g, value: mx.numerical_grad(lambda x: value, g.X),
    "differences with a step": lambda g, value: mx.numerical_grad(lambda x: value, g.X, eps=1e-3),
    "a check": lambda g, value: mx.gradcheck(lambda x: value, lambda x: (0.0 * x,), (g.X,)),
    "a derivative": lambda g, value: directional_derivative(lambda x: value, g.X, g.X),
}

# name -> the call, the error, words of its sentence; an argument that several functions take is tested in one of them
ROWS = {
    # shapes and ranks
    "X of rank 1": (lambda g: mx.forward(g.zeros(4), *g.p), V, "X must have shape (n, d_in), got (4,)"),
    "X of rank 3": (lambda g: mx.predict(g.zeros(2, 6, 4), *g.p), V, "X must have shape (n, d_in), got (2, 6, 4)"),
    "no rows": (lambda g: mx.objective(g.zeros(0, 4), g.y, *g.p), V, "at least one row and one column, got shape (0, 4)"),
    "no columns": (lambda g: mx.predict(g.zeros(6, 0), *g.p), V, "at least one row and one column, got shape (6, 0)"),
    "W1 that does not fit X": (
        lambda g: mx.forward(g.zeros(6, 7), *g.p), V, "W1 must have shape (7, d_out) to follow X (6, 7), got (4, 5)"),
    "W2 that does not follow W1": (
        lambda g: mx.loss_and_grads(g.X, g.y, *g.p[:2], g.zeros(3, 5), g.p[3]), V,
        "W2 must have shape (5, d_out) to follow W1 (4, 5), got (3, 5)"),
    "a bias that does not follow its weight": (
        lambda g: mx.forward(g.X, g.p[0], g.zeros(4), *g.p[2:]), V, "b1 must have shape (5,) to follow W1 (4, 5), got (4,)"),
    "a bias of one that would broadcast": (
        lambda g: mx.forward(g.X, *g.p[:3], g.zeros(1)), V, "b2 must have shape (3,) to follow W2 (5, 3), got (1,)"),
    "a weight of rank 1": (
        lambda g: mx.forward(g.X, g.zeros(4), g.p[1]), V, "W1 must have shape (4, d_out) to follow X (6, 4), got (4,)"),
    "a weight of rank 4": (lambda g: mx.forward(g.X, g.zeros(1, 1, 4, 5), g.p[1]), V, "W1 must have shape (4, d_out)"),
    "no outputs": (lambda g: mx.forward(g.X, g.zeros(4, 0), g.zeros(0)), V, "W1 must have shape (4, d_out)"),
    "no parameters": (lambda g: mx.forward(g.X), V, "parameters must be W1, b1, W2, b2, ... in pairs, got 0 arrays"),
    "an odd number of parameters": (lambda g: mx.predict(g.X, *g.p[:3]), V, "in pairs, got 3 arrays"),
    "leading axes of two sizes": (
        lambda g: mx.objective(g.X, g.y, g.zeros(2, 4, 5), g.zeros(3, 5), *g.p[2:]), V,
        "leading axes of the parameters must have one size, got [2, 3]"),
    "labels of another length": (
        lambda g: mx.objective(g.X, g.y[:5], *g.p), V, "integer y must be labels of shape (n,) = (6,), got (5,)"),
    "one-hot integers": (
        lambda g: mx.objective(g.X, g.put(np.eye(6, 3, dtype=int)), *g.p), V,
        "integer y must be labels of shape (n,) = (6,), got (6, 3)"),
    "targets of another width": (
        lambda g: mx.train_step(g.X, g.zeros(6, 2), *g.p), V,
        "floating y must be targets of shape (n, d_out) = (6, 3), got (6, 2)"),
    "targets as a column": (
        lambda g: mx.objective(g.X, g.zeros(6, 1), *g.p), V, "floating y must be targets of shape (n, d_out) = (6, 3)"),
    "labels that are not integral": (
        lambda g: mx.objective(g.X, g.put([0.0, 1.0, 2.0, 0.5, 1.0, 2.0]), *g.p), V, "class labels must be integers"),
    "weights of another length": (
        lambda g: mx.objective(g.X, g.y, *g.p, sample_weight=g.zeros(5)), V,
        "sample_weight must have shape (n,) = (6,), got (5,)"),
    "probabilities of rank 1": (
        lambda g: mx.cross_entropy(g.zeros(6), g.y), V, "p must have shape (n, k) with n >= 1 and k >= 2 classes, got (6,)"),
    "probabilities of one class": (lambda g: mx.cross_entropy(g.zeros(6, 1), g.y), V, "k >= 2 classes, got (6, 1)"),
    "backward with labels of another length": (
        lambda g: mx.backward(mx.forward(g.X, *g.p)[1], g.y[:5]), V, "integer y must be labels of shape (n,) = (6,)"),
    # libraries and dtypes
    "a list for X": (lambda g: mx.forward([[1.0] * 4], *g.p), T, "X must be an array, got list"),
    "a list for y": (lambda g: mx.objective(g.X, [0, 1, 2, 0, 1, 2], *g.p), T, "y must be an array, got list"),
    "None for y": (lambda g: mx.objective(g.X, None, *g.p), T, "y must be"),
    "a number for y": (lambda g: mx.objective(g.X, 1, *g.p), T, "y must be"),
    "None for a parameter": (lambda g: mx.forward(g.X, *g.p[:3], None), T, "b2 must be"),
    "a list for sample_weight": (
        lambda g: mx.objective(g.X, g.y, *g.p, sample_weight=[1.0] * 6), T, "sample_weight must"),
    "a list for y in backward": (lambda g: mx.backward(mx.forward(g.X, *g.p)[1], [0] * 6), T, "y must be an array"),
    "integer X": (
        lambda g: mx.forward(g.put(np.ones((6, 4), int)), *g.p), T, "X must be floating, got"),
    "complex X": (lambda g: mx.forward(g.put(np.ones((6, 4), complex)), *g.p), T, "X must be floating, got"),
    "boolean y": (lambda g: mx.objective(g.X, g.put([True] * 6), *g.p), T, "y must be integer labels (n,) or floating"),
    "integer probabilities": (
        lambda g: mx.cross_entropy(g.put(np.ones((6, 3), int)), g.y), T, "p must be floating, got"),
    "a weight of another dtype": (
        lambda g: mx.forward(g.X, *g.p[:2], g.zeros(5, 3, dtype="float32"), g.p[3]), T,
        "W2 must have the dtype of X"),
    "a bias of another dtype": (
        lambda g: mx.objective(g.X, g.y, *g.p[:3], g.zeros(3, dtype="float32")), T, "b2 must have the dtype of X"),
    "targets of another dtype": (
        lambda g: mx.objective(g.X, g.zeros(6, 3, dtype="float32"), *g.p), T, "floating y must have the dtype of X"),
    "weights of another dtype": (
        lambda g: mx.objective(g.X, g.y, *g.p, sample_weight=g.zeros(6, dtype="float32")), T,
        "sample_weight must have the dtype of X"),
    "integer weights": (
        lambda g: mx.objective(g.X, g.y, *g.p, sample_weight=g.y), T, "sample_weight must have the dtype of X"),
    # names
    "an unknown activation": (
        lambda g: mx.forward(g.X, *g.p, activation="sigmiod"), V, "got 'sigmiod'; did you mean 'sigmoid'?"),
    "an activation in capitals": (lambda g: mx.predict(g.X, *g.p, activation="ReLU"), V, "did you mean 'relu'?"),
    "an activation like nothing": (lambda g: mx.forward(g.X, *g.p, activation="xyzzy"), V, "got 'xyzzy'"),
    "one unknown activation of several": (
        lambda g: mx.forward(g.X, *g.p, activation=["tahn"]), V, "got 'tahn'; did you mean 'tanh'?"),
    "an unknown criterion": (
        lambda g: mx.objective(g.X, g.y, *g.p, criterion="softmax_crossentropy"), V,
        "did you mean 'softmax_cross_entropy'?"),
    "an unknown criterion for predict_proba": (
        lambda g: mx.predict_proba(g.X, *g.p, criterion="squared_eror"), V, "did you mean 'squared_error'?"),
    "an unknown option": (lambda g: mx.objective(g.X, g.y, *g.p, l3=1.0), T, "options are 'activation', 'criterion'"),
    "a misspelt option": (lambda g: mx.train_step(g.X, g.y, *g.p, labelsmoothing=1.0), T, "mean 'label_smoothing'?"),
    "activations of another number": (
        lambda g: mx.forward(g.X, *g.p, activation=("relu", "relu")), V,
        "activation must be one or one per hidden layer (1), got 2"),
    "an activation that is a number": (lambda g: mx.forward(g.X, *g.p, activation=3), T, "activation must be a name, an op"),
    "a criterion that is a number": (
        lambda g: mx.objective(g.X, g.y, *g.p, criterion=3), T, "criterion must be a name or an op, got 3"),
    "the value function for an activation": (
        lambda g: mx.forward(g.X, *g.p, activation=mx.sigmoid), T, "must return (value, pullback)"),
    "the value function names the op": (
        lambda g: mx.forward(g.X, *g.p, activation=mx.sigmoid), T, "the op is mlp_xp.ops.sigmoid"),
    "a pullback that returns no tuple": (
        lambda g: mx.loss_and_grads(g.X, g.y, *g.p, activation=lambda z: (z, lambda dy: dy)), T,
        "must return a tuple of one, got"),
    "a pullback that returns two": (
        lambda g: mx.loss_and_grads(g.X, g.y, *g.p, activation=lambda z: (z, lambda dy: (dy, dy))), T,
        "must return a tuple of one, got a tuple of 2"),
    # numbers
    "smoothing elsewhere": (
        lambda g: mx.objective(g.X, g.y, *g.p, label_smoothing=0.1, criterion="squared_error"), V,
        "label_smoothing belongs to softmax_cross_entropy alone, got 0.1"),
    "smoothing of a sigmoid in backward": (
        lambda g: mx.backward(mx.forward(g.X, *g.p, criterion="sigmoid_cross_entropy")[1], g.y, label_smoothing=0.1), V,
        "label_smoothing belongs to softmax_cross_entropy alone"),
    "smoothing of 1": (lambda g: mx.objective(g.X, g.y, *g.p, label_smoothing=1.0), V, "at least 0 and below 1, got 1.0"),
    "negative smoothing": (lambda g: mx.objective(g.X, g.y, *g.p, label_smoothing=-0.1), V, "below 1, got -0.1"),
    "negative l2": (lambda g: mx.objective(g.X, g.y, *g.p, l2=-1.0), V, "l2 must be at least 0 and finite, got -1.0"),
    "l1 of NaN": (lambda g: mx.objective(g.X, g.y, *g.p, l1=NAN), V, "l1 must be at least 0 and finite, got nan"),
    "l2 of infinity": (lambda g: mx.objective(g.X, g.y, *g.p, l2=INF), V, "l2 must be at least 0 and finite, got inf"),
    "l2 in words": (lambda g: mx.objective(g.X, g.y, *g.p, l2="small"), T, "l2 must be a number, got 'small'"),
    "dropout of 1": (lambda g: mx.forward(g.X, *g.p, dropout=1.0, seed=0), V, "dropout must be at least 0 and below 1"),
    "negative dropout": (lambda g: mx.objective(g.X, g.y, *g.p, dropout=-0.5, seed=0), V, "dropout must be at least 0"),
    "dropout in words": (lambda g: mx.forward(g.X, *g.p, dropout="half", seed=0), T, "dropout must be a number"),
    "dropout without a seed": (lambda g: mx.objective(g.X, g.y, *g.p, dropout=0.5), V, "dropout needs a seed"),
    "a negative seed": (lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=-1), V, "seed must be in 0 ... 2**31 - 1, got -1"),
    "a seed too large": (lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=2**31), V, "seed must be in 0 ... 2**31 - 1"),
    "a seed that is no integer": (lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=1.5), T, "seed must be an int or a 0-d"),
    "a boolean seed": (lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=True), T, "seed must be an int or a 0-d"),
    "a seed of rank 1": (lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=g.y), T, "seed must be an int or a 0-d"),
    "a negative learning rate": (lambda g: mx.train_step(g.X, g.y, *g.p, lr=-0.1), V, "lr must be at least 0 and finite"),
    "a learning rate of NaN": (lambda g: mx.train_step(g.X, g.y, *g.p, lr=NAN), V, "lr must be at least 0 and finite"),
    "a learning rate in words": (lambda g: mx.train_step(g.X, g.y, *g.p, lr="fast"), T, "lr must be a number, got 'fast'"),
    "no learning rate": (lambda g: mx.train_step(g.X, g.y, *g.p, lr=None), T, "lr must be a number, got None"),
    "a learning rate of rank 1": (lambda g: mx.train_step(g.X, g.y, *g.p, lr=g.zeros(5)), T, "lr must be a number"),
    # impossible requests
    "probabilities of a regression": (
        lambda g: mx.predict_proba(g.X, *g.p, criterion="squared_error"), V, "a cross-entropy, got 'squared_error'"),
    "the gradient of a mix": (
        lambda g: mx.loss_and_grads(g.X, g.y, g.zeros(2, 4, 5), *g.p[1:]), V,
        "either all parameters or none must have a leading axis"),
    # init_params and step_cost
    "one size": (lambda g: mx.init_params((3,), xp=g.xp), V, "sizes must be at least two positive ints"),
    "a size of 0": (lambda g: mx.init_params((3, 0), xp=g.xp), V, "sizes must be at least two positive ints"),
    "a size that is no int": (lambda g: mx.init_params((3, 2.0), xp=g.xp), V, "sizes must be at least two positive ints"),
    "an integer dtype": (lambda g: mx.init_params((3, 2), xp=g.xp, dtype=g.xp.int32), T, "dtype must be a real floating"),
    "the cost of one size": (lambda g: mx.step_cost((3,), n=1), V, "sizes must be at least two positive ints"),
    "the cost of no rows": (lambda g: mx.step_cost((3, 2), n=0), V, "n must be a positive int, got 0"),
    "the cost of an unknown dtype": (lambda g: mx.step_cost((3, 2), n=1, dtype="float23"), V, "mean 'float32'?"),
    "the cost of an unknown activation": (
        lambda g: mx.step_cost((3, 2, 2), n=1, activation="sigmod"), V, "did you mean 'sigmoid'?"),
    "the cost of an unknown criterion": (
        lambda g: mx.step_cost((3, 2), n=1, criterion="squared"), V, "criterion must be"),
    "the cost of three outputs of means and deviations": (
        lambda g: mx.step_cost((3, 3), n=1, criterion="gaussian"), V, "d_out must be a multiple of 2"),
    "no evaluation of lbfgs": (
        lambda g: optim.lbfgs(lambda w: (g.xp.sum(w * w), (2.0 * w,)), (g.X,), max_fun=0), V, "max_fun must be at least 1, got 0"),
    "the cost of an activation that is a number": (
        lambda g: mx.step_cost((3, 2, 2), n=1, activation=3), T, "activation must be a name, or one per hidden layer, got 3"),
    "the cost of a share above one": (lambda g: mx.step_cost((3, 2), n=1, dropout=1.5), V, "dropout must be"),
    "the cost of a share of inputs above one": (
        lambda g: mx.step_cost((3, 2), n=1, input_dropout=1.5), V, "input_dropout must be"),
    "the cost of an unknown optimizer": (lambda g: mx.step_cost((3, 2), n=1, optimizer="adan"), V, "did you mean 'adam'?"),
    "the cost of too many activations": (
        lambda g: mx.step_cost((3, 2, 2), n=1, activation=["relu"] * 2), V, "one per hidden layer (1), got 2"),
    # the gradient check
    "an integer x": (
        lambda g: mx.numerical_grad(lambda x: x, g.y), T, "x must be real floating, got"),
    "a step of 0": (
        lambda g: mx.numerical_grad(g.xp.sum, g.X, eps=0.0), V, "eps must be positive, got 0.0"),
    "a step of NaN": (lambda g: mx.numerical_grad(g.xp.sum, g.X, eps=NAN), V, "eps must be at least 0 and finite, got nan"),
    "f that returns many numbers": (
        lambda g: mx.numerical_grad(lambda x: x, g.X), V, "f must return one number, shape (), got shape (6, 4)"),
    "f that is not vectorized": (
        lambda g: mx.numerical_grad(g.xp.sum, g.X, vectorized=True), V, "one value for each point"),
    "f that returns an integer": (
        lambda g: mx.numerical_grad(lambda x: g.xp.sum(g.y), g.X), T, "f must return a real floating value"),
    "a check of nothing": (lambda g: mx.gradcheck(g.xp.sum, lambda: (), ()), V, "params must hold at least one array"),
    "a check of integers": (lambda g: mx.gradcheck(g.xp.sum, lambda x: (x,), (g.y,)), T, "params[0] must be real floating"),
    "too few names": (
        lambda g: mx.gradcheck(g.xp.sum, lambda x: (x,), (g.X,), names=()), V, "names must name each of the 1 arrays in params, got 0"),
    "a check of a vector": (
        lambda g: mx.gradcheck(lambda x: x, lambda x: (x,), (g.X,)), V, "f must return one number"),
    "a check where f is NaN": (
        lambda g: mx.gradcheck(lambda x: g.xp.sum(x * NAN), lambda x: (x,), (g.X,)), V, "f must be finite at params, got nan"),
    "too few gradients": (
        lambda g: mx.gradcheck(lambda x, b: g.xp.sum(x), lambda x, b: (x,), (g.X, g.X)), V,
        "grad must return a tuple of 2 gradients, one per parameter, got 1"),
    "a gradient without its tuple": (
        lambda g: mx.gradcheck(g.xp.sum, lambda x: x, (g.X,)), V, "grad must return a tuple of 1 gradients"),
    # optimizers and the loop, which looks at the data on every backend
    "an optimizer's learning rate": (lambda g: g.train(lr=-1.0), V, "lr must be at least 0 and finite, got -1.0"),
    "a momentum above 1": (lambda g: optim.momentum(1.5), V, "decay must be at least 0 and below 1, got 1.5"),
    "a beta of 1": (lambda g: optim.adam(beta2=1.0), V, "beta2 must be at least 0 and below 1, got 1.0"),
    "no epochs": (lambda g: g.train(epochs=0), V, "epochs must be at least 1, got 0"),
    "an empty batch": (lambda g: g.train(batch_size=0), V, "batch_size must be at least 1, got 0"),
    "NaN in X": (lambda g: g.train(X=g.X * NAN), V, "X must be finite, got NaN or infinity"),
    "infinity in X": (lambda g: g.train(X=g.X * INF), V, "X must be finite, got NaN or infinity"),
    "NaN in targets": (lambda g: g.train(y=g.t * NAN), V, "y must be finite, got NaN or infinity"),
    "NaN in validation": (lambda g: g.train(validation=(g.X * NAN, g.y)), V, "validation X must be finite"),
    "a label too large for train": (lambda g: g.train(y=g.y + 3), V, "y must hold labels 0 to 2, got labels"),
    "a negative label for train": (lambda g: g.train(y=g.y - 3), V, "y must hold labels 0 to 2, got labels"),
    "a validation label too large": (lambda g: g.train(validation=(g.X, g.y + 3)), V, "validation y must hold labels 0 to 2"),
    "labels of another length for train": (
        lambda g: g.train(y=g.y[:4]), V, "y must have one row for each of the 6 rows of X, got shape (4,)"),
    "negative weights for train": (
        lambda g: g.train(sample_weight=g.zeros(6) - 1.0), V, "sample_weight must be finite and at least 0"),
    "an unknown mode": (
        lambda g: mx.gradcheck(g.xp.sum, lambda x: (x,), (g.X,), mode="ful"), V, "mode must be 'auto' or 'full', got 'ful'"),
    "sizes that are a number": (lambda g: mx.init_params(5, xp=g.xp), T, "sizes must be (d_in, ..., d_out), got 5"),
    "a library by its name": (lambda g: mx.init_params((4, 3), xp="torch"), T, "xp must be an array library"),
    "an unknown option for train": (lambda g: g.train(l3=1.0), T, "options are"),
    "weights that do not chain for train": (lambda g: g.train(params=(g.p[0], g.p[3])), V, "b1 must have shape (5,)"),
    # the checker's options, and the names of libraries
    **{f"{name} with {slip}": (partial(check, seed=seed), error, words)
       for name, check in CHECKS.items()
       for slip, (seed, error, words) in {
           "a seed in words": ("0", T, "seed must be a whole number, got '0'"),
           "a seed between": (1.5, T, "seed must be a whole number, got 1.5"),
           "no seed": (None, T, "seed must be a whole number, got None"),
           "a seed that is a bool": (True, T, "seed must be a whole number, got True"),
           "a negative seed": (-1, V, "seed must be at least 0, got -1"),
       }.items()},
    "one name that is a number": (lambda g: half_gradient(g, names=1), T, "names must be a list of strings, got 1"),
    "names that are numbers": (lambda g: half_gradient(g, names=[1]), T, "names must be a list of strings, got [1]"),
    "names that are None": (
        lambda g: mx.check_pullback(op_square, (g.X,), names=(None,)), T, "names must be a list of strings, got a tuple of 1"),
    "a name for the arguments of a forward rule": (
        lambda g: check_jvp(lambda x: x * x, lambda x, v: 2.0 * x[0] * v[0], (g.X,), names=2), T, "names must be a list of strings, got 2"),
    "max_entries in words": (lambda g: half_gradient(g, max_entries="1"), T, "max_entries must be a whole number, got '1'"),
    "max_entries between": (lambda g: half_gradient(g, max_entries=1.5), T, "max_entries must be a whole number, got 1.5"),
    "no max_entries": (lambda g: half_gradient(g, max_entries=None), T, "max_entries must be a whole number, got None"),
    "max_entries of 0": (lambda g: half_gradient(g, max_entries=0), V, "max_entries must be at least 1, got 0"),
    "no mode": (lambda g: half_gradient(g, mode=None), V, "mode must be 'auto' or 'full', got None"),
    "an array as mode": (lambda g: half_gradient(g, mode=g.X), V, "mode must be 'auto' or 'full', got"),
    "a convention for yes": (
        lambda g: half_gradient(g, wirtinger="yes"), V, "wirtinger must be 'conjugate' or 'plain', got 'yes'"),
    "an op's convention for yes": (
        lambda g: mx.check_pullback(op_square, (g.X,), wirtinger=True), V, "wirtinger must be 'conjugate' or 'plain', got True"),
    "a list of hypotheses": (
        lambda g: half_gradient(g, hypotheses=[g.xp.sum]), T, "hypotheses must be a dict of wrong gradient functions by their names, got [<"),
    "a hypothesis that is a number": (
        lambda g: half_gradient(g, hypotheses={"half": 0.5}), T, "hypotheses must be a dict of wrong gradient functions by their names, got 0.5"),
    "a hypothesis that is None": (
        lambda g: half_gradient(g, hypotheses={"half": None}), T, "hypotheses must be a dict of wrong gradient functions by their names, got None"),
    "a hypothesis that returns nothing": (
        lambda g: half_gradient(g, hypotheses={"half": lambda x: None}), V, "hypothesis 'half' must return a tuple of 1 gradients"),
    "params None": (
        lambda g: mx.gradcheck(g.xp.sum, g.xp.sum, None), V, "params must hold at least one array, got NoneType"),
    "a dict of lists of numbers": (
        lambda g: mx.gradcheck(g.xp.sum, g.xp.sum, {"W": [1.0, 2.0]}), V, "params must hold at least one array, got dict"),
    "a direction None": (
        lambda g: directional_derivative(g.xp.sum, g.X, None), V, "direction must hold at least one array, got NoneType"),
    "a direction of integers": (
        lambda g: directional_derivative(g.xp.sum, g.X, g.y), T, "direction[0] must be real floating, got"),
    "a list as x": (lambda g: mx.numerical_grad(g.xp.sum, [1.0]), T, "x must be an array, got list"),
    "f None for differences": (lambda g: mx.numerical_grad(None, g.X), T, "f must be a function such as"),
    "f an array for a derivative": (lambda g: directional_derivative(g.X, g.X, g.X), T, "f must be a function such as"),
    "grad None of a Hessian": (lambda g: check_hvp(None, lambda x, v: v, g.X), T, "grad must be a function such as"),
    "hvp a number": (lambda g: check_hvp(lambda x: x, 3, g.X), T, "hvp must be a function such as lambda params, v: (2 * v[0],), got 3"),
    "hvp that returns nothing": (
        lambda g: check_hvp(lambda x: x, lambda x, v: None, g.X), V, "hvp must return 1 products, one per parameter, got NoneType"),
    "a step in words": (lambda g: mx.numerical_grad(g.xp.sum, g.X, eps="1"), T, "eps must be a number, got '1'"),
    "a step that is a bool": (lambda g: mx.numerical_grad(g.xp.sum, g.X, eps=True), T, "eps must be a number, got True"),
    "a step beyond floats": (
        lambda g: mx.numerical_grad(g.xp.sum, g.X, eps=10**400), V, "eps must be at least 0 and finite, got inf"),
    **{f"{name} of {kind}": (partial(check, value=value), T, f"f must return one real number, got {came}")
       for name, check in ANSWERS.items()
       for kind, (value, came) in {
           "nothing": (None, "NoneType"), "words": ("1.5", "str"), "a list": ([1.0], "list"), "a bool": (True, "bool"),
           "a complex number": (1 + 0j, "a complex one; return its real part"),
       }.items()},
    "a library itself for load": (
        lambda g: backends.load(np), T, "backend must be the name of an array library, such as 'numpy', got <module 'numpy'"),
    "no library for load": (lambda g: backends.load(None), T, "backend must be the name of an array library, such as 'numpy', got None"),
    "no library for probe": (lambda g: backends.probe(None), T, "backend must be the name of an array library"),
    "a list for installed": (lambda g: backends.installed(["numpy"]), T, "backend must be the name of an array library"),
    "bytes for compiler": (lambda g: backends.compiler(b"jax"), T, "backend must be the name of an array library"),
    "a library with a slip": (lambda g: backends.load("numpyy"), V, "got 'numpyy'; did you mean 'numpy'?"),
    "a dtype itself for load": (
        lambda g: backends.load("numpy", np.dtype("float64")), V, "dtype must be 'float32' or 'float64', got Float64DType"),
    "seconds in words": (
        lambda g: backends.measure("numpy", (4, 3), 2, seconds="1"), T, "seconds must be a number, got '1'"),
    "negative seconds": (
        lambda g: backends.measure("numpy", (4, 3), 2, seconds=-1.0), V, "seconds must be at least 0 and finite, got -1.0"),
    # what functions take: kinds of numbers, arrays that are no arrays, ops and criteria
    "l2 beyond the largest float": (
        lambda g: mx.objective(g.X, g.y, *g.p, l2=10**400), V, "l2 must be at least 0 and finite, got inf"),
    "a fraction beyond the largest float": (
        lambda g: mx.objective(g.X, g.y, *g.p, l1=-Fraction(10**400)), V, "l1 must be at least 0 and finite, got -inf"),
    "a rate beyond the largest float": (
        lambda g: mx.forward(g.X, *g.p, dropout=10**400, seed=0), V, "dropout must be at least 0 and below 1, got inf"),
    "a fraction out of range": (
        lambda g: mx.forward(g.X, *g.p, dropout=Fraction(3, 2), seed=0), V, "dropout must be at least 0 and below 1, got 3/2"),
    "no smoothing": (
        lambda g: mx.objective(g.X, g.y, *g.p, label_smoothing=None), T, "label_smoothing must be a number, got None"),
    "smoothing in no words": (
        lambda g: mx.objective(g.X, g.y, *g.p, label_smoothing=""), T, "label_smoothing must be a number, got ''"),
    "smoothing of False in backward": (
        lambda g: mx.backward(mx.forward(g.X, *g.p)[1], g.y, label_smoothing=False), T, "label_smoothing must be a number"),
    "an array of penalties": (
        lambda g: mx.objective(g.X, g.y, *g.p, l2=g.zeros(2)), T, "l2 must be a number, got"),
    "a 0-d array for a rate": (
        lambda g: mx.forward(g.X, *g.p, dropout=g.zeros(), seed=0), T, "dropout must be a number, got"),
    "a class for a number": (lambda g: mx.objective(g.X, g.y, *g.p, l2=np.ndarray), T, "l2 must be a number, got <class"),
    "a module for a number": (lambda g: mx.objective(g.X, g.y, *g.p, l1=np), T, "l1 must be a number, got <module"),
    "a long list for a number": (
        lambda g: mx.objective(g.X, g.y, *g.p, l2=[np.eye(9)]), T, "l2 must be a number, got [array([[1., 0., 0.,"),
    "a learning rate that is True": (
        lambda g: mx.train_step(g.X, g.y, *g.p, lr=True), T, "lr must be a number, got True"),
    "a learning rate of truth": (
        lambda g: mx.train_step(g.X, g.y, *g.p, lr=g.zeros(dtype="bool")), T, "lr must be a number, or a 0-d array of one"),
    "a learning rate beyond the largest float": (
        lambda g: mx.train_step(g.X, g.y, *g.p, lr=10**400), V, "lr must be at least 0 and finite, got inf"),
    "a seed of 400 digits": (
        lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=10**400), V, "seed must be in 0 ... 2**31 - 1, got 1000"),
    "a seed of 10,000 digits": (
        lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=10**10_000), V, "2**31 - 1, got one of int, too large to print"),
    "a seed of a class": (lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=np.ndarray), T, "seed must be an int or a 0-d"),
    "a floating 0-d seed": (lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=g.zeros()), T, "seed must be an int or a 0-d"),
    "a masked seed": (
        lambda g: mx.forward(g.X, *g.p, dropout=0.5, seed=np.ma.array(3)), T, "seed must be an array, got a masked one"),
    "the parameters as one tuple": (
        lambda g: mx.forward(g.X, g.p), T, "W1 must be an array, got tuple; unpack the parameters, *params"),
    "the parameters as one list": (
        lambda g: mx.objective(g.X, g.y, list(g.p)), T, "W1 must be an array, got list; unpack the parameters, *params"),
    "None for the parameters": (lambda g: mx.predict(g.X, None), T, "W1 must be an array, got NoneType"),
    "backward of the outputs": (
        lambda g: mx.backward(mx.forward(g.X, *g.p)[0], g.y), T,
        "cache must be what forward returns, p, cache = forward(X, *params), got"),
    "backward of both": (lambda g: mx.backward(mx.forward(g.X, *g.p), g.y), T, "cache must be what forward returns"),
    "backward of nothing": (lambda g: mx.backward(None, g.y), T, "cache must be what forward returns"),
    "a class for an activation": (lambda g: mx.forward(g.X, *g.p, activation=dict), T, "must be a name or an op, got <class"),
    "a class for a criterion": (lambda g: mx.forward(g.X, *g.p, criterion=int), T, "criterion must be a name or an op, got <"),
    "an array of activations": (
        lambda g: mx.forward(g.X, *g.p, activation=np.eye(2)), T, "one per hidden layer, got ndarray of shape (2, 2)"),
    # matrices and masked arrays, whichever argument
    "a masked X": (lambda g: mx.predict(np.ma.ones((6, 4)), *g.p), T, "X must be an array, got a masked one"),
    "a masked y": (lambda g: mx.objective(g.X, np.ma.array([0, 1, 2, 0, 1, 2]), *g.p), T, "y must be an array, got a masked"),
    "a masked weight": (lambda g: mx.forward(g.X, *g.p[:2], np.ma.ones((5, 3)), g.p[3]), T, "W2 must be an array, got a masked"),
    "masked sample weights": (
        lambda g: mx.objective(g.X, g.y, *g.p, sample_weight=np.ma.ones(6)), T, "sample_weight must be an array, got a masked"),
    "masked sample weights in backward": (
        lambda g: mx.backward(mx.forward(g.X, *g.p)[1], g.y, sample_weight=np.ma.ones(6)), T, "sample_weight must be an array"),
    "a masked y in backward": (
        lambda g: mx.backward(mx.forward(g.X, *g.p)[1], np.ma.array([0, 1, 2, 0, 1, 2])), T, "y must be an array, got a masked"),
    "masked probabilities": (
        lambda g: mx.cross_entropy(np.ma.ones((6, 3)), g.y), T, "p must be an array, got a masked one; fill what is masked"),
    "a masked learning rate": (
        lambda g: mx.train_step(g.X, g.y, *g.p, lr=np.ma.array(0.1)), T, "lr must be an array, got a masked one"),
    "masked logits": (lambda g: mx.softmax(np.ma.ones((6, 3))), T, "z must be an array, got a masked one"),
    "a matrix for X": (
        lambda g: mx.forward(np.ones((6, 4)).view(np.matrix), *g.p), T,
        "X must be an array, got a matrix, whose * is @; np.asarray makes it one"),
    "a matrix for a weight": (
        lambda g: mx.loss_and_grads(g.X, g.y, np.ones((4, 5)).view(np.matrix), *g.p[1:]), T, "W1 must be an array, got a matrix"),
    "a matrix for targets": (
        lambda g: mx.objective(g.X, np.ones((6, 3)).view(np.matrix), *g.p), T, "y must be an array, got a matrix"),
    "a matrix for an op": (lambda g: mx.ops.relu(np.ones((6, 4)).view(np.matrix)), T, "z must be an array, got a matrix"),
    "a matrix for a criterion": (
        lambda g: mx.losses.poisson(g.t, np.ones((6, 3)).view(np.matrix), g.zeros(6)), T, "targets must be an array, got a matrix"),
    # values, ops and criteria by themselves
    "the softmax of bytes": (
        lambda g: mx.softmax(g.zeros(6, 3, dtype="uint8")), T, "z must be floating, got"),
    "the softmax of truth": (lambda g: mx.softmax(g.zeros(6, 3, dtype="bool")), T, "z must be floating, got"),
    "the softmax of a number": (lambda g: mx.softmax(g.zeros()), V, "z must have shape (..., k) with k >= 1, got ()"),
    "the softmax of no classes": (lambda g: mx.softmax(g.zeros(6, 0)), V, "z must have shape (..., k) with k >= 1, got (6, 0)"),
    "the softmax of a list": (lambda g: mx.softmax([1.0, 2.0]), T, "z must be an array, got list"),
    "the sigmoid of integers": (lambda g: mx.sigmoid(g.y), T, "z must be floating, got"),
    "the sigmoid of complex numbers": (lambda g: mx.sigmoid(g.zeros(3, dtype="complex64")), T, "z must be floating, got"),
    "relu of integers": (lambda g: mx.ops.relu(g.y), T, "z must be floating, got"),
    "tanh of truth": (lambda g: mx.ops.tanh(g.zeros(3, dtype="bool")), T, "z must be floating, got"),
    "identity of complex numbers": (lambda g: mx.ops.identity(g.zeros(3, dtype="complex64")), T, "z must be floating, got"),
    "relu of nothing": (lambda g: mx.ops.relu(), T, "relu takes z, got 0 arguments"),
    "gelu of two": (lambda g: mx.ops.gelu(g.X, g.X), T, "gelu takes z, got 2 arguments"),
    "a criterion without weights": (
        lambda g: mx.losses.squared_error(g.t, g.t), T, "squared_error takes logits, targets, weights, got 2 arguments"),
    "affine of a row": (lambda g: mx.ops.affine(g.zeros(4), *g.p[:2]), V, "x must have shape (n, p), got (4,)"),
    "affine with a weight that does not fit": (
        lambda g: mx.ops.affine(g.X, *g.p[2:]), V, "weight must have shape (4, q) to follow x (6, 4), got (5, 3)"),
    "affine with a bias that would broadcast": (
        lambda g: mx.ops.affine(g.X, g.p[0], g.zeros(1)), V, "bias must have shape (5,) to follow weight (4, 5), got (1,)"),
    "affine with leading axes of two sizes": (
        lambda g: mx.ops.affine(g.X, g.zeros(2, 4, 5), g.zeros(3, 5)), V, "leading axes of x, weight and bias must have one size"),
    "affine with integers": (lambda g: mx.ops.affine(g.X, g.zeros(4, 5, dtype="int32"), g.p[1]), T, "weight must be floating"),
    "affine with a bias of another dtype": (
        lambda g: mx.ops.affine(g.X, g.p[0], g.zeros(5, dtype="float32")), T, "bias must have the dtype of x"),
    "logits of rank 1": (
        lambda g: mx.losses.softmax_cross_entropy(g.zeros(3), g.zeros(3), g.zeros(1)), V, "logits must have shape (n, k), k >= 1"),
    "labels for the targets of a criterion": (
        lambda g: mx.losses.softmax_cross_entropy(g.t, g.y, g.zeros(6)), T, "targets must be floating, got"),
    "targets of a criterion that would broadcast": (
        lambda g: mx.losses.squared_error(g.t, g.zeros(6, 1), g.zeros(6)), V,
        "targets must have shape (6, 3) to follow logits (6, 3), got (6, 1)"),
    "a column of weights": (
        lambda g: mx.losses.squared_error(g.t, g.t, g.zeros(6, 1)), V, "weights must have shape (6,) to follow logits (6, 3)"),
    "weights of another dtype for a criterion": (
        lambda g: mx.losses.poisson(g.t, g.t, g.zeros(6, dtype="float32")), T, "weights must have the dtype of logits"),
    "rows of integers for counts": (
        lambda g: mx.objective(g.X, g.zeros(6, 3, dtype="int64"), *g.p, criterion="poisson"), V,
        "got (6, 3); integers are labels: counts and other numbers must be floating, (n, d_out)"),
    "rows of integers for numbers": (
        lambda g: mx.objective(g.X, g.zeros(6, 3, dtype="int64"), *g.p, criterion="squared_error"), V,
        "counts and other numbers must be floating, (n, d_out)"),
    # init_params and step_cost, whatever kind
    "a negative seed for init_params": (lambda g: mx.init_params((4, 3), seed=-1), V, "seed must be at least 0, got -1"),
    "a floating seed for init_params": (lambda g: mx.init_params((4, 3), seed=1.0), T, "seed must be a whole number, got 1.0"),
    "a seed of init_params in words": (lambda g: mx.init_params((4, 3), seed="0"), T, "seed must be a whole number, got '0'"),
    "a boolean seed for init_params": (lambda g: mx.init_params((4, 3), seed=True), T, "seed must be a whole number, got True"),
    "no seed for init_params": (lambda g: mx.init_params((4, 3), seed=None), T, "seed must be a whole number, got None"),
    "None for a library": (lambda g: mx.init_params((4, 3), xp=None), T, "xp must be an array library, a module such as"),
    "a library of masked arrays": (lambda g: mx.init_params((4, 3), xp=np.ma), T, "xp must be an array library, a module"),
    "an array for a library": (lambda g: mx.init_params((4, 3), xp=g.X), T, "xp must be an array library, a module"),
    "a dtype by its name": (lambda g: mx.init_params((4, 3), xp=g.xp, dtype="float32"), T, "such as xp.float32, got 'float32'"),
    "a number for a dtype": (
        lambda g: mx.init_params((4, 3), xp=g.xp, dtype=np.float32(1)), T, "dtype must be a real floating dtype of xp"),
    "an array for a dtype": (
        lambda g: mx.init_params((4, 3), xp=g.xp, dtype=np.eye(2)), T, "xp.float32, got ndarray of shape (2, 2)"),
    "a size that is True": (lambda g: mx.init_params((4, True), xp=g.xp), V, "sizes must be at least two positive ints"),
    "a size of 400 digits": (lambda g: mx.init_params((4, 10**400), xp=g.xp), V, "sizes must be at least two positive ints"),
    "more parameters than memory holds": (
        lambda g: mx.init_params((4, 10**18, 3), xp=g.xp), MemoryError, "4-1000000000000000000-3 must fit in memory: it takes 3.2e+04 PB"),
    "networks without end": (
        lambda g: mx.init_params((4, 3), xp=g.xp, ensemble=10**79), MemoryError, "of 4-3 must fit in memory: it takes 9.6e+65 PB"),
    "a parameter that is a number": (
        lambda g: mx.hvp(g.X, g.y, g.p[0], g.p[1], -1, g.p[3], vectors=g.p), T, "W2 must be an array, got int"),
    "a flag that is 2": (lambda g: mx.optim.rmsprop(centered=2), T, "centered must be True or False, got 2"),
    "a dtype in an array": (
        lambda g: mx.step_cost((3, 2), n=1, dtype=np.asarray("float32")), V, "dtype must be 'bfloat16', 'float16'"),
    "a cost in place of 2": (lambda g: mx.step_cost((3, 2), n=1, in_place=2), T, "in_place must be True or False, got 2"),
    "vectorized in words": (
        lambda g: mx.numerical_grad(g.xp.sum, g.X, vectorized="no"), T, "vectorized must be True or False, got 'no'"),
    "a mask after True rows": (
        lambda g: mx.dropout.dropout_mask(g.xp, (2, 3), 0.5, 1, 1, g.X, g.put(True)), T, "first must be a whole number, got"),
    "ranks without end": (
        lambda g: mx.cost.scaling(mx.step_cost((3, 2), n=1), 10**80, flops_per_second=1.0, bandwidth=1.0, latency=0.0), V,
        "ranks must be below 2^31, got 1000"),
    "norms of a number": (lambda g: mx.optim.limit_norms(-1, 1.0), T, "params must be a tuple (W1, b1, W2, b2, ...), got -1"),
    "gradients of no ensemble": (
        lambda g: mx.optim.clip_by_global_norm(g.p, 1.0, ensemble=True), V, "ensemble is for gradients whose leading axes"),
    "the cost of True rows": (lambda g: mx.step_cost((3, 2), n=True), V, "n must be a positive int, got True"),
    "the cost of a list": (
        lambda g: mx.step_cost((3, 2), n=1, criterion=["poisson"]), V, "criterion must be 'absolute_error', 'gaussian'"),
    "the cost of a dict": (lambda g: mx.step_cost((3, 2), n=1, optimizer={}), V, "optimizer must be 'adam'"),
    "the cost of an array": (
        lambda g: mx.step_cost((3, 2, 2), n=1, activation=[np.eye(2)]), V, "activation must be 'elu'"),
    # slips in the loop and in optimizers
    "an optimizer by its name": (
        lambda g: g.train(optimizer="adam"), T,
        "optimizer must be an Optimizer such as optim.adam(), got 'adam'; write optim.adam()"),
    "an optimizer by an unknown name": (
        lambda g: g.train(optimizer="lion"), T, "optimizer must be an Optimizer such as optim.adam(), got 'lion'"),
    "an optimizer that was not made": (
        lambda g: g.train(optimizer=optim.rmsprop), T,
        "optimizer must be an Optimizer, got the function that makes one; call it: optim.rmsprop()"),
    "a pair that is no optimizer": (
        lambda g: g.train(optimizer=tuple(optim.adam())), T, "optimizer must be an Optimizer such as optim.adam(), got a tuple of 2"),
    "a function for the callbacks": (
        lambda g: g.train(callbacks=print), T, "callbacks must be a list of functions, got a function; write [function]"),
    "a word for the callbacks": (lambda g: g.train(callbacks="print"), T, "callbacks must be a list of functions, got 'print'"),
    "no callbacks": (lambda g: g.train(callbacks=None), T, "callbacks must be a list of functions, got None"),
    "one callback that is none": (lambda g: g.train(callbacks=[print, 1]), T, "callbacks must be a list of functions, got"),
    "a compiler by its name": (
        lambda g: g.train(compile="jit"), T, "compile must be a function such as jax.jit or torch.compile, or True for what"),
    "a score by its name": (lambda g: g.train(score="accuracy"), T, "score must be a function such as lambda params: 0.5"),
    "an order that is a list": (
        lambda g: g.train(order=[0, 1, 2, 3, 4, 5]), T, "order must be a function such as lambda number: range(n), got [0"),
    "an order that answers nothing": (
        lambda g: g.train(order=lambda number: None), V, "order(1) must be 6 row numbers from 0 to 5, got None"),
    "shuffle in words": (lambda g: g.train(shuffle="no"), T, "shuffle must be True or False, got 'no'"),
    "no parameters for train": (
        lambda g: g.train(params=None), T, "params must be a tuple (W1, b1, W2, b2, ...), got None"),
    "parameters by name": (
        lambda g: g.train(params=dict(zip("abcd", g.p, strict=True))), T, "params must be a tuple (W1, b1, W2, b2, ...), got {"),
    "one array for the parameters": (
        lambda g: g.train(params=g.p[0]), T, "params must be a tuple (W1, b1, W2, b2, ...), got"),
    "a validation set of three": (
        lambda g: g.train(validation=(g.X, g.y, g.y)), T, "validation must be a pair (X, y) or a share of the rows, got a tuple of 3"),
    "a seed of None": (lambda g: g.train(seed=None), T, "seed must be a whole number, got None"),
    "a rate beyond any number": (
        lambda g: g.train(lr=10**400), V, "lr must be at least 0 and finite, got inf"),
    "an alpha beyond any number": (lambda g: g.train(alpha=10**400), V, "alpha must be at least 0 and finite, got inf"),
    "a tol of text without patience": (lambda g: g.train(tol="small"), T, "tol must be a number, got 'small'"),
    "lbfgs of nothing": (lambda g: optim.lbfgs(None, g.p), T, "value_and_grad must be a function such as lambda *params"),
    "lbfgs from nothing": (lambda g: optim.lbfgs(print, ()), V, "params must hold at least one array, got none"),
    "lbfgs from one array": (
        lambda g: optim.lbfgs(print, g.X), T, "params must be a tuple (W1, b1, W2, b2, ...), got"),
    "lbfgs from lists": (lambda g: optim.lbfgs(print, ([1.0], [2.0])), T, "W1 must be an array, got list"),
    "lbfgs of integers": (lambda g: optim.lbfgs(print, (g.X, g.y)), T, "b1 must be floating, got"),
    "lbfgs with a tol in words": (lambda g: optim.lbfgs(print, g.p, tol="x"), T, "tol must be a number, got 'x'"),
    "lbfgs without iterations": (lambda g: optim.lbfgs(print, g.p, max_iter=0), V, "max_iter must be at least 1, got 0"),
    "lbfgs with half an evaluation": (
        lambda g: optim.lbfgs(print, g.p, max_fun=1.5), T, "max_fun must be a whole number, got 1.5"),
    "lbfgs with a word for its callback": (
        lambda g: optim.lbfgs(print, g.p, callback="print"), T, "callback must be a function such as lambda params, value"),
    "lbfgs of a function without gradients": (
        lambda g: optim.lbfgs(lambda *p: 1.0, g.p), T, "value_and_grad must return a number and a tuple of 4 gradients, got 1.0"),
    "lbfgs of a function that returns nothing": (
        lambda g: optim.lbfgs(lambda *p: None, g.p), T, "a tuple of 4 gradients, got None"),
    "lbfgs of too few gradients": (
        lambda g: optim.lbfgs(lambda *p: (1.0, p[:3]), g.p), V,
        "gradients of shapes [(4, 5), (5,), (5, 3), (3,)], got [(4, 5), (5,), (5, 3)]"),
    "lbfgs of a value for each row": (
        lambda g: optim.lbfgs(lambda *p: (g.X[:, 0], p), g.p), V, "of shape (6,) for the number"),
    "a compiler that returns nothing": (
        lambda g: g.train(compile=lambda step: None), T, "what compile returns must be a function such as jax.jit(step)"),
    "a state for no parameters": (lambda g: optim.adam().init(()), V, "params must hold at least one array, got none"),
    "a state for one array": (
        lambda g: optim.sgd().init(g.X), T, "params must be a tuple (W1, b1, W2, b2, ...), got"),
    "a state for lists": (lambda g: optim.rmsprop().init(([1.0],)), T, "W1 must be an array, got list"),
    "a step without a state": (
        lambda g: optim.adam().update(g.p, g.p, (), 0.1), V,
        "state must be this optimizer's, 9 arrays for these parameters, got 0"),
    "a step with another optimizer's state": (
        lambda g: optim.momentum().update(g.p, g.p, optim.adam().init(g.p), 0.1), V,
        "state must be this optimizer's, 4 arrays for these parameters, got 9"),
    "a step of sgd with a state": (
        lambda g: optim.sgd().update(g.p, g.p, g.p, 0.1), V, "state must be this optimizer's, 0 arrays"),
    "a step with too few gradients": (
        lambda g: optim.sgd().update(g.p, g.p[:3], (), 0.1), V,
        "grads must be a tuple of 4 gradients, one per parameter, got 3"),
    "a step at a rate in words": (
        lambda g: optim.sgd().update(g.p, g.p, (), "fast"), T, "lr must be a number or a 0-d array, got 'fast'"),
    "a step at no rate": (
        lambda g: optim.nesterov().update(g.p, g.p, g.p, None), T, "lr must be a number or a 0-d array, got None"),
    "nothing to clip": (lambda g: optim.clip_by_global_norm((), 1.0), V, "grads must hold at least one array, got none"),
    "a limit that is text": (lambda g: optim.clip_by_global_norm(g.p, "1"), T, "limit must be a number, got '1'"),
    "a decay of None": (lambda g: optim.momentum(None), T, "decay must be a number, got None"),
    "a huge epsilon": (lambda g: optim.adam(epsilon=10**400), V, "epsilon must be at least 0 and finite, got inf"),
    # looking inside
    "a hidden layer 0": (lambda g: mx.hidden(g.X, *g.p, layer=0), V, "layer must be 1 ... 1, or -1 for the last, got 0"),
    "a hidden layer before the first": (lambda g: mx.hidden(g.X, *g.p, layer=-2), V, "layer must be at least -1, got -2"),
    "a hidden layer by a name": (lambda g: mx.hidden(g.X, *g.p, layer="last"), T, "layer must be a whole number, got 'last'"),
    "a hidden layer of one map": (
        lambda g: mx.hidden(g.X, *g.p[:2]), V, "hidden needs a network with a hidden layer, got one of W1 and b1 alone"),
    "activations of a network that do not fit": (
        lambda g: mx.hidden(g.X, *g.p, activation=["tanh"] * 2), V, "activation must be one or one per hidden layer (1), got 2"),
    "an output that is not there": (
        lambda g: mx.input_gradients(g.X, *g.p, output=3), V, "output must be 0 ... 2, or -1 for the last, got 3"),
    "no output of three": (
        lambda g: mx.input_gradients(g.X, *g.p), V, "output must name one of 3 outputs, 0 ... 2, got None"),
    "an output of another kind": (
        lambda g: mx.input_gradients(g.X, *g.p, output=True), T, "output must be a whole number, got True"),
    "three outputs of means and deviations": (
        lambda g: mx.input_gradients(g.X, *g.p, output=0, criterion="gaussian"), V,
        "d_out must be a multiple of 2, the outputs of each target for gaussian, got 3"),
    "parameters in one argument": (
        lambda g: mx.input_gradients(g.X, g.p), T, "W1 must be an array, got tuple; unpack the parameters, *params"),
    # products with second derivatives, and gradients of rows
    "a curvature of a criterion that is no function": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=g.p, criterion=bent(lambda *_: 3, op_half_sum)), T,
        "the curvature of criterion op must return a function dz -> H dz, got 3"),
    "a curvature of a criterion of another shape": (
        lambda g: mx.hvp(
            g.X, g.y, *g.p, vectors=g.p, criterion=bent(lambda *_: lambda dz: dz[:, :1], op_half_sum)), V,
        "the curvature of criterion op must return a function dz -> H dz that keeps the shape of dz, (6, 3), got"),
    "a product with an array for the vectors": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=g.p[0]), T, "vectors must be a tuple (W1, b1, W2, b2, ...), got"),
    "a product with too few vectors": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=g.p[:2]), V,
        "vectors must be 4 arrays, one like each parameter, got 2"),
    "a product with a vector of another shape": (
        lambda g: mx.ggnvp(g.X, g.y, *g.p, vectors=(*g.p[:3], g.zeros(1))), V,
        "the vector of b2 must have the shape of b2, (3,), got (1,)"),
    "a product with a vector of another dtype": (
        lambda g: mx.ggnvp(g.X, g.y, *g.p, vectors=(g.zeros(4, 5, dtype="float32"), *g.p[1:])), T,
        "the vector of W1 must have the dtype of W1, "),
    "a product with a number for a vector": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=(1.0, *g.p[1:])), T, "the vector of W1 must be an array, got float"),
    "a product with an unknown option": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=g.p, l3=0.1), T, "options are 'activation', 'criterion', "),
    "a product with some batched parameters": (
        lambda g: mx.hvp(g.X, g.y, g.zeros(2, 4, 5), *g.p[1:], vectors=(g.zeros(2, 4, 5), *g.p[1:])), V,
        "either all parameters or none must have a leading axis"),
    "a product through an activation without a second derivative": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=g.p, activation=op_square), V,
        "activation op_square has no second derivative here: give the op an attribute curvature, a function (z) of the "
        "second derivative, in the shape of z"),
    "a product through a criterion without a second derivative": (
        lambda g: mx.ggnvp(g.X, g.t, *g.p, vectors=g.p, criterion=op_half_sum), V,
        "criterion op_half_sum has no second derivative here: give the op an attribute curvature, a function (logits, "
        "targets, weights) that returns dz -> H dz"),
    "a second derivative that is a number": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=g.p, activation=bent(2.0)), T,
        "the curvature of activation op must be a function, got 2.0"),
    "a second derivative of another shape": (
        lambda g: mx.hvp(g.X, g.y, *g.p, vectors=g.p, activation=bent(lambda z: 2.0)), V,
        "the curvature of activation op must be an array of the shape of z, (6, 5), got 2.0"),
    "gradients of rows of a penalty": (
        lambda g: mx.per_example_grads(g.X, g.y, *g.p, l2=0.1), V,
        "l2 must be 0 for gradients of rows, for a penalty belongs to no row, got 0.1"),
    "norms of rows of another penalty": (
        lambda g: mx.per_example_grad_norms(g.X, g.y, *g.p, l1=0.5), V, "l1 must be 0 for gradients of rows"),
    "gradients of rows with some batched parameters": (
        lambda g: mx.per_example_grads(g.X, g.y, g.zeros(2, 4, 5), *g.p[1:]), V,
        "either all parameters or none must have a leading axis"),
    "gradients of rows with labels of another length": (
        lambda g: mx.per_example_grad_norms(g.X, g.y[:5], *g.p), V, "integer y must be labels of shape (n,) = (6,)"),
    # training on batches
    "no targets and no batches": (
        lambda g: g.train(X=g.X, y=None), V,
        "y must be the targets of X; None stands for an iterable of batches (X, y) in place of X, got None and X "),
    "a number for batches": (
        lambda g: g.train(X=5, y=None), T, "batches must be an iterable of pairs (X, y), got 5"),
    "a dict for batches": (
        lambda g: g.train(X={"X": g.X}, y=None), T, "batches must be an iterable of pairs (X, y), got {'X': "),
    "batches of X alone": (
        lambda g: g.train(X=[g.X], y=None), T,
        "batch 1 must be a pair (X, y), or a triple (X, y, sample_weight), got "),
    "batches that are dicts": (
        lambda g: g.train(X=[{"X": g.X, "y": g.y}], y=None), T,
        "batch 1 must be a pair (X, y), or a triple (X, y, sample_weight), got {'X': "),
    "a batch of four": (
        lambda g: g.train(X=[(g.X, g.y), (g.X, g.y, g.y, g.y)], y=None), T,
        "batch 2 must be a pair (X, y), or a triple (X, y, sample_weight), got a tuple of 4"),
    "single rows for batches": (
        lambda g: g.train(X=[(g.X[0, ...], g.y[0])], y=None), V, "batch 1: X must have shape (n, d_in), got (4,)"),
    "no batches": (lambda g: g.train(X=[], y=None), V, "batches must hold at least one batch, got none"),
    "a batch without rows": (
        lambda g: g.train(X=[(g.X, g.y), (g.X[:0, :], g.y[:0])], y=None), V,
        "batch 2: X must have at least one row and one column, got shape (0, 4)"),
    "a batch of another width": (
        lambda g: g.train(X=[(g.X, g.y), (g.zeros(6, 3), g.y)], y=None), V,
        "batch 2: W1 must have shape (3, d_out) to follow X (6, 3), got (4, 5)"),
    "a batch of another dtype": (
        lambda g: g.train(X=[(g.zeros(6, 4, dtype="float32"), g.y)], y=None), T, "batch 1: W1 must have the dtype of X"),
    "a batch with a NaN": (
        lambda g: g.train(X=[(g.X, g.y), (g.X * NAN, g.y)], y=None), V,
        "batch 2: X must be finite, got NaN or infinity"),
    "a batch with a label out of range": (
        lambda g: g.train(X=[(g.X, g.y + 2)], y=None), V, "batch 1: y must hold labels 0 to 2, got labels "),
    "weights in some batches": (
        lambda g: g.train(X=[(g.X, g.y), (g.X, g.y, g.zeros(6) + 1.0)], y=None), V,
        "batch 2: sample_weight must be in every batch or in none, got weights after none"),
    "batches that all weigh nothing": (
        lambda g: g.train(X=[(g.X, g.y, g.zeros(6))], y=None), V,
        "sample_weight must be positive for at least one row that is learned from"),
    "a generator of batches for two epochs": (
        lambda g: g.train(X=iter([(g.X, g.y)]), y=None, epochs=2), V,
        "batches must be an iterable that can be gone through again, such as a DataLoader or a list, for 2 passes, got "),
    "a batch size beside batches": (
        lambda g: g.train(X=[(g.X, g.y)], y=None, batch_size=3), V,
        "batch_size must be left out where data come in batches, which decide it themselves"),
    "an order beside batches": (
        lambda g: g.train(X=[(g.X, g.y)], y=None, order=lambda number: range(6)), V, "order must be left out where"),
    "weights beside batches": (
        lambda g: g.train(X=[(g.X, g.y)], y=None, sample_weight=g.zeros(6)), V, "sample_weight must be left out where"),
    "a share of batches held out": (
        lambda g: g.train(X=[(g.X, g.y)], y=None, validation=0.2), V,
        "validation must be a pair (X, y) where data come in batches, got 0.2"),
    "batches for parameters that are not finite": (
        lambda g: g.train(X=[(g.X, g.y)], y=None, params=[p * NAN for p in g.p]), V, "the parameters must be finite"),
    "batches for no parameters": (
        lambda g: g.train(X=[(g.X, g.y)], y=None, params=()), V,
        "the parameters must be W1, b1, W2, b2, ... in pairs, got 0 arrays"),
    # criteria that take several outputs of each target, or a parameter
    "an odd number of outputs for means and deviations": (
        lambda g: mx.forward(g.X, *g.p, criterion="gaussian"), V,
        "d_out must be a multiple of 2, the outputs of each target for gaussian, got 3"),
    "targets for each output": (
        lambda g: mx.objective(g.X, g.t, *g.p, criterion=mx.losses.quantile(0.1, 0.5, 0.9)), V,
        "floating y must be targets of shape (n, d_out) = (6, 1), got (6, 3)"),
    "levels in percent": (
        lambda g: mx.objective(g.X, g.t, *g.p, criterion=mx.losses.quantile(5, 95)), V,
        "a level of quantile must be at least 0 and below 1, got 5"),
    "levels that fall": (lambda g: mx.losses.quantile(0.9, 0.1), V, "in ascending order, got 0.9, 0.1"),
    "arrays for levels": (
        lambda g: mx.losses.quantile(g.t, g.t, g.zeros(6)), T, "a level of quantile must be a number, got"),
    "a delta of 0": (lambda g: mx.losses.huber(0), V, "delta must be positive, got 0"),
    # ensembles: parameters with a leading axis
    "no network": (lambda g: mx.init_params((4, 3), ensemble=0), V, "ensemble must be at least 1, got 0"),
    "half a network": (lambda g: mx.init_params((4, 3), ensemble=1.5), T, "ensemble must be a whole number, got 1.5"),
    "an ensemble that is True": (
        lambda g: mx.init_params((4, 3), ensemble=True), T, "ensemble must be a whole number, got True"),
    "an ensemble of no networks is trained": (
        lambda g: next(train(g.X, g.y, tuple(p[None, ...][:0, ...] for p in g.p), epochs=1)), V,
        "an ensemble must have at least one network, got W1 of shape (0, 4, 5)"),
    "batched and other parameters are trained together": (
        lambda g: next(train(g.X, g.y, (g.p[0][None, ...], *g.p[1:]), epochs=1)), V,
        "either all parameters or none must have a leading axis, got [(1, 4, 5), (5,), (5, 3), (3,)]"),
    "rates for other networks": (
        lambda g: next(train(g.X, g.y, tuple(p[None, ...] for p in g.p), epochs=1, lr=(0.1, 0.2))), V,
        "lr must be one value, or 1, one for each network, got 2: [0.1, 0.2]"),
    "two penalties of one network": (
        lambda g: next(train(g.X, g.y, g.p, epochs=1, alpha=[0.1, 0.2])), V,
        "alpha must be one value for one network, got 2: [0.1, 0.2]"),
    "weights for other networks": (
        lambda g: next(train(g.X, g.y, tuple(p[None, ...] for p in g.p), epochs=1, sample_weight=g.zeros(2, 6))), V,
        "sample_weight must have shape (n,) = (6,) or (k, n) = (1, 6), got (2, 6)"),
    "weights of several networks for one": (
        lambda g: mx.objective(g.X, g.y, *g.p, sample_weight=g.zeros(2, 6)), V,
        "sample_weight must have shape (n,) = (6,), got (2, 6)"),
    "weights that are all 0 are trained with": (
        lambda g: next(train(g.X, g.y, g.p, epochs=1, sample_weight=g.zeros(6))), V,
        "sample_weight must be positive for at least one row that is learned from"),
    "a rate for each of other networks in a step": (
        lambda g: mx.train_step(g.X, g.y, *g.p, lr=g.zeros(2)), T, "lr must be a number, or a 0-d array of one, got"),
    "Newton-CG without products": (
        lambda g: optim.newton_cg(print, None, g.p), T, "product_at must be a function such as lambda *params"),
    "Newton-CG with products of no function": (
        lambda g: optim.newton_cg(partial(mx.loss_and_grads, g.X, g.y), lambda *p: lambda v: None, g.p), T,
        "what product_at(*params) returns must give a tuple of 4 arrays, got None"),
    "Newton-CG with products of other shapes": (
        lambda g: optim.newton_cg(partial(mx.loss_and_grads, g.X, g.y), lambda *p: lambda v: v[::-1], g.p), V,
        "what product_at(*params) returns must give a tuple of 4 arrays of shapes [(4, 5), (5,), (5, 3), (3,)], got"),
    "Newton-CG with half an iteration": (
        lambda g: optim.newton_cg(print, print, g.p, max_iter=0.5), T, "max_iter must be a whole number, got 0.5"),
    # several batches in one step
    "a step of no batches": (
        lambda g: next(train(g.X, g.y, g.p, epochs=1, accumulate=0)), V, "accumulate must be at least 1, got 0"),
    "a step of one and a half batches": (
        lambda g: next(train(g.X, g.y, g.p, epochs=1, accumulate=1.5)), T,
        "accumulate must be a whole number, got 1.5"),
    "accumulate that is True": (
        lambda g: next(train(g.X, g.y, g.p, epochs=1, accumulate=True)), T,
        "accumulate must be a whole number, got True"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), ROWS.values(), ids=ROWS)
def test_bad_input_gets_one_clear_sentence(good, call, error, words):
    with pytest.raises(error, match=re.escape(words)) as caught:
        call(good)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.only("torch", "jax", "dask", "array_api_strict", "cupy", "dpnp")
@pytest.mark.parametrize("which", ["X", "y", "W1", "b2", "sample_weight"])
def test_arrays_of_two_libraries_are_refused(put, which):
    arrays = {"X": textbook.batch(), "y": textbook.labels(), "sample_weight": np.ones(6)}
    arrays |= dict(zip(("W1", "b1", "W2", "b2"), textbook.parameters(), strict=True))
    arrays = {name: array if name == which else put(array) for name, array in arrays.items()}
    X, y, weight, *params = arrays.values()
    with pytest.raises(TypeError, match=r"must come from one array library, but .* of numpy"):
        mx.objective(X, y, *params, sample_weight=weight)


@pytest.mark.only("torch", "jax", "array_api_strict")
@pytest.mark.parametrize("which", ["y", "W2", "b1", "sample_weight"])
def test_arrays_on_two_devices_are_refused(elsewhere, xp, put, which):
    arrays = {"y": textbook.labels(), "sample_weight": np.ones(6)}
    arrays |= dict(zip(("W1", "b1", "W2", "b2"), textbook.parameters(), strict=True))
    arrays = {
        name: xp.asarray(array, device=elsewhere) if name == which else put(array) for name, array in arrays.items()
    }
    y, weight, *params = arrays.values()
    with pytest.raises(ValueError, match=f"{which} must be on the device of X, .*, got "):
        mx.objective(put(textbook.batch()), y, *params, sample_weight=weight)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, -1.0, 1, 1, 1, 1], "sample_weight must not be negative or NaN, got -1.0"),
        ([1.0, NAN, 1, 1, 1, 1], "sample_weight must not be negative or NaN, got nan"),
        ([0.0] * 6, "sample_weight must not sum to zero"),
        ([1.0, INF, 1, 1, 1, 1], "sample_weight must be finite, and so must be their sum, got a sum of inf"),
        ([1e308] * 6, "sample_weight must be finite, and so must be their sum, got a sum of inf"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in reduce:RuntimeWarning")  # NumPy's own, of 6e308
def test_impossible_weights_are_refused_where_they_can_be_seen(good, weights, words):
    with pytest.raises(ValueError, match=words):
        mx.loss_and_grads(good.X, good.y, *good.p, sample_weight=np.asarray(weights))


@pytest.mark.parametrize(
    "weights", [[1.0, NAN, 1, 1, 1, 1], [0.0] * 6, [INF, 1, 1, 1, 1, 1], [1e308] * 6, [-1.0, 2, 2, 2, 2, 2]]
)
# 0 / 0, inf - inf and a sum of 6e308 inside array-api-strict and Dask, which compute with NumPy
@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered in:RuntimeWarning")
@pytest.mark.only("torch", "jax", "dask", "array_api_strict", "cupy", "dpnp")
def test_impossible_weights_give_no_plausible_number_elsewhere(good, put, host, weights):
    loss, grads = mx.loss_and_grads(good.X, good.y, *good.p, sample_weight=put(weights))
    assert all(np.all(np.isnan(host(array))) for array in (loss, *grads))


@pytest.mark.only("dask")
def test_dask_arrays_of_unknown_size_are_refused_with_the_remedy(good):
    unknown = good.X[good.X[:, 0] < 100]
    with pytest.raises(ValueError, match=re.escape("X must have a known shape, got (nan, 4); call X.compute_chunk_")):
        mx.forward(unknown, *good.p)
    unknown.compute_chunk_sizes()
    mx.forward(unknown, *good.p)


@pytest.mark.only("dask")
def test_dask_labels_of_unknown_size_are_refused(good):
    with pytest.raises(ValueError, match="y must"):
        mx.objective(good.X, good.y[good.y < 100], *good.p)
