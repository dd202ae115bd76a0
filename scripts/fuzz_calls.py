"""The public functions with right arguments, and what each argument must be: ``fuzz`` spoils one of them at a time.

``entries`` is the table, and ``unknown`` names what is public and not in it: a new function, or a new argument of an
old one, is one line here. The rules, ``refuses``, read no code of the package.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from fuzz_trials import Trial
from hypothesis import strategies as st

import mlp_xp as mx
from mlp_xp import backends, checkpoint, convert, curvature, data, dropout, losses, optim, plots, schedules
from mlp_xp import estimators as est
from mlp_xp.cost import scaling
from mlp_xp.export import model_of, to_onnx
from mlp_xp.gradcheck import gradcheck
from mlp_xp.mistakes import blind_spots
from mlp_xp.train import in_blocks, train

# --- kinds of arguments ----------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """An argument.

    right: one that is right.
    refuses: whether another must be refused.
    also: other words for it in a sentence.
    spoiled: whether it is spoiled at all.
    is_count: whether a large number is right and takes as long as it says.
    """

    right: Any
    refuses: Callable[[Any], bool] = lambda value: False
    also: str = ""
    spoiled: bool = True
    is_count: bool = False


def anything(right: Any, also: str = "") -> Kind:
    """An argument of which no rule says what is malformed."""
    return Kind(right, also=also)


def given(right: Any) -> Kind:
    """An argument that is taken as it comes: of the loop's own functions, which are asked in every step."""
    return Kind(right, spoiled=False)


def number(right: Any, low: float = -math.inf, high: float = math.inf) -> Kind:
    """A finite number from ``low`` to ``high``; of an array of one number nothing is said."""

    def refuses(value: Any) -> bool:
        if isinstance(value, np.ndarray):
            return value.size != 1 or value.dtype.kind not in "fiu"
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return not is_number or not (low <= value <= high and abs(value) != math.inf)

    return Kind(right, refuses)


def whole(right: Any, low: int = 0, high: float = math.inf) -> Kind:
    """A whole number of at least ``low``; of an array of one nothing is said."""

    def refuses(value: Any) -> bool:
        if isinstance(value, np.ndarray):
            return value.shape != () or value.dtype.kind not in "iu"
        return not isinstance(value, Integral) or isinstance(value, bool) or not low <= int(value) <= high

    return Kind(right, refuses)


def count(right: int) -> Kind:
    """How often something is done."""
    return whole(right, 1)._replace(is_count=True)


def array(right: Any, *shape: int, dtypes: str = "fiu", also: str = "") -> Kind:
    """An array of real numbers of this shape, or of any where none is given; of the numbers nothing is said."""

    def refuses(value: Any) -> bool:
        return (
            not isinstance(value, (np.ndarray, np.generic))
            or bool(shape and value.shape != shape)
            or value.dtype.kind not in dtypes
        )

    return Kind(right, refuses, also)


def rows(right: Any, also: str = "arrays?|samples?|features?|input|dtype|numeric|labels?|target|classes") -> Kind:
    """Rows for an estimator, which takes lists too, and has scikit-learn check them, in its words."""
    return Kind(right, lambda value: isinstance(value, (Real, str, bytes, complex, set)) or value is None, also)


def name(right: Any, *names: str) -> Kind:
    """One of these names, or a function; of a list of them nothing is said."""
    return Kind(right, lambda value: not callable(value) and not isinstance(value, (list, tuple)) and not (
        isinstance(value, str) and value in names))  # fmt: skip


def function(right: Any) -> Kind:
    """A function."""
    return Kind(right, lambda value: not callable(value))


def functions(right: Any) -> Kind:
    """Several functions."""
    return Kind(right, lambda value: isinstance(value, (Real, complex)) or value is None)


def flag(right: bool) -> Kind:
    """True or False, or a number that stands for it."""
    return Kind(right, lambda value: not isinstance(value, (Real, np.bool_)) or value not in (0, 1))


def sizes(right: Any) -> Kind:
    """At least two positive whole numbers."""

    def refuses(value: Any) -> bool:
        return not isinstance(value, (tuple, list)) or len(value) < 2 or any(map(whole(1, 1).refuses, value))

    return Kind(right, refuses)


def optional(kind: Kind) -> Kind:
    """The same, or None."""
    return kind._replace(refuses=lambda value: value is not None and kind.refuses(value))


def each(kind: Kind) -> Kind:
    """The same, a function in its place, or several."""
    return kind._replace(
        refuses=lambda value: not callable(value) and not isinstance(value, (list, tuple, np.ndarray))
        and kind.refuses(value)
    )  # fmt: skip


# --- the table -------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A public function: the arguments that are given by position, and those by name; how it is called."""

    function: Callable[..., Any]
    given: Mapping[str, Kind] = {}
    options: Mapping[str, Kind] = {}
    call: Callable[..., Any] | None = None


X: Any
Y: Any
X, Y = np.linspace(-1.0, 1.0, 24).reshape(6, 4), np.array([0, 1, 2, 0, 1, 2])
T = np.linspace(0.1, 0.9, 18).reshape(6, 3)
NUMBERS = np.linspace(-2.0, 3.0, 6)
P = mx.init_params((4, 5, 3))
SHARE = partial(number, low=0.0, high=math.nextafter(1.0, 0.0))
AT_LEAST_0, POSITIVE = partial(number, low=0.0), partial(number, low=math.ulp(0.0))

_PARTS = "labels|params|parameters|arrays|weights|leading axis|one network|sample_weight"
INPUTS, TARGETS = array(X, 6, 4, dtypes="f", also=_PARTS), array(Y, also=_PARTS)
ANY_ROWS = array(X, dtypes="f", also=_PARTS)
WEIGHTS = {word: array(value, dtypes="f", also=_PARTS) for word, value in zip(("W1", "b1", "W2", "b2"), P, strict=True)}
BATCH = {"X": INPUTS, "y": TARGETS, **WEIGHTS}
ACTIVATION = name("sigmoid", *mx.ops.ACTIVATIONS, "logistic")
CRITERION = name("softmax_cross_entropy", *losses.CRITERIA)
PREDICT = {"activation": ACTIVATION, "criterion": CRITERION}
OPTIONS = PREDICT | {
    "l2": AT_LEAST_0(0.1), "l1": AT_LEAST_0(0.1), "label_smoothing": SHARE(0.1), "dropout": SHARE(0.5),
    "input_dropout": SHARE(0.5), "sample_weight": optional(array(np.ones(6), also="weights")), "seed": whole(1),
}  # fmt: skip
EXACT = {key: kind for key, kind in OPTIONS.items() if key not in ("dropout", "input_dropout", "seed")}  # no noise


def _objective(*params: Any) -> Any:
    return mx.objective(X, Y, *params)


def _gradient(*params: Any) -> Any:
    return mx.loss_and_grads(X, Y, *params)[1]


def _any(*functions: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    return functions


def network() -> Iterator[Entry]:
    """Functions of the network and of its parts."""
    cache = mx.forward(X, *P)[1]
    xp = Kind(np, lambda value: not inspect.ismodule(value))
    yield Entry(mx.init_params, {"sizes": sizes((4, 5, 3))}, {
        "xp": xp, "dtype": anything(None), "device": anything(None), "seed": whole(0),
        "ensemble": optional(count(2)),
    })  # fmt: skip
    noise = {key: OPTIONS[key] for key in ("dropout", "input_dropout", "seed")}
    yield Entry(mx.forward, {"X": ANY_ROWS, **WEIGHTS}, PREDICT | noise)
    yield Entry(mx.backward, {"cache": anything(cache), "y": TARGETS}, {
        "sample_weight": OPTIONS["sample_weight"], "label_smoothing": OPTIONS["label_smoothing"],
    })  # fmt: skip
    for each_of in _any(mx.objective, mx.loss_and_grads, blind_spots):
        yield Entry(each_of, BATCH, OPTIONS)
    without = dict.fromkeys(("l2", "l1"), number(0.0, 0.0, 0.0))  # of a row a penalty is no part
    for each_of in _any(mx.per_example_grads, mx.per_example_grad_norms):
        yield Entry(each_of, BATCH, OPTIONS | without)
    yield Entry(mx.hypotheses, BATCH, OPTIONS)
    yield Entry(
        mx.check_gradients, BATCH, OPTIONS | {"mode": name("auto", "auto", "full"), "max_entries": whole(50, 1)}
    )
    yield Entry(mx.train_step, BATCH, OPTIONS | {"lr": AT_LEAST_0(0.1)})
    for each_of in _any(mx.predict, mx.predict_proba):
        yield Entry(each_of, {"X": ANY_ROWS, **WEIGHTS}, PREDICT)
    yield Entry(mx.hidden, {"X": ANY_ROWS, **WEIGHTS}, {"layer": whole(-1, -1, 1), "activation": ACTIVATION})
    yield Entry(mx.input_gradients, {"X": ANY_ROWS, **WEIGHTS}, PREDICT | {"output": optional(whole(0, -3, 2))})
    vectors = {"vectors": Kind(P, lambda value: not isinstance(value, (tuple, list)))}
    for each_of in _any(mx.hvp, mx.ggnvp):
        yield Entry(each_of, BATCH, OPTIONS | vectors)
    yield Entry(curvature.hessian_at, BATCH, OPTIONS)
    for each_of in _any(mx.softmax, mx.sigmoid):
        yield Entry(each_of, {"z": array(X, dtypes="f")})
    yield Entry(mx.cross_entropy, {"p": array(T, dtypes="f", also="y"), "y": array(Y)})
    affine = {"x": array(X, dtypes="f"), "weight": array(P[0], dtypes="f"), "bias": array(P[1], dtypes="f")}
    yield Entry(mx.ops.affine, affine)
    for word in mx.ops.ACTIVATIONS:
        yield Entry(getattr(mx.ops, word), {"z": array(X, dtypes="f")})
    made = {"logits": T, "targets": T / T.sum(1, keepdims=True), "weights": np.full(6, 1 / 6)}
    of_criterion = {word: array(value, dtypes="f") for word, value in made.items()}
    for word in losses.CRITERIA.keys() - {"huber", "quantile"}:
        wide = {"gaussian": {"logits": array(T[:, :2], dtypes="f"), "targets": array(T[:, :1], dtypes="f")}}
        yield Entry(getattr(losses, word), of_criterion | wide.get(word, {}))
    yield Entry(losses.huber, {}, {"delta": POSITIVE(1.0)})
    level = number(0.5, math.ulp(0.0), math.nextafter(1.0, 0.0))
    yield Entry(losses.quantile, {"levels": level._replace(also="quantile")})
    mask = {"xp": given(array_namespace(X)), "shape": given((6, 4)), "seed": whole(1), "like": given(X)}
    first = {"first": optional(whole(0)._replace(also="rows"))}
    yield Entry(dropout.dropout_mask, {}, mask | first | {"rate": SHARE(0.5), "layer": whole(1)})
    yield Entry(dropout.uniform, {}, mask | first | {"stream": whole(1, 0, 32767)})


def checking() -> Iterator[Entry]:
    """Functions that check gradients."""
    x = np.array([0.5, -1.0, 2.0])

    def op(x: Any) -> Any:
        return x**2, lambda c: (2 * x * c,)

    def jvp(primals: Any, tangents: Any) -> Any:
        return primals[0] ** 2, 2 * primals[0] * tangents[0]

    f, grad = (lambda x: np.sum(x**2)), (lambda x: (2 * x,))
    seed, names = {"seed": whole(0)}, {"names": anything(("x",))}
    more = {
        "mode": name("auto", "auto", "full"), "vectorized": flag(False), "hypotheses": anything(None),
        "max_entries": whole(50, 1), "wirtinger": name("conjugate", "conjugate", "plain"),
    }  # fmt: skip
    yield Entry(gradcheck, {"f": function(f), "grad": function(grad), "params": anything((x,), "x|array|f")},
                names | seed | more)  # fmt: skip
    yield Entry(mx.check_pullback, {"op": function(op), "args": anything((x,), "x|array|op|argument|f")},
                names | seed | {"wirtinger": optional(more["wirtinger"])})  # fmt: skip
    yield Entry(
        mx.check_jvp,
        {"op": function(lambda x: x**2), "jvp": function(jvp), "args": anything((x,), "x|array|op|argument|f")},
        names | seed,
    )
    products = {"grad": function(_gradient), "hvp": function(_product), "params": anything(P, "array|grad")}
    yield Entry(mx.check_hvp, products, seed)
    derivative = {"f": function(_objective), "params": anything(P, "array|f"), "direction": anything(P, "array")}
    yield Entry(mx.directional_derivative, derivative, seed)
    yield Entry(mx.numerical_grad, {"f": function(f), "x": array(x, dtypes="fc")},
                {"eps": optional(POSITIVE(1e-6)), "vectorized": flag(False)._replace(also="f")})  # fmt: skip


def _product(params: Any, vectors: Any) -> Any:
    return mx.hvp(X, Y, *params, vectors=vectors)


def learning() -> Iterator[Entry]:
    """Optimizers, schedules, costs, and the loop."""
    decay, epsilon = {"decay": number(0.9, 0.0, 1.0)}, {"epsilon": AT_LEAST_0(1e-8)}
    yield Entry(optim.sgd)
    for each_of in _any(optim.momentum, optim.nesterov):
        yield Entry(each_of, {}, decay | {"lr_in_velocity": flag(False)})
    betas = {"beta1": SHARE(0.9), "beta2": SHARE(0.99)} | epsilon
    yield Entry(optim.adam, {}, betas | {"epsilon_before_correction": flag(False)})
    yield Entry(optim.adamw, {}, betas | {"weight_decay": AT_LEAST_0(0.01)})
    yield Entry(optim.rmsprop, {}, {"decay": SHARE(0.9), "momentum": SHARE(0.1), "centered": flag(True)} | epsilon)
    tree = anything(P, "array|parameters|f")
    yield Entry(optim.clip_by_global_norm, {"grads": tree, "limit": POSITIVE(1.0)}, {"ensemble": flag(False)})
    yield Entry(optim.limit_norms, {"params": tree, "limit": POSITIVE(1.0)})
    limits = {
        "max_iter": count(2),
        "tol": AT_LEAST_0(1e-4),
        "callback": optional(function(lambda params, loss: None)),
    }
    solver = {"value_and_grad": function(_value_and_grad), "params": tree}
    yield Entry(optim.lbfgs, solver, limits | {"max_fun": count(9)})
    at = {"product_at": function(lambda *params: partial(_product, params))}
    yield Entry(optim.newton_cg, {"value_and_grad": solver["value_and_grad"], **at, "params": tree}, limits)
    lr, steps = AT_LEAST_0(0.1), AT_LEAST_0(5)
    yield Entry(schedules.constant, {"lr": lr})
    yield Entry(schedules.cosine, {"lr": lr}, {"steps": optional(steps), "final": AT_LEAST_0(0.01)})
    yield Entry(schedules.step_decay, {"lr": lr}, {"every": number(5, 1.0), "factor": AT_LEAST_0(0.1)})
    warm = {"schedule": function(schedules.constant(0.1))}
    yield Entry(schedules.warm_up, warm, {"steps": steps, "first": number(0.0, 0.0, 1.0)})
    yield Entry(schedules.inverse_scaling, {"lr": lr}, {"power": AT_LEAST_0(0.5)})
    patience, tol = AT_LEAST_0(3), {"tol": AT_LEAST_0(1e-4)}
    yield Entry(schedules.adaptive, {"lr": lr}, {"patience": patience, "factor": number(5.0, 1.0)} | tol)
    size = {"sizes": sizes((4, 5, 3)), "n": whole(6, 1)}
    yield Entry(mx.step_cost, size, {
        "dtype": name("float32", *backends.DTYPES, *backends.NARROW_DTYPES), **PREDICT,
        "optimizer": name("sgd", *optim.OPTIMIZERS), "dropout": SHARE(0.0), "input_dropout": SHARE(0.0),
        "in_place": flag(True),
    })  # fmt: skip
    yield Entry(scaling, {"cost": anything(mx.step_cost((4, 5, 3), n=6)), "ranks": whole(2, 1)}, {
        "flops_per_second": POSITIVE(1e9), "bandwidth": POSITIVE(1e9), "latency": AT_LEAST_0(1e-6),
        "update_seconds": AT_LEAST_0(0.0), "algorithm": name("ring", "ring", "tree", "central"),
    })  # fmt: skip
    yield Entry(in_blocks, {"rows": whole(8, 1), "size": whole(2, 1)}, {"mixed": whole(2, 1), "seed": whole(0)})
    loop = {"X": rows(X, "rows|batch|validation"), "y": rows(Y, "rows|batch|labels|X")}
    yield Entry(train, loop | {"params": anything(P, "array|W1|parameters|network")}, {
        "epochs": count(1), "optimizer": anything(optim.sgd()), "lr": each(lr), "batch_size": whole(3, 1),
        "shuffle": flag(True), "seed": whole(0), "validation": anything((X, Y), "share|X|y"), "score": anything("loss"),
        "patience": optional(patience), "tol": AT_LEAST_0(0.0), "alpha": each(AT_LEAST_0(0.1)),
        "clip_norm": optional(POSITIVE(1.0)), "accumulate": whole(2, 1), "max_norm": optional(POSITIVE(1.0)),
        "transform": optional(function(lambda X, seed, first: X)), "callbacks": functions(()),
        "order": optional(function(lambda number: np.arange(6))), "compile": anything(None), "ranks": anything(None),
        **{key: each(kind) if key in ("l2", "l1") else kind for key, kind in OPTIONS.items() if key != "seed"},
    }, lambda *arguments, **options: list(train(*arguments, **options)))  # fmt: skip


def _value_and_grad(*params: Any) -> Any:
    return mx.loss_and_grads(X, Y, *params)


def files(folder: Path) -> Iterator[Entry]:
    """What reads and writes, and what finds a library."""
    (epoch,) = train(X, Y, P, epochs=1)
    path, config = anything(str(folder / "a.safetensors"), "read or written|name|\\.onnx|file"), anything({"seed": 1})
    checkpoint.save(path.right, epoch, config.right)
    other = path._replace(right=str(folder / "b.safetensors"))
    yield Entry(checkpoint.save, {"path": other, "epoch": anything(epoch), "config": config})
    yield Entry(checkpoint.saver, {"path": other, "config": config},
                {}, lambda *given: checkpoint.saver(*given)(epoch))  # fmt: skip
    read = path._replace(also=f"{path.also}|read")
    yield Entry(checkpoint.load, {"path": read, "like": anything(P, "W1|array|parameters"), "config": config},
                {"usual": anything(None)})  # fmt: skip
    yield Entry(checkpoint.fingerprint, {"arrays": anything(X, "array")})
    yield Entry(data.open_data, {"name": anything("iris", "read")}, {
        "reading": anything(data.Reading()), "usual": anything(data.Reading()), "names": anything(())})  # fmt: skip
    n = whole(6, 1)._replace(also="labels")
    yield Entry(data.hold_out, {"share": number(0.5, 0.0, 1.0), "seed": whole(0), "n": n},
                {"labels": optional(rows(Y)), "where": anything("the data")})  # fmt: skip
    backend = {"name": name("numpy", *backends.BACKENDS)._replace(also="backend")}
    for each_of in _any(backends.installed, backends.probe):
        yield Entry(each_of, backend)
    dtype = {"dtype": name("float32", *backends.DTYPES, *backends.NARROW_DTYPES)}
    yield Entry(backends.load, backend, dtype | {"device": anything(None)})
    size = {"sizes": sizes((4, 5, 3)), "n": whole(6, 1)}
    timing = backends.Timing("numpy", "cpu", 0.1)
    yield Entry(backends.choose, {"timings": anything([timing], "timed"), **size}, dtype)
    nothing = {"seconds": AT_LEAST_0(0.0)}
    yield Entry(backends.measure, {**backend, **size}, dtype | nothing, _unless_it_takes_time(backends.measure))
    if find_spec("ndonnx"):
        yield Entry(to_onnx, {"path": path._replace(right=None), **WEIGHTS}, PREDICT | {"classes": anything(None)})
        outputs = function(lambda X, *params: {"p": mx.predict_proba(X, *params)})
        yield Entry(
            model_of, {"path": path._replace(right=None), "params": anything(P, "W1|array"), "outputs": outputs}
        )
    yield Entry(convert.to_sklearn, WEIGHTS, PREDICT | {"classes": anything([0, 1, 2])})
    yield Entry(convert.from_sklearn, {"model": anything(convert.to_sklearn(*P))})
    if find_spec("torch"):
        yield Entry(backends.compiler, {"name": name("torch", "torch", "jax")._replace(also="backend")})
        yield Entry(convert.to_torch, WEIGHTS, PREDICT)
        yield Entry(convert.from_torch, {"sequential": anything(convert.to_torch(*P))})


def _unless_it_takes_time(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, but that a right number of seconds is not waited for."""

    def quick(*given: Any, seconds: Any, **options: Any) -> Any:
        return call(*given, seconds=seconds if number(0.0).refuses(seconds) else min(seconds, 0.0), **options)

    return quick


def pictures(folder: Path) -> Iterator[Entry]:
    """What draws."""
    from matplotlib.figure import Figure

    path = anything(str(folder / "a.png"), "read or written|\\.png|file|Format|format")
    yield Entry(plots.save, {"figure": anything(Figure()), "path": path})


def estimators(folder: Path) -> Iterator[Entry]:
    """The estimators: each parameter, and the arguments of each method."""
    X_, y_ = rows(X), rows(Y)
    # scikit-learn takes a number for all rows
    weight = anything(np.ones(6), "weights?|arrays?|samples?|dtype|numeric|convert|complex")
    going_on = {"callbacks": functions(()), "checkpoint": anything(None, "read or written|file"), "resume": flag(False)}
    for kind, targets in ((est.MLPClassifier, y_), (est.MLPRegressor, rows(NUMBERS))):
        fitted = kind(max_iter=1).fit(X, targets.right)
        path = str(folder / f"{kind.__name__}.safetensors")
        fitted.save(path)
        yield Entry(kind, {}, dict(_parameters(kind)), partial(_fitted, kind, targets.right))

        method = partial(_method, kind, fitted, targets.right)
        held_out, ranks = {"eval_set": anything(None, "X|y")}, {"ranks": anything(None)}
        yield method("fit", {"X": X_, "y": targets}, {"sample_weight": weight} | held_out | going_on | ranks)
        batches = [(X[:3], targets.right[:3]), (X[3:], targets.right[3:])]
        classes = {"classes": anything(None if kind is est.MLPRegressor else [0, 1, 2])}
        if kind is est.MLPRegressor:
            classes = {}
        of_batches = held_out | going_on | classes | ranks
        yield method("fit_batches", {"batches": anything(batches, "batch|X|y|iterable")}, of_batches)
        yield method("partial_fit", {"X": X_, "y": targets}, {"sample_weight": weight} | classes | ranks)
        yield method("score", {"X": X_, "y": targets}, {"sample_weight": weight})
        returning = {"return_std": flag(False)} if kind is est.MLPRegressor else {}
        yield method("predict", {"X": X_}, returning)
        yield method("transform", {"X": X_}, {})
        yield method("to", {"device": anything("cpu")}, {})
        yield method("save", {"path": anything(path, "read or written|file")}, {})
        if find_spec("ndonnx"):
            yield method("to_onnx", {"path": anything(None, "read or written|file")}, {})
        yield method("to_sklearn", {}, {})
        yield Entry(kind.from_sklearn, {"model": anything(fitted.to_sklearn())})
        if find_spec("torch"):
            yield method("to_torch", {}, {})
            options = {"classes": anything([0, 1, 2] if kind is est.MLPClassifier else None)}
            yield Entry(kind.from_torch, {"sequential": anything(fitted.to_torch())}, options)
        loading = {"xp": Kind(np, lambda value: not inspect.ismodule(value)), "device": anything(None)}
        yield Entry(kind.load, {"path": anything(path, "read")}, loading)
    for word in ("predict_proba", "predict_log_proba"):
        yield Entry(
            getattr(est.MLPClassifier, word), {"X": X_}, {}, getattr(est.MLPClassifier(max_iter=1).fit(X, Y), word)
        )
    gaussian = est.MLPRegressor(max_iter=1, loss="gaussian").fit(X, NUMBERS)
    levels = {"quantiles": anything([0.1, 0.9], "quantile")}
    yield Entry(est.MLPRegressor.predict_quantiles, {"X": X_}, levels, gaussian.predict_quantiles)
    yield Entry(est.load, {"path": anything(path, "read")}, loading | {"expected": anything(None)})
    yield Entry(est.preset_for, {"rows": whole(10)})


def _method(kind: Any, fitted: Any, y: Any, word: str, given: Mapping[str, Kind], options: Mapping[str, Kind]) -> Entry:
    """A method of a fitted estimator, or of a new one where it goes on to learn."""

    def again(*arguments: Any, **named: Any) -> Any:
        return getattr(kind(max_iter=1).fit(X, y), word)(*arguments, **named)

    return Entry(getattr(kind, word), given, options, again if "fit" in word else getattr(fitted, word))


def _fitted(kind: Any, y: Any, **options: Any) -> object:
    return kind(**{"max_iter": 1, **options}).fit(X, y)


_FREE = ("activation", "criterion", "scoring", "class_weight", "compile", "verbose", "progress", "loss", "quantile")


def _parameters(kind: Any) -> Iterator[tuple[str, Kind]]:
    """Each parameter with its default, and a rule where the text of its documentation gives one."""
    for word, default in kind().get_params().items():
        if word in _FREE:
            yield word, anything(default)
        elif isinstance(default, bool):
            yield word, anything(default) if word == "standardise" else flag(default)._replace(also="validation")
        elif word == "batch_size":
            yield word, Kind("auto", lambda value: whole(1, 1).refuses(value) and str(value) != "auto")
        elif word == "hidden_layer_sizes":
            yield word, anything((3,))
        elif word == "n_iter_no_change":
            yield word, Kind(default, lambda value: whole(1, 1).refuses(value) and str(value) != "inf")
        elif isinstance(default, int):
            yield word, whole(1, 0)._replace(is_count=True)
        elif isinstance(default, float):
            yield word, AT_LEAST_0(default)
        else:
            yield word, anything(default)


def entries(folder: Path) -> Iterator[Entry]:
    """The table; files are written into the folder."""
    yield from network()
    yield from checking()
    yield from learning()
    yield from files(folder)
    yield from pictures(folder)
    yield from estimators(folder)


def name_of(function: Any) -> str:
    """Module and name, such as ``optim.adam``."""
    module, _, _ = function.__module__.removeprefix("mlp_xp.").partition(".")
    return f"{module}.{getattr(function, '__qualname__', None) or function.__name__}"


def called(entry: Entry, key: str = "", value: Any = None) -> Any:
    """The call with right arguments, but for one that is spoiled."""
    given, options = (
        {word: value if word == key else kind.right for word, kind in kinds.items()}
        for kinds in (entry.given, entry.options)
    )
    return (entry.call or entry.function)(*given.values(), **options)


# --- what is malformed -----------------------------------------------------------------------------------------------

REAL = st.floats() | st.sampled_from([1e308, -0.0, 2**31, 10**400, -1, 1.5, np.float32(2), np.float64("nan")])
THINGS = st.sampled_from(
    [None, True, False, np.True_, object(), 1j, b"1", (), [], {}, set(), [[1.0], [2.0, 3.0]], "nan"]
)
DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "U3", "O", "M8[s]"])
SHAPES = st.lists(st.integers(0, 7), max_size=3)


class Near(NamedTuple):
    """What is made of a right argument."""

    text: str
    make: Callable[[Any], Any]


NEAR = (
    Near("[right]", lambda right: [right]),
    Near("(right, right)", lambda right: (right, right)),
    Near("str(right)", str),
    Near("{'a': right}", lambda right: {"a": right}),
    Near("iter([right])", lambda right: iter([right])),
    Near("np.asarray(right)", np.asarray),
    Near("np.asarray(right) != 0", lambda right: np.asarray(right) != 0),
    Near("-right", lambda right: -right),
    Near("right[1:]", lambda right: right[1:]),
    Near("right * nan", lambda right: right * math.nan),
    Near("right.T", lambda right: right.T),
    Near("np.ma.masked_array(right, True)", lambda right: np.ma.masked_array(right, True)),
)
ARRAYS = st.builds(lambda shape, dtype: np.ones(shape, dtype), SHAPES, DTYPES)
MALFORMED = REAL | THINGS | ARRAYS | st.integers() | st.text(max_size=8) | st.sampled_from(NEAR)


def spoilable(table: Iterator[Entry]) -> list[tuple[Entry, str]]:
    """Each entry with each argument that is spoiled."""
    return [(entry, key) for entry in table for key, kind in kinds_of(entry).items() if kind.spoiled]


def kinds_of(entry: Entry) -> dict[str, Kind]:
    """All arguments."""
    return {**entry.given, **entry.options}


def trial(entry: Entry, key: str, drawn: Any) -> Trial:
    """The call with something in place of an argument."""
    kind, value, text = kinds_of(entry)[key], drawn, described(drawn)
    if isinstance(drawn, Near):
        try:
            value, text = drawn.make(kind.right), drawn.text
        except Exception:  # this argument has no such neighbour
            value, text = drawn, "a NamedTuple"
    if kind.is_count and isinstance(value, int) and 99 < value < 2**40:
        value = 99
    words = rf"\b({'|'.join(filter(None, (key, kind.also)))})"
    return Trial(
        f"{name_of(entry.function)} {key}", text, partial(called, entry, key, value), words, kind.refuses(value)
    )


def described(value: Any) -> str:
    """The value in Python's words."""
    return f"np.ones({value.shape}, {str(value.dtype)!r})" if isinstance(value, np.ndarray) else f"{value!r:.80}"


# --- what is not in the table ----------------------------------------------------------------------------------------

_NOT_SPOILED = {
    "asks for nothing": "estimators.register_converters optim.sgd",
    "asks each library that is installed for half a second": "backends.fastest",
    "take processes, devices, or a cluster": """
        ranks.gathered ranks.mpi_ranks ranks.together ranks.torch_ranks train.split workers.dask_train
    """,
    "parts of the loop, which take what it has checked": """
        _lib.to_host ops.record_named ops.activations_of train.check_values train.is_sparse train.rows_of train.run
    """,
}

_OF_LIBRARIES = {
    "torch": """
        backends.compiler convert.from_torch convert.to_torch estimators.Conversion.from_torch
        estimators.Conversion.to_torch
    """,
    "ndonnx": "export.to_onnx export.model_of estimators.Network.to_onnx",
}  # which may not be installed


def public() -> dict[str, Any]:
    """The public functions and estimators, and the methods of these, by name.

    A function is public where the package, or its module, exports it, or where it says what it raises.
    """
    found = dict[str, Any]()
    for module in (import_module(f"mlp_xp.{word}") for word in (*mx._MODULES, "gradcheck")):
        exported = getattr(module, "__all__", ())
        for word, value in vars(module).items():
            here = getattr(value, "__module__", "") == module.__name__ and not word.startswith("_")
            promised = word in mx.__all__ or "Raises:" in (inspect.getdoc(value) or "")
            if inspect.isroutine(value) and (word in exported or (here and promised)):
                found[name_of(value)] = value
    for kind in (est.MLPClassifier, est.MLPRegressor):
        methods = {word: value for word, value in inspect.getmembers(kind, callable) if not word.startswith("_")}
        own = [value for value in methods.values() if getattr(value, "__module__", "").startswith("mlp_xp")]
        found |= {name_of(value): value for value in (kind, *own)}
    return found


def unknown(table: Iterator[Entry]) -> list[str]:
    """Public functions, and arguments of public functions, that are not in the table."""
    known = {name_of(entry.function): kinds_of(entry).keys() for entry in table}
    absent = [words for library, words in _OF_LIBRARIES.items() if not find_spec(library)]
    skipped = {word for words in (*_NOT_SPOILED.values(), *absent) for word in words.split()}
    missing = sorted(public().keys() - known.keys() - skipped)
    for word, value in public().items():
        if word in known:
            parameters = inspect.signature(value).parameters.values()
            plain = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
            missing += [f"{word} {each}" for each in plain if each not in known[word] and each != "self"]
    return missing
