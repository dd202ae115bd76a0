"""The section ``precision`` of ``gpu_check.py``: MNIST in float32, bfloat16 and float16, and milliseconds a step.

The network is 784-800-10 with relu units, batches of 128, momentum with a cosine from 0.3, five epochs; the rows are in
the dtype, the parameters in float32. Beside it the milliseconds of a larger step, (1024, 784, 4096, 10) rows and units,
where products are what counts. All is well where no dtype ends more than 0.2 points below float32. Without MNIST, and
in a dry run, scikit-learn's digits stand in.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

import numpy as np
from gpu_sections import Found, attempt, failed, images, median_of, place_of, problem, waiter

import mlp_xp as mx
from mlp_xp import optim, schedules
from mlp_xp.backends import Placement
from mlp_xp.train import train

DTYPES = ("float32", "bfloat16", "float16")
POINTS = 0.002  # how far below the accuracy of float32
EPOCHS = 5
LARGE = (1024, 784, 4096, 10)


def precision(library: str, dry: bool) -> Found:
    """What training in each dtype gives on a library; a dtype that it lacks is said, and the rest goes on."""
    place = place_of(library, dry, "float32")
    X, y, *test, _ = images(dry)
    found: Found = {}
    for dtype in DTYPES:
        if not _has(place, dtype):
            found[dtype] = {"lacks": f"{library} has no {dtype}"}
            continue
        narrow = place._replace(dtype=getattr(place.xp, dtype))
        ran = attempt(lambda narrow=narrow: _trained(library, dry, place, narrow, (X, y), test))  # type: ignore[misc]
        step = attempt(lambda narrow=narrow: _step(library, dry, place, narrow))  # type: ignore[misc]
        found[dtype] = {**ran, "large_step": step}
    score = found["float32"].get("accuracy", 0.0)
    # one row of a test set of few may be more than so many points
    close = max(POINTS, 1.0 / len(test[1])) + 1e-6
    others = [each for each in found.values() if "lacks" not in each]
    well = all(score - each.get("accuracy", 0.0) <= close for each in others) and score > 0.9
    broken = any(failed(each) or failed(each["large_step"]) for each in others)
    return {"rows": found, "test_rows": len(test[1]), "ok": well and not broken and len(others) > 1}


def _has(place: Placement, dtype: str) -> bool:
    """Whether the library has the dtype, as one of its real floating ones."""
    own = getattr(place.xp, dtype, None)
    try:
        return own is not None and bool(place.xp.isdtype(own, "real floating"))
    except (AttributeError, TypeError, ValueError):  # CuPy has the name of a dtype that it does not compute in
        return False


def _trained(library: str, dry: bool, place: Placement, narrow: Placement, learned: Any, test: Any) -> Found:
    """A run in the dtype of ``narrow``, with the parameters of ``place``."""
    sizes = (learned[0].shape[1], 100 if dry else 800, 10)
    X, y, X_test = narrow.put(np.asarray(learned[0])), place.put(learned[1].astype("int32")), place.put(test[0])
    y_test = place.put(test[1].astype("int32"))
    params = mx.init_params(sizes, xp=place.xp, dtype=place.dtype, device=place.device, seed=0)
    options: Found = {"activation": "relu", "batch_size": 128, "optimizer": optim.momentum()}
    options |= {"lr": schedules.cosine(0.3), "epochs": 20 if dry else EPOCHS, "validation": (X_test, y_test)}
    if library == "jax":
        options["compile"] = True
    times, wait = [time.perf_counter()], waiter(library, dry)
    for epoch in train(X, y, params, **options):
        wait(epoch.params)
        times.append(time.perf_counter())
    gaps = [after - before for before, after in pairwise(times)]
    steps = epoch.last.steps // epoch.last.number
    return {
        "accuracy": float(epoch.last.val_score or 0.0), "loss": epoch.last.loss, "val_loss": epoch.last.val_loss,
        "first_epoch_s": gaps[0], "epoch_s": statistics.median(gaps), "epoch_ms_a_step": 1e3 * min(gaps) / steps,
        "loss_scale": float(epoch.state[-1]) if epoch.state[-1].ndim == 0 else None, "sizes": sizes,
    }  # fmt: skip


def _step(library: str, dry: bool, place: Placement, narrow: Placement) -> Found:
    """Milliseconds of an epoch of sixteen steps at the larger size, divided by sixteen."""
    size, count = ((64, 64, 128, 10) if dry else LARGE), 16
    X, y, params = problem((count * size[0], *size[1:]), "float32", place)
    X, wait = place.xp.astype(X, narrow.dtype), waiter(library, dry)
    options: Found = {"activation": "relu", "batch_size": size[0], "optimizer": optim.momentum(), "lr": 1e-3}
    options |= {"compile": True} if library == "jax" else {}
    endless = train(X, y, params, epochs=10**6, **options)
    found = median_of(lambda: next(endless).params, wait, 0.15 if dry else 1.0)
    found["middle_half_ms"] = [each / count for each in found["middle_half_ms"]]
    return {**found, "ms": found["ms"] / count, "size": size}
