"""``split(mesh)``: the rows of a batch divided among devices of JAX, and arrays that span processes.

The oracle is the loop on NumPy, on one device, which ``test_loop`` holds against the textbook.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import divided_runs
import numpy as np
import pytest
from engines import once

import mlp_xp as mx
from mlp_xp import checkpoint
from mlp_xp.estimators import MLPClassifier
from mlp_xp.train import split, train

PROGRAM = Path(divided_runs.__file__)
CLOSE = 1e-12  # 20 steps, of which each sums in another order: some thousand times the rounding of a number
SECONDS = 240  # a program that hangs is stopped

pytestmark = pytest.mark.only("jax")


def start(*arguments):
    command = [sys.executable, "-W", "ignore", str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(*programs):
    """What programs that run at the same time printed last; none of them is left."""
    try:
        answers = [program.communicate(timeout=SECONDS) for program in programs]
    finally:
        for program in programs:
            program.kill()
            program.wait()
    for program, (_, errors) in zip(programs, answers, strict=True):
        assert program.returncode == 0, errors[-3000:]
    return [json.loads(printed.splitlines()[-1]) for printed, _ in answers]


def assert_numpys(found, name):
    expected = divided_runs.arrays_of(divided_runs.epochs_of(name, np, np.asarray))
    for part, array in expected.items():
        np.testing.assert_allclose(found[f"{name}: {part}"], array, rtol=CLOSE, atol=CLOSE, err_msg=f"{name}: {part}")


# --- four devices ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four_devices(tmp_path_factory):
    def make(folder):
        (seen,) = ended(start(folder / "found.npz", "devices"))
        (folder / "seen.json").write_text(json.dumps(seen))

    folder = once(tmp_path_factory, "divided", make)
    with np.load(folder / "found.npz") as found:
        return dict(found), json.loads((folder / "seen.json").read_text())


@pytest.mark.parametrize("name", divided_runs.ON_DEVICES)
def test_a_run_on_four_devices_is_that_of_one(four_devices, name):
    assert_numpys(four_devices[0], name)


def test_each_device_computes_its_part_of_a_batch(four_devices):
    seen = four_devices[1]
    for place in ("divided", "whole"):
        assert 0.25 <= seen[place]["flops"] / seen["one device"]["flops"] < 0.4  # each makes the whole update


def test_a_step_sums_the_gradients_over_the_devices_and_of_divided_data_the_batch(four_devices):
    gradients = "(f64[6,64], f64[64], f64[64,3], f64[3], f64[])"
    whole, divided = (four_devices[1][place]["collectives"] for place in ("whole", "divided"))
    assert whole == {"all-reduce": [gradients]}
    batch = divided_runs.N // 2
    assert sorted(divided["all-reduce"]) == sorted([gradients, f"f64[{batch},6]", f"s64[{batch}]"])
    # of the data no device collects more than the batch; the numbers of its rows go to all
    assert {re.sub(r"\d+]$", "", each) for each in divided.pop("all-gather")} == {f"s32[{batch},"}
    assert list(divided) == ["all-reduce"]


def test_batches_that_come_on_another_device_are_divided_along_an_axis(put, host):
    """One batch that two devices divide, and two that they do not, of which the second is not the first again."""
    import jax

    mesh = jax.make_mesh((2, 1), ("rows", "columns"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    X, y, weight = divided_runs.X, divided_runs.Y, divided_runs.WEIGHT
    batches = [(X[rows], y[rows], weight[rows]) for rows in (slice(0, 8), slice(8, 15), slice(15, 22))]
    params = mx.init_params(divided_runs.SIZES)
    *_, expected = train(batches, None, params, epochs=2)
    there = [tuple(map(put, batch)) for batch in batches]
    *_, found = train(there, None, tuple(map(put, params)), epochs=2, compile=split(mesh, "rows"))
    for ours, theirs in zip(found.params, expected.params, strict=True):
        assert len(ours.devices()) == 2
        np.testing.assert_allclose(host(ours), theirs, rtol=CLOSE, atol=CLOSE)


# --- two processes -----------------------------------------------------------------------------------------------


def test_two_processes_learn_save_and_answer_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [tmp_path / f"{rank}.npz" for rank in range(2)]
    configs = ended(*(start(path, port, rank) for rank, path in enumerate(paths)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs are few
        expected = divided_runs.classifier(np.asarray)
    for path, config in zip(paths, configs, strict=True):
        assert config == {"data": checkpoint.fingerprint(divided_runs.X, divided_runs.Y)}
        with np.load(path) as found:
            assert_numpys(found, divided_runs.IN_PROCESSES)
            np.testing.assert_array_equal(found["X"], divided_runs.X)
            for name, array in expected.items():
                np.testing.assert_allclose(found[name], array, rtol=CLOSE, atol=CLOSE, err_msg=name)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def mesh_of(xp):
    import jax

    def mesh_of(kind):
        return jax.make_mesh((2,), ("rows",), axis_types=(getattr(jax.sharding.AxisType, kind),))

    return mesh_of


@pytest.fixture
def explicit(mesh_of):
    import jax

    by_rows = jax.sharding.NamedSharding(mesh_of("Explicit"), jax.sharding.PartitionSpec("rows"))
    return lambda array: jax.device_put(array, by_rows)


USES = {
    "loss_and_grads": lambda X, y, params: mx.loss_and_grads(X, y, *params),
    "backward": lambda X, y, params: mx.backward(mx.forward(X, *params)[1], y),
    "train_step": lambda X, y, params: mx.train_step(X, y, *params, lr=0.1),
    "per_example_grads": lambda X, y, params: mx.per_example_grads(X, y, *params),
    "train": lambda X, y, params: next(train(X, y, params, epochs=1)),
    "an estimator": lambda X, y, params: MLPClassifier().fit(X, y),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_explicit_axes_are_refused_in_a_sentence_that_names_those_to_take(xp, explicit, use):
    X, y = divided_runs.X[:4], divided_runs.Y[:4]
    params = mx.init_params((6, 2, 3), xp=xp, dtype=xp.float64)
    expected = (
        r"X must be divided along axes of jax.sharding.AxisType.Auto, which make_mesh takes as axis_types, "
        r"got P\('rows', None\) along AxisType.Explicit$"
    )
    with pytest.raises(TypeError, match=expected):
        use(explicit(X), explicit(y), params)


def test_explicit_axes_of_every_array_are_refused(xp, explicit):
    X, y, weight = xp.asarray(divided_runs.X[:4]), xp.asarray(divided_runs.Y[:4]), xp.ones(4)
    W, *rest = mx.init_params((6, 2, 3), xp=xp, dtype=xp.float64)
    for name, arguments in {
        "y": (explicit(y), None, W), "sample_weight": (y, explicit(weight), W), "W1": (y, None, explicit(W)),
    }.items():  # fmt: skip
        targets, weights, first = arguments
        with pytest.raises(TypeError, match=f"^{name} must be divided along axes of jax.sharding.AxisType.Auto"):
            mx.loss_and_grads(X, targets, first, *rest, sample_weight=weights)
        with pytest.raises(TypeError, match=f"^{name} must be divided along axes of jax.sharding.AxisType.Auto"):
            next(train(X, targets, (first, *rest), epochs=1, **({} if weights is None else {"sample_weight": weights})))


def test_split_takes_a_mesh_of_automatic_axes(mesh_of):
    with pytest.raises(ValueError, match=r"^mesh must have axes of jax.sharding.AxisType.Auto, .* got Explicit$"):
        split(mesh_of("Explicit"))
    with pytest.raises(ValueError, match=r"^axis must be 'rows', got 'row'; did you mean 'rows'\?$"):
        split(mesh_of("Auto"), "row")
    with pytest.raises(TypeError, match=r"^mesh must be a jax.sharding.Mesh, got 2$"):
        split(2)


def test_split_divides_arrays_of_jax_alone(mesh_of):
    params = mx.init_params((6, 2, 3))
    with pytest.raises(TypeError, match=r"^split\(mesh\) takes arrays of JAX, got ndarray of numpy$"):
        next(train(divided_runs.X, divided_runs.Y, params, epochs=1, compile=split(mesh_of("Auto"))))
