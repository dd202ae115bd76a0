"""What the benchmark times: the same network and the same steps, by mlp_xp and by what a user would pick instead.

``SIDES`` lists the sides by name. ``make`` readies one workload of a side, in the process that is to run it: libraries
are imported there. Method: scripts/results/README.md.

Before: ``textbook_numpy`` has the data and the plain code. Next: ``benchmark`` asks the sides in turn.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import textbook_numpy as plain
from textbook_numpy import problem

STEPS = ("sgd", "adam")
WORKLOADS = {
    "sgd": "a training step, SGD",
    "adam": "a training step, Adam",
    "epoch": "an epoch of ten SGD steps, rows shuffled",
    "predict": "probabilities of the batch",
    "gradcheck": "a gradient check",
}
EPOCH_STEPS = 10
RATES = {"sgd": 0.1, "adam": 1e-3}
# So small that it plays no part: scikit-learn's Adam adds it to another form of the root than the others do.
ADAM_EPSILON = 1e-16
MOST_ENTRIES = 10_000  # of parameters that the textbook's check goes through one by one

# name -> torch.set_float32_matmul_precision, jax_default_matmul_precision, CUPY_TF32 (None: CuPy has no such mode), and
# how products are rounded
PRECISIONS = {
    "float32": ("highest", "float32", "0", 2.0**-23),
    "tf32": ("high", "tensorfloat32", "1", 2.0**-10),
    "bfloat16": ("medium", "bfloat16", None, 2.0**-7),
}


class Setting(NamedTuple):
    """The problem of a row: (n, d_in, d_h, d_out), its dtype, where it runs, how exact products of float32 are."""

    size: tuple[int, ...]
    dtype: str
    device: str = "cpu"
    precision: str = "float32"


class Peer(NamedTuple):
    """A side on one device: what every workload is made of.

    data: rows -> ``X, y`` on the device.
    learner: the name of an optimizer -> ``update(X, y) -> (loss, arrays)``, which keeps the parameters.
    predict: () -> ``f(X) -> probabilities`` (n, d_out).
    check: () -> whether the gradient passes the side's gradient check; None where it has none.
    epoch: () -> ``run() -> (loss, arrays)`` where the side has a loop of its own.
    wait: returns when the device has computed these arrays.
    gather: ``X, y, rows -> X, y``.
    """

    data: Callable[[int], tuple[Any, Any]]
    learner: Callable[[str], Callable[[Any, Any], tuple[Any, Any]]]
    predict: Callable[[], Callable[[Any], Any]]
    check: Callable[[], bool] | None = None
    epoch: Callable[[], Callable[[], tuple[Any, Any]]] | None = None
    wait: Callable[[Any], object] = lambda arrays: None
    gather: Callable[[Any, Any, Any], tuple[Any, Any]] = lambda X, y, rows: (X[rows], y[rows])


Run: TypeAlias = Callable[[], tuple[Any, Any]]
"""``run() -> (result, arrays)``: a loss, probabilities or a verdict, and the arrays that the device must have done."""


def orders(rows: int) -> Iterator[Any]:
    """The rows in the order of each epoch, the same on every side that takes an order."""
    for number in range(2**31):
        yield np.random.default_rng(number).permutation(rows)


def prepare_process(setting: Setting) -> None:
    """What a process needs before libraries are imported."""
    warnings.simplefilter("ignore")  # compilers warn of their own doings
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX would keep a GPU's memory from the other sides
    if setting.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUPY_TF32"] = PRECISIONS[setting.precision][2] or "0"


def make(side: str, workload: str, setting: Setting) -> tuple[Run, Callable[[Any], object]]:
    """``run`` and ``wait`` of one workload."""
    peer = SIDES[side].peer(setting)
    return _workload(peer, workload, setting.size[0]), peer.wait


def _workload(peer: Peer, workload: str, n: int) -> Run:
    if workload == "gradcheck":
        assert peer.check is not None, "the side has no gradient check"
        check = peer.check
        return lambda: (check(), None)
    if workload == "epoch":
        return peer.epoch() if peer.epoch is not None else _epoch(peer, n)
    X, y = peer.data(n)
    if workload == "predict":
        predict = peer.predict()
        return lambda: (predict(X),) * 2
    update = peer.learner(workload)
    return lambda: update(X, y)


def _epoch(peer: Peer, n: int) -> Run:
    """The loop that users write around a step: shuffled rows, batch by batch."""
    X, y = peer.data(n * EPOCH_STEPS)
    update, order = peer.learner("sgd"), orders(n * EPOCH_STEPS)

    def run() -> tuple[Any, Any]:
        rows, losses, arrays = next(order), 0.0, None
        for first in range(0, len(rows), n):
            loss, arrays = update(*peer.gather(X, y, rows[first : first + n]))
            losses = losses + loss
        return losses / EPOCH_STEPS, arrays

    return run


def number(result: Any) -> float | None:
    """A result as a number that can be compared: of probabilities the mean of the first class."""
    if result is None:
        return None
    return float(result[:, 0].mean() if getattr(result, "ndim", 0) == 2 else result)


# --- NumPy ---------------------------------------------------------------------------------------------------------


def _products(setting: Setting) -> Peer:
    """The five matrix products of a step and nothing else: the floor. On a GPU CuPy's, or else PyTorch's."""
    put, wait = ((lambda array: array), lambda arrays: None) if setting.device == "cpu" else _on_gpu(setting)
    X, _, W1, _, W2, _ = map(put, problem(setting.size, setting.dtype))
    n, _, d_h, d_out = setting.size
    a, dz = (put(np.ones((n, width), setting.dtype)) for width in (d_h, d_out))

    def step(X: Any, y: Any = None) -> tuple[Any, Any]:
        return None, (X @ W1, a @ W2, a.T @ dz, dz @ W2.T, X.T @ a)

    def predict(X: Any) -> None:
        _ = X @ W1, a @ W2

    def epoch() -> tuple[Any, Any]:
        return [step(X) for _ in range(EPOCH_STEPS)][-1]

    return Peer(lambda rows: (X, None), lambda optimizer: step, lambda: predict, None, lambda: epoch, wait)


def _on_gpu(setting: Setting) -> tuple[Callable[[Any], Any], Callable[[Any], object]]:
    from mlp_xp.backends import installed

    library = "cupy" if installed("cupy").usable is None else "torch"
    place, wait = _placed(library, setting)
    return place.put, wait


def _textbook(setting: Setting) -> Peer:
    """The textbook's code, in place, without checks."""
    params = problem(setting.size, setting.dtype)[2:]

    def learner(optimizer: str) -> Callable[[Any, Any], tuple[Any, Any]]:
        own = W1, b1, W2, b2 = [p.copy() for p in params]
        if optimizer == "sgd":
            return lambda X, y: (plain.train_step(X, y, W1, b1, W2, b2, RATES["sgd"]), own)
        step = plain.adam(own, RATES["adam"], ADAM_EPSILON)
        return lambda X, y: (step(X, y), own)

    def check() -> bool:
        entries = sum(p.size for p in params)
        if entries > MOST_ENTRIES:
            raise ValueError(f"{entries:,} entries, one by one, would take minutes or hours")
        return plain.differences_agree(*problem(setting.size, setting.dtype))

    return Peer(partial(_host_data, setting), learner, lambda: lambda X: plain.forward(X, *params)[0], check)


def _host_data(setting: Setting, rows: int) -> tuple[Any, Any]:
    return problem((rows, *setting.size[1:]), setting.dtype)[:2]


def _sklearn(setting: Setting) -> Peer:
    """scikit-learn's ``partial_fit``, as a user calls it: with its checks."""
    from sklearn.neural_network import MLPClassifier

    n, _, d_h, d_out = setting.size
    if d_out == 2:
        raise ValueError("of two classes scikit-learn makes a network of one output, which is another one")
    X, y, *params = problem(setting.size, setting.dtype)

    def estimator(optimizer: str, shuffle: bool = False) -> Any:
        made = MLPClassifier(
            (d_h,), activation="logistic", solver=optimizer, alpha=0.0, batch_size=n, shuffle=shuffle, momentum=0.0,
            nesterovs_momentum=False, learning_rate_init=RATES[optimizer], epsilon=ADAM_EPSILON, random_state=0,
        )  # fmt: skip
        made.partial_fit(X, y, classes=np.arange(d_out))
        for kept, given in zip([*made.coefs_, *made.intercepts_], [*params[::2], *params[1::2]], strict=True):
            kept[...] = given
        del made._optimizer  # begins anew with the next call
        return made

    def learner(optimizer: str) -> Callable[[Any, Any], tuple[Any, Any]]:
        made = estimator(optimizer)
        return lambda X, y: (made.partial_fit(X, y).loss_, None)

    def epoch() -> Run:
        made = estimator("sgd", shuffle=True)
        data = _host_data(setting, n * EPOCH_STEPS)

        def run() -> tuple[Any, Any]:
            made.partial_fit(*data)
            return None, None  # its order is its own, hence its loss too

        return run

    return Peer(partial(_host_data, setting), learner, lambda: estimator("sgd").predict_proba, None, epoch)


# --- ours, on any library ------------------------------------------------------------------------------------------


def _placed(library: str, setting: Setting) -> tuple[Any, Callable[[Any], object]]:
    """Where a library's arrays live, and the function that waits for them."""
    from mlp_xp.backends import load

    on_host = setting.device == "cpu"
    place = load(library, setting.dtype, None if on_host and library != "torch" else setting.device)
    torchs, jaxs, _, _ = PRECISIONS[setting.precision]
    if library == "torch":
        import torch

        torch.set_float32_matmul_precision(torchs)
        return place, (lambda arrays: None) if on_host else lambda arrays: torch.cuda.synchronize()
    if library == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", jaxs)
        return place, jax.block_until_ready
    if library == "cupy":
        stream = importlib.import_module("cupy").cuda.get_current_stream()
        if PRECISIONS[setting.precision][2] is None:
            raise ValueError(f"CuPy has no products in {setting.precision}")
        return place, lambda arrays: stream.synchronize()
    return place, lambda arrays: None


def _ours(library: str, compiled: bool, setting: Setting) -> Peer:
    """mlp_xp on an array library."""
    import mlp_xp as mx
    from mlp_xp import optim
    from mlp_xp._lib.namespace import persisted
    from mlp_xp.train import compiling, train

    place, wait = _placed(library, setting)
    adam = optim.adam(epsilon=ADAM_EPSILON)
    X, y, *params = place.put_all(*_narrow(problem(setting.size, setting.dtype)))

    def data(rows: int) -> tuple[Any, Any]:
        there = place.put_all(*_narrow(problem((rows, *setting.size[1:]), setting.dtype)))
        return there[0], there[1]

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        return cast(Callable[..., Any], compiling.compiled(place.xp, function, compiled or None))

    def sgd_step(X: Any, y: Any, params: Any, state: Any) -> Any:
        return *mx.train_step(X, y, *params, lr=RATES["sgd"]), ()

    def adam_step(X: Any, y: Any, params: Any, state: Any) -> Any:
        loss, grads = mx.loss_and_grads(X, y, *params)
        return loss, *adam.update(params, grads, state, RATES["adam"])

    def learner(optimizer: str) -> Callable[[Any, Any], tuple[Any, Any]]:
        step = compile_(sgd_step if optimizer == "sgd" else adam_step)
        kept, state = tuple(params), () if optimizer == "sgd" else adam.init(tuple(params))

        def update(X: Any, y: Any) -> tuple[Any, Any]:
            nonlocal kept, state
            made, kept, state = step(X, y, kept, state)
            if library == "dask":  # a lazy step would be timed without its work
                arrays = persisted(made, *kept, *state)
                made, kept, state = arrays[0], arrays[1 : 1 + len(kept)], arrays[1 + len(kept) :]
            return made, kept

        return update

    def epoch() -> Run:
        n = setting.size[0]
        order = orders(n * EPOCH_STEPS)
        options: dict[str, Any] = {"optimizer": optim.sgd(), "lr": RATES["sgd"], "batch_size": n}
        options["compile"] = compiled or None
        epochs = train(
            *data(n * EPOCH_STEPS), tuple(params), epochs=2**31 - 1, order=lambda number: next(order), **options
        )

        def run() -> tuple[Any, Any]:
            epoch = next(epochs)
            return epoch.last.loss, epoch.params

        return run

    proba = compile_(mx.predict_proba)
    return Peer(
        data, learner, lambda: lambda X: persisted(proba(X, *params))[0],
        lambda: bool(mx.check_gradients(X, y, *params).ok), epoch, wait,
    )  # fmt: skip


def _narrow(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Labels of 32 bits: JAX has no others unless it computes in float64."""
    X, y, *params = arrays
    return X, y.astype(np.int32), *params


# --- PyTorch and JAX by themselves ----------------------------------------------------------------------------------


def _torch(compiled: bool, setting: Setting) -> Peer:
    """PyTorch's module, autograd and optimizer; ``torch.compile`` of the module."""
    import torch
    from torch.nn import functional

    place, wait = _placed("torch", setting)
    X, y, *params = place.put_all(*problem(setting.size, setting.dtype))
    _, d_in, d_h, d_out = setting.size

    def module() -> Any:
        layers = torch.nn.Linear(d_in, d_h), torch.nn.Sigmoid(), torch.nn.Linear(d_h, d_out)
        made = torch.nn.Sequential(*layers).to(device=place.device, dtype=place.dtype)
        with torch.no_grad():
            for kept, given in zip(made.parameters(), params, strict=True):
                kept.copy_(given.T if given.ndim == 2 else given)
        return made

    def learner(optimizer: str) -> Callable[[Any, Any], tuple[Any, Any]]:
        made = module()
        run = torch.compile(made) if compiled else made
        named = {"sgd": torch.optim.SGD, "adam": partial(torch.optim.Adam, eps=ADAM_EPSILON)}
        optimize = named[optimizer](made.parameters(), lr=RATES[optimizer])

        def update(X: Any, y: Any) -> tuple[Any, Any]:
            optimize.zero_grad()
            loss = functional.cross_entropy(run(X), y)
            loss.backward()
            optimize.step()
            return loss.detach(), None

        return update

    def predict() -> Callable[[Any], Any]:
        run = torch.compile(module()) if compiled else module()
        return torch.inference_mode()(lambda X: torch.softmax(run(X), dim=1))  # type: ignore[no-any-return]

    def f(W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
        return functional.cross_entropy(torch.sigmoid(X @ W1 + b1) @ W2 + b2, y)

    def check() -> bool:
        leaves = [p.detach().clone().requires_grad_() for p in params]
        return bool(torch.autograd.gradcheck(f, leaves, fast_mode=True))

    def data(rows: int) -> tuple[Any, Any]:
        there = place.put_all(*_host_data(setting, rows))
        return there[0], there[1]

    def gather(X: Any, y: Any, rows: Any) -> tuple[Any, Any]:
        rows = torch.from_numpy(rows).to(place.device)
        return X[rows], y[rows]

    return Peer(data, learner, predict, check, None, wait, gather)


def _jax(setting: Setting) -> Peer:
    """``jax.jit`` of ``jax.value_and_grad`` and the update in one function."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    place, wait = _placed("jax", setting)
    X, y, *params = place.put_all(*_narrow(problem(setting.size, setting.dtype)))

    def logits(params: Any, X: Any) -> Any:
        W1, b1, W2, b2 = params
        return jax.nn.sigmoid(X @ W1 + b1) @ W2 + b2

    def loss_of(params: Any, X: Any, y: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits(params, X)), y[:, None], axis=1))

    def sgd_step(params: Any, state: Any, X: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, X, y)
        return loss, [p - RATES["sgd"] * g for p, g in zip(params, grads, strict=True)], state

    def adam_step(params: Any, state: Any, X: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, X, y)
        means, squares, t = state
        t = t + 1
        means = [0.9 * m + 0.1 * g for m, g in zip(means, grads, strict=True)]
        squares = [0.999 * v + 0.001 * g * g for v, g in zip(squares, grads, strict=True)]
        tops, bottoms = [m / (1 - 0.9**t) for m in means], [v / (1 - 0.999**t) for v in squares]
        steps = [a / (jnp.sqrt(b) + ADAM_EPSILON) for a, b in zip(tops, bottoms, strict=True)]
        return loss, [p - RATES["adam"] * s for p, s in zip(params, steps, strict=True)], (means, squares, t)

    def learner(optimizer: str) -> Callable[[Any, Any], tuple[Any, Any]]:
        step = jax.jit(sgd_step if optimizer == "sgd" else adam_step)
        zeros = [jnp.zeros_like(p) for p in params]
        kept, state = list(params), (zeros, zeros, jnp.zeros((), place.dtype)) if optimizer == "adam" else ()

        def update(X: Any, y: Any) -> tuple[Any, Any]:
            nonlocal kept, state
            loss, kept, state = step(kept, state, X, y)
            return loss, kept

        return update

    def data(rows: int) -> tuple[Any, Any]:
        there = place.put_all(*_narrow((*_host_data(setting, rows),)))
        return there[0], there[1]

    def check() -> bool:
        check_grads(lambda *at: loss_of(at, X, y), params, order=1, modes=("rev",))  # raises where it fails
        return True

    predict = jax.jit(lambda X: jax.nn.softmax(logits(params, X)))
    gather = jax.jit(lambda X, y, rows: (X[rows], y[rows]))
    return Peer(
        data, learner, lambda: predict, check, None, wait, lambda X, y, rows: gather(X, y, rows.astype(np.int32))
    )


# --- all sides -----------------------------------------------------------------------------------------------------


class Side(NamedTuple):
    """A side of the benchmark.

    title: in tables.
    library: the module that must be installed.
    on: "host", "gpu" or "any".
    peer: makes it for a setting.
    workloads: what it has.
    """

    title: str
    library: str
    on: str
    peer: Callable[[Setting], Peer]
    workloads: tuple[str, ...] = tuple(WORKLOADS)


_NO_CHECK = ("sgd", "adam", "epoch", "predict")

SIDES = {
    "products": Side("products only", "numpy", "any", _products, _NO_CHECK),
    "textbook": Side("textbook NumPy", "numpy", "host", _textbook),
    "ours-numpy": Side("ours NumPy", "numpy", "host", partial(_ours, "numpy", False)),
    "ours-torch": Side("ours torch", "torch", "any", partial(_ours, "torch", False)),
    "ours-torch-compiled": Side("ours torch, compiled", "torch", "any", partial(_ours, "torch", True), _NO_CHECK),
    "ours-jax": Side("ours JAX", "jax", "any", partial(_ours, "jax", False)),
    "ours-jax-compiled": Side("ours JAX, jit", "jax", "any", partial(_ours, "jax", True), _NO_CHECK),
    "ours-dask": Side("ours Dask", "dask", "host", partial(_ours, "dask", False)),
    "ours-cupy": Side("ours CuPy", "cupy", "gpu", partial(_ours, "cupy", False)),
    "ours-cupy-compiled": Side("ours CuPy, compiled", "cupy", "gpu", partial(_ours, "cupy", True), _NO_CHECK),
    "torch": Side("torch", "torch", "any", partial(_torch, False)),
    "torch-compiled": Side("torch, compiled", "torch", "any", partial(_torch, True), _NO_CHECK),
    "jax": Side("JAX jit autodiff", "jax", "any", _jax),
    "sklearn": Side("scikit-learn", "sklearn", "host", _sklearn, _NO_CHECK),
}
