"""What ``gpu_check.py`` asks of one array library on a device; each section runs in a process of its own.

A section takes the library's name and whether this is a dry run: the same on the CPU, small. It returns what JSON can
hold, with ``ok``: whether all was as it must be. Times are medians over batches of steps, with a wait for the device at
the end of each batch.
"""

from __future__ import annotations

import collections
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from array_api_compat import device
from start_ranks import free_port

import mlp_xp as mx
from mlp_xp import data, optim, schedules
from mlp_xp.backends import Placement, load, probe, to_host
from mlp_xp.ranks import Ranks, cupy_ranks, mean, torch_ranks
from mlp_xp.train import train
from mlp_xp.train.compiling import COMPILERS, compiled
from mlp_xp.train.replaying import cuda_graph

Found: TypeAlias = dict[str, Any]
Size: TypeAlias = tuple[int, ...]

SIZES: tuple[Size, ...] = (
    (32, 4, 16, 3), (128, 64, 64, 10), (128, 784, 256, 10), (1024, 784, 1024, 10), (16384, 4096, 4096, 1000),
)  # fmt: skip
MNIST = "GPU_CHECK_MNIST"  # the variable that names a folder of MNIST's files
GOAL = 0.984  # a test accuracy that 800 units with dropout reach within 15 epochs
GOAL_SECONDS = 40.0
# sums over at most 64 rows or 12 columns, a few functions one after the other, one of which may err by 2 ulp
FLOAT64_GAP = 2e3 * float(np.finfo(np.float64).eps)


def place_of(library: str, dry: bool, dtype: str = "float64") -> Placement:
    """Where the arrays of a section are."""
    for each in ("float64", "float32"):  # JAX shall know 64 bits, and compute in no fewer than it names
        load(library, each)
    return load(library, dtype, "cpu" if dry else "cuda")


def waiter(library: str, dry: bool) -> Callable[[Any], Any]:
    """What waits until arrays are computed."""
    if library == "jax":
        import jax

        return jax.block_until_ready  # type: ignore[no-any-return]
    if dry:
        return lambda arrays: None
    if library == "cupy":
        import cupy

        return lambda arrays: cupy.cuda.Device().synchronize()
    import torch

    return lambda arrays: torch.cuda.synchronize()


def problem(size: Size, dtype: str, place: Placement | None = None) -> tuple[Any, Any, tuple[Any, ...]]:
    """Rows, labels and parameters of a network, drawn on the host; on the device where there is a place."""
    n, *widths = size
    random = np.random.default_rng(0)
    X, y = random.normal(size=(n, widths[0])).astype(dtype), random.integers(0, widths[-1], n).astype("int32")
    params: list[Any] = []
    for p, q in pairwise(widths):
        params += [(random.normal(size=(p, q)) / p**0.5).astype(dtype), np.zeros(q, dtype)]
    put = (lambda values: values) if place is None else place._replace(dtype=getattr(place.xp, dtype)).put
    return put(X), put(y), tuple(map(put, params))


def median_of(step: Callable[[], Any], wait: Callable[[Any], Any], seconds: float = 0.4) -> Found:
    """Milliseconds of a step: the median, and the middle half, of batches that end with a wait for the device."""

    def batch(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            last = step()
        wait(last)
        return (time.perf_counter() - began) / count

    batch(2)  # compiles, allocates
    count = max(1, round(0.03 / max(batch(3), 1e-7)))
    end, times = time.perf_counter() + seconds, [batch(count) for _ in range(3)]
    while time.perf_counter() < end:
        times.append(batch(count))
    low, middle, high = statistics.quantiles(times, n=4)
    return {"ms": 1e3 * middle, "middle_half_ms": [1e3 * low, 1e3 * high], "batches": len(times)}


def attempt(function: Callable[[], Any]) -> Any:
    """What a function returns; an error as a record of its own."""
    try:
        return function()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}


def failed(value: Any) -> bool:
    """Whether ``attempt`` recorded an error."""
    return isinstance(value, dict) and "error" in value


# --- is it right -------------------------------------------------------------------------------------------------


def smoke(library: str, dry: bool) -> Found:
    """Every activation, every criterion and the options against NumPy in float64; the precision of a product."""
    place = place_of(library, dry)
    X, y, params = problem((64, 12, 9, 5), "float64")
    there, theirs = place.put(X), tuple(map(place.put, params))
    random = np.random.default_rng(1)
    soft, weight = random.random((64, 5)), random.random(64) + 0.1
    cases: dict[str, tuple[Any, Found]] = {f"activation {a}": (y, {"activation": a}) for a in mx.ops.ACTIVATIONS}
    for name, criterion in mx.losses.CRITERIA.items():
        if criterion.outputs_per_target == 1:
            cases[f"criterion {name}"] = (soft, {"criterion": name})
    cases["options"] = (y, {"l2": 0.1, "l1": 0.1, "label_smoothing": 0.1, "dropout": 0.3, "seed": 5})
    cases["weights"] = (y, {"sample_weight": weight})
    gaps = {}
    for name, (targets, options) in cases.items():
        loss, grads = mx.loss_and_grads(X, targets, *params, **options)
        moved: Found = {key: place.put(each) if key == "sample_weight" else each for key, each in options.items()}
        its_loss, its_grads = mx.loss_and_grads(there, place.put(targets), *theirs, **moved)
        pairs = zip((loss, *grads), (its_loss, *its_grads), strict=True)
        gaps[name] = max(float(np.max(np.abs(to_host(b) - to_host(a))) / np.max(np.abs(to_host(a)))) for a, b in pairs)
    out_of_range = mx.objective(there, place.put(np.where(np.arange(64) == 3, 99, y)), *theirs)
    a, b = (random.normal(size=(256 if dry else 2048,) * 2).astype("float32") for _ in range(2))
    narrow = place._replace(dtype=place.xp.float32)
    exact, product = a.astype("float64") @ b, to_host(narrow.put(a) @ narrow.put(b))
    found = probe(library)
    return {
        "devices": found.devices, "memory": found.memory, "worst_gap": max(gaps.values()), "gaps": gaps,
        "nan_of_a_label_out_of_range": bool(np.isnan(to_host(out_of_range))),
        "error_of_a_float32_product": float(np.linalg.norm(product - exact) / np.linalg.norm(exact)),  # TF32: 3e-4
        "ok": max(gaps.values()) < FLOAT64_GAP and bool(np.isnan(to_host(out_of_range))),
    }  # fmt: skip


def check(library: str, dry: bool) -> Found:
    """The checker: its verdict on right gradients and on wrong ones."""
    place = place_of(library, dry)
    small: Size = (32, 784, 40, 10)
    cases: list[tuple[str, Size, Found]] = [
        ("float64", small, {}),
        ("float32", small, {"activation": "relu"}),
        ("float64", (50, 20, 16, 12, 4), {"activation": "gelu", "l1": 0.01, "l2": 0.1, "dropout": 0.2, "seed": 1}),
    ]
    if not dry:
        cases.append(("float32", (256, 784, 1024, 1024, 10), {"activation": "relu"}))
    rows = [_checked(place, *case) for case in cases]
    right = all(
        row["verdict"] == "pass" and row["of_a_wrong_one"] == "fail" for row in rows if row["dtype"] == "float64"
    )
    never = not any(row["verdict"] == "fail" or row["of_a_wrong_one"] == "pass" for row in rows)
    return {"rows": rows, "ok": right and never}


def _checked(place: Placement, dtype: str, size: Size, options: Found) -> Found:
    X, y, params = problem(size, dtype, place)
    report = mx.check_gradients(X, y, *params, **options)

    def wrong(*at: Any) -> tuple[Any, ...]:
        first, *others = mx.loss_and_grads(X, y, *at, **options)[1]
        return (1.5 * first, *others)

    of_wrong = mx.gradcheck(lambda *at: mx.objective(X, y, *at, **options), wrong, params)
    return {
        "size": size, "dtype": dtype, "options": options, "verdict": report.verdict, "of_a_wrong_one": of_wrong.verdict,
        "first_line": str(report).splitlines()[0],
    }  # fmt: skip


def estimators(library: str, dry: bool) -> Found:
    """Fits where X is, with the accuracy of NumPy; strings, pickle, a file, early stopping by a scorer."""
    from sklearn.datasets import load_digits

    from mlp_xp.estimators import MLPClassifier, MLPRegressor

    warnings.simplefilter("ignore")
    place = place_of(library, dry)
    X, y = (each[:600] for each in load_digits(return_X_y=True))
    X, names = X / 16.0, np.asarray(list("abcdefghij"))[y]
    there = place.put(X)
    settings: dict[str, Found] = {
        "adam": {},
        "early stopping by a scorer": {"early_stopping": True, "scoring": "neg_log_loss", "dropout": 0.2},
        "lbfgs": {"solver": "lbfgs"},
        "sgd": {"solver": "sgd", "clip_norm": 1.0, "activation": "gelu"},
        "balanced, checked": {"class_weight": "balanced", "check_gradients": True},
    }

    def fitted(options: Found) -> Found:
        model = MLPClassifier(**{"hidden_layer_sizes": (32,), "max_iter": 8, "random_state": 0, **options})
        p = model.fit(X, y).predict_proba(X)
        scores = [model.score(X, y), model.fit(there, place.put(y)).score(there, place.put(y))]
        gap = float(np.max(np.abs(to_host(model.predict_proba(there)) - p)))
        return {"gap": gap, "scores": scores, "of": type(model.coefs_[0]).__name__}

    fits = {name: attempt(partial(fitted, options)) for name, options in settings.items()}
    model = MLPClassifier((16,), max_iter=3, random_state=0).fit(there, names)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        rest = {
            "strings": attempt(lambda: model.predict(there).dtype.kind),
            "pickle": attempt(lambda: len(pickle.loads(pickle.dumps(model)).predict_proba(there))),
            "save": attempt(lambda: model.save(path)),
            "load on the host": attempt(lambda: MLPClassifier.load(path).score(X, names)),
            "load there": attempt(lambda: MLPClassifier.load(path, place.xp, place.device).score(there, names)),
            "regressor": attempt(
                lambda: MLPRegressor("huber", 16, max_iter=3).fit(there, X[:, :2]).score(there, X[:, :2])
            ),
        }
    return {"fits": fits, "rest": rest, "ok": not any(map(failed, (*fits.values(), *rest.values())))}


def ranks(library: str, dry: bool) -> Found:
    """The sums of the library's engine over the one rank that a device has: NCCL; gloo for PyTorch in a dry run."""
    if library == "jax":
        return {"engine": "none: the compiler finds the sums", "ok": True}
    X, y, params = problem((64, 12, 9, 5), "float64", place_of(library, dry))
    loss, grads = mx.loss_and_grads(X, y, *params)
    there = (loss, *grads)
    only = _only_rank(library, dry)
    pairs = [*zip(only.total(there), there, strict=True), *zip(mean(only, 64.0, *there), there, strict=True)]
    gap = max(float(np.max(np.abs(to_host(a) - to_host(b)))) for a, b in pairs)
    alike = all((type(a), a.dtype, a.shape, device(a)) == (type(b), b.dtype, b.shape, device(b)) for a, b in pairs)
    return {"engine": "gloo" if dry else "nccl", "gap": gap, "alike": alike, "ok": alike and gap < FLOAT64_GAP}


def _only_rank(library: str, dry: bool) -> Ranks:
    """That of an engine which this process starts."""
    port = free_port()
    if library == "cupy":
        from cupyx.distributed import init_process_group

        return cupy_ranks(init_process_group(1, 0, host="127.0.0.1", port=port), 0, 1)
    from torch import distributed

    distributed.init_process_group("gloo" if dry else "nccl", f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    return torch_ranks()


def command(library: str, dry: bool) -> Found:
    """The command, as a user types it."""
    lines = {}
    with tempfile.TemporaryDirectory() as folder:
        where = ["--backend", library, *([] if library == "cupy" or dry else ["--device", "cuda"])]
        training = ["train", "digits", *where, "--epochs", "3", "-o", str(Path(folder, "m.safetensors"))]
        lines_of = {"train": training} | ({"backends": ["backends"]} if library == "torch" else {})
        for name, arguments in lines_of.items():
            ended = subprocess.run(
                [sys.executable, "-m", "mlp_xp", *arguments], capture_output=True, text=True, timeout=120, cwd=folder
            )
            lines[name] = {"rc": ended.returncode, "out": ended.stdout[-1500:], "err": ended.stderr[-800:]}
    return {"lines": lines, "ok": all(line["rc"] == 0 for line in lines.values())}


# --- how long it takes -------------------------------------------------------------------------------------------


def step(library: str, dry: bool) -> Found:
    """Milliseconds of a step by size: the products alone, ours, and the library's own derivative."""
    rows = []
    for size in SIZES[:3] if dry else SIZES:
        for dtype in ("float32", "float64") if size == SIZES[2] else ("float32",):
            rows.append({"size": size, "dtype": dtype, **_steps(library, dry, size, dtype)})
    needed = [cell for row in rows for name, cell in row.items() if not name.endswith("CUDA graph")]
    return {"rows": rows, "ok": not any(map(failed, needed))}


def _steps(library: str, dry: bool, size: Size, dtype: str) -> Found:
    place, wait = place_of(library, dry, dtype), waiter(library, dry)
    X, y, params = problem(size, dtype, place)
    ours = partial(mx.train_step, lr=1e-3, activation="relu")
    W1, _, W2, _ = params
    h = X @ W1
    z = h @ W2

    def products() -> Any:
        return X @ W1, h @ W2, h.T @ z, z @ W2.T, X.T @ h

    def following(update: Callable[..., Any]) -> Callable[[], Any]:
        state = [params]

        def go() -> Any:
            loss, state[0] = update(X, y, *state[0])
            return loss, *state[0]

        return go

    ways: dict[str, Callable[[], Callable[[], Any]]] = {"products": lambda: products}
    if library != "jax" or size == SIZES[0]:  # each size takes JAX 20 s to compile its operations one by one
        ways["ours, eager"] = lambda: following(ours)
    if library in COMPILERS and (library == "jax" or size in (SIZES[1], SIZES[3])):
        ways["ours, compile=True"] = lambda: following(compiled(place.xp, ours, True))
    if library == "jax":
        import jax

        ways |= {"JAX's own, jax.jit": lambda: following(jax.jit(_jax_step))}
    if library == "torch":
        ways |= _torch_ways(X, y, params, size, ours, following)
    row = {}
    for name, make in ways.items():
        row[name] = attempt(lambda make=make: median_of(make(), wait, 0.15 if dry else 0.4))  # type: ignore[misc]
    if library == "cupy":
        row["ours, CUDA graph"] = attempt(lambda: _replayed(lambda: ours(X, y, *params)))
    return row


def _jax_step(X: Any, y: Any, *params: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def loss_of(params: Any) -> Any:
        W1, b1, W2, b2 = params
        logits = jax.nn.relu(X @ W1 + b1) @ W2 + b2
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(X.shape[0]), y])

    loss, grads = jax.value_and_grad(loss_of)(params)
    return loss, tuple(p - 1e-3 * g for p, g in zip(params, grads, strict=True))


def _torch_ways(
    X: Any, y: Any, params: Any, size: Size, ours: Any, following: Any
) -> dict[str, Callable[[], Callable[[], Any]]]:
    import torch

    _, p, q, k = size
    model = torch.nn.Sequential(torch.nn.Linear(p, q), torch.nn.ReLU(), torch.nn.Linear(q, k)).to(X.device, X.dtype)
    optimizer, labels = torch.optim.SGD(model.parameters(), lr=1e-3), y.long()

    def stepping(network: Any) -> Callable[[], Any]:
        def go() -> Any:
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(network(X), labels)
            loss.backward()
            optimizer.step()
            return loss

        return go

    ways = {"torch.nn, eager": lambda: stepping(model)}
    if X.device.type != "cpu":
        ways |= {"ours, CUDA graph": lambda: cuda_graph(ours, (X, y, *params))[1]}
    if size in (SIZES[1], SIZES[3]):  # each compilation takes seconds
        for mode in ("default", "reduce-overhead"):  # the second replays CUDA graphs
            compiler = partial(torch.compile, mode=mode)
            ways[f"torch.nn, torch.compile {mode}"] = lambda made=compiler: stepping(made(model))  # type: ignore[misc]
    return ways


def _replayed(update: Callable[[], Any]) -> Found:
    """The same launches replayed from a graph: how long a step takes without launching them one by one."""
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        update()
        stream.synchronize()
        stream.begin_capture()
        kept = update()
        graph = stream.end_capture()

    def go() -> Any:
        graph.launch(stream)
        return kept

    return median_of(go, lambda arrays: stream.synchronize())


def launches(library: str, dry: bool) -> Found:
    """What a step and an epoch send to the device, as PyTorch's profiler sees it, whichever library sends it.

    A step may copy nothing between host and device.
    """
    from torch.profiler import ProfilerActivity, profile

    place, wait = place_of(library, dry, "float32"), waiter(library, dry)
    X, y, params = problem((1280, 784, 256, 10), "float32", place)
    run = train(X, y, params, epochs=2, batch_size=128, optimizer=optim.adam())
    calls: dict[str, Callable[[], Any]] = {
        "step, sigmoid": lambda: mx.train_step(X, y, *params),
        "step, relu": lambda: mx.train_step(X, y, *params, activation="relu"),
        "step, relu, l1": lambda: mx.train_step(X, y, *params, activation="relu", l1=1e-3),
        "epoch of 10 steps, adam": lambda: next(run).params,  # the second of a run: the first looks at the data
    }
    rows = {}
    for name, call in calls.items():
        wait(call())
        activities = [ProfilerActivity.CPU, *([] if dry else [ProfilerActivity.CUDA])]
        with profile(activities=activities) as seen:
            wait(call())
        sent = [e.name for e in seen.events() if "CUDA" in str(e.device_type) or (dry and e.name.startswith("aten::"))]
        names = collections.Counter(sent)
        copies = {event: count for event, count in names.items() if "HtoD" in event or "DtoH" in event}
        driver = collections.Counter(event.name for event in seen.events() if event.name.startswith("cu"))
        waits = {call: count for call, count in driver.items() if "Synchronize" in call}  # one is this function's own
        rows[name] = {
            "device_events": len(sent), "copies": copies, "waits": waits, "calls": dict(driver),
            "names": dict(names.most_common(40)),
        }  # fmt: skip
    return {"rows": rows, "ok": not any(row["copies"] for name, row in rows.items() if name.startswith("step"))}


class Images(NamedTuple):
    """Rows of numbers from 0 to 1 and their labels, and the same to test by, on the host."""

    X: Any
    y: Any
    X_test: Any
    y_test: Any
    of_mnist: bool


def images(dry: bool) -> Images:
    """MNIST's; scikit-learn's digits in a dry run, and where no folder is named."""
    folder = "" if dry else os.environ.get(MNIST, "")
    if folder:
        source = data.open_data(folder)
        if source.test is None:
            raise ValueError("the folder of MNIST must hold its test set too")
        known, test = source.read(), source.test.read()
        X, y, X_test, y_test = (np.asarray(each) for each in (known.X, known.y, test.X, test.y))
        return Images(X, y, X_test, y_test, True)
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))  # the last digits are by other writers
    X, y = X[order] / 16.0, y[order]
    return Images(X[:1200], y[:1200], X[1200:], y[1200:], False)


def mnist(library: str, dry: bool) -> Found:
    """Seconds to 98.4 % on the test set, 784-800-10 with dropout; of scikit-learn's digits where MNIST is not here."""
    place, rows = place_of(library, dry, "float32"), images(dry)
    X, X_test = map(place.put, (rows.X, rows.X_test))
    y, y_test = (place.put(labels.astype("int32")) for labels in (rows.y, rows.y_test))
    sizes = (X.shape[1], 800 if rows.of_mnist else 100, 10)
    params = mx.init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=0)
    options: Found = {"batch_size": 128, "validation": (X_test, y_test), "activation": "relu", "dropout": 0.2}
    options |= {"optimizer": optim.adam(), "lr": schedules.cosine(1e-3), "epochs": 3 if dry else 15}
    if library in COMPILERS:
        options["compile"] = True
    began, curve = time.perf_counter(), []
    for epoch in train(X, y, params, **options):
        curve.append((round(time.perf_counter() - began, 3), round(epoch.last.val_score or 0.0, 4)))
        if curve[-1][1] >= GOAL or curve[-1][0] > GOAL_SECONDS:
            break
    reached = curve[-1][1] >= GOAL
    gaps = [b[0] - a[0] for a, b in pairwise(curve)] or [curve[0][0]]
    epoch_s = {"first_epoch_s": curve[0][0], "epoch_s": statistics.median(gaps)}
    return {"curve": curve, "reached": reached, **epoch_s, "sizes": sizes, "ok": reached or not rows.of_mnist}


SECTIONS: dict[str, Callable[[str, bool], Found]] = {
    "smoke": smoke, "check": check, "estimators": estimators, "step": step, "launches": launches, "mnist": mnist,
    "command": command, "ranks": ranks,
}  # fmt: skip
"""The sections by name, in the order in which they run."""
