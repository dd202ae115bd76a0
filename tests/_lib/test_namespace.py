"""Where an array lives, and its way to the host, for the array libraries that are known and for one that is not."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp import optim
from mlp_xp._lib.namespace import (
    Placement,
    device_of,
    in_library_of,
    in_parts,
    kind_of,
    library_of,
    namespace,
    on_one_device,
    scalar_like,
    to_host,
    unstacked,
)
from mlp_xp.train import train


class Unknown:
    """An array of a library that nobody has heard of: NumPy can't read it, and DLPack is its one way to the host."""

    dtype = np.dtype("float64")

    def __array_namespace__(self, api_version=None):
        kinds = {"float32": np.float32, "float64": np.float64, "finfo": np.finfo, "isdtype": np.isdtype}
        return SimpleNamespace(__name__="unheard", __array_namespace_info__=None, **kinds)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __dlpack__(self, **how):
        return np.asarray([1.5, -2.0]).__dlpack__(**how)

    def __dlpack_device__(self):
        return 1, 0  # the host


@pytest.mark.only("numpy")
def test_an_array_of_an_unknown_library_comes_to_the_host():
    array = Unknown()
    np.testing.assert_array_equal(to_host(array), [1.5, -2.0])
    assert kind_of(array) == "Unknown of unheard"
    assert kind_of([1.5]) == "list"


@pytest.mark.only("numpy")
def test_a_library_that_has_no_devices_is_not_asked_for_one():
    def asarray(values, dtype=None):
        return np.asarray(values, dtype=dtype)

    def full(shape, value, dtype=None):
        return np.full(shape, value, dtype)

    plain = SimpleNamespace(asarray=asarray, full=full)
    assert Placement(plain, np.float32, None).put(np.asarray([1.0])).dtype == np.float32
    assert scalar_like(plain, 2.0, SimpleNamespace(dtype=np.float32)) == 2.0


def test_a_result_is_where_its_arguments_are(xp, put, device):
    X, y = put(textbook.batch()), put(textbook.labels())
    params = tuple(map(put, textbook.parameters()))
    epoch = list(train(X, y, params, epochs=1, batch_size=4, optimizer=optim.adam(), validation=(X, y)))[-1]
    found, _ = optim.lbfgs(lambda *p: mx.loss_and_grads(X, y, *p), params, max_iter=1)
    loss, stepped = mx.train_step(X, y, *params, l1=0.1, dropout=0.2, seed=1)
    for array in (loss, mx.predict(X, *params), *stepped, *found, *epoch.params, *epoch.state):
        assert on_one_device(array, X)
        assert library_of(namespace(array)) == library_of(xp)


@pytest.mark.only("jax")
def test_jax_names_the_device_only_of_an_array_that_was_put_on_one():
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    first, second = jax.devices("cpu")[:2]
    free = jax.numpy.ones(4)  # follows whatever it is combined with
    bound = jax.device_put(free, second)
    assert (device_of(free), device_of(bound), device_of(jax.device_put(free, first))) == (None, second, first)
    over_both = jax.device_put(free, NamedSharding(Mesh(np.asarray([first, second]), ("x",)), PartitionSpec("x")))
    assert device_of(over_both) is None
    jax.jit(lambda x: [x, device_of(x)][0])(bound)
    jax.jit(jax.vmap(lambda x: pytest.fail("a tracer has no device") if device_of(x) else x))(bound)
    assert device_of(in_library_of(bound, np.ones(2))) == second


@pytest.mark.only("dask")
def test_dask_over_chunks_of_another_library_is_refused_with_the_remedy(put):
    import array_api_strict as strict

    chunks = put(np.ones((6, 4))).map_blocks(strict.asarray, meta=strict.empty((0, 0)))
    sentence = "X must have chunks of NumPy's, got chunks of Array of array_api_strict; X.compute"
    with pytest.raises(TypeError, match=sentence):
        mx.predict(chunks, *mx.init_params((4, 3)))


@pytest.mark.only("array_api_strict")
def test_a_device_where_no_new_arrays_can_be_made_is_refused_with_the_remedy(xp, put, monkeypatch):
    """CuPy's current device decides, whatever ``device=`` says."""
    from mlp_xp.estimators import MLPClassifier

    full, current = xp.full, xp.Device("CPU_DEVICE")
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    monkeypatch.setattr(xp, "full", lambda *values, device=None, **options: full(*values, device=current, **options))
    sentence = r"(X|W1) is on .*device1.*, and array_api_strict makes new arrays on .*CPU_DEVICE.*: make the device of"
    with pytest.raises(ValueError, match=sentence):
        next(train(X, y, params, epochs=1))
    with pytest.raises(ValueError, match=sentence):
        MLPClassifier(2, max_iter=1).fit(X, y)


def test_an_array_in_parts_is_the_array(put, host, monkeypatch):
    monkeypatch.setattr("mlp_xp._lib.namespace._PART", 7)  # two rows
    X = np.arange(15.0).reshape(5, 3)
    parts = list(map(host, in_parts(put(X))))
    assert [part.shape for part in parts] == [(2, 3), (2, 3), (1, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), X)
    rows = np.asarray([4, 0, 0])
    np.testing.assert_array_equal(np.concatenate(list(map(host, in_parts(put(X), rows)))), X[rows])
    assert [[part.shape for part in in_parts(put(array))] for array in (X[0], X[:0], X[0, 0])] == [
        [(3,)],
        [(0, 3)],
        [()],
    ]


@pytest.mark.parametrize("shape", [(0,), (5, 2), (8,), (64, 3), (469,), (1025, 2)], ids=str)
def test_an_array_is_taken_apart_in_order_and_in_small_groups(xp, put, host, shape):
    values, groups = np.arange(math.prod(shape), dtype="float64").reshape(shape), []
    watched = SimpleNamespace(reshape=xp.reshape, unstack=lambda x: groups.append(x.shape[0]) or xp.unstack(x))
    pieces = unstacked(watched, put(values))
    assert [host(piece).tolist() for piece in pieces] == values.tolist()
    assert max(groups) <= 8  # JAX compiles a call of 469 results for 5 s
