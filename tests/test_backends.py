"""Backends are reported as they are: usable means that a kernel ran, and everything else has a reason in one line."""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pytest

from mlp_xp import backends
from mlp_xp.backends import BACKENDS, load, probe, to_host


def test_the_backend_of_this_session_is_usable_and_takes_arrays_there_and_back(backend: str) -> None:
    found = probe(backend)
    assert found.usable, found.reason
    assert found.devices
    for device in (None, found.devices[0]):
        for dtype in ("float32", "float64"):
            place = load(backend, dtype, device)
            values = np.asarray([[1.5, -2.0]])
            array = place.put(values)
            assert array.dtype == place.dtype
            assert place.put(np.asarray([3])).dtype == place.xp.int32
            back = to_host(array)
            assert isinstance(back, np.ndarray)
            assert back.dtype == dtype
            np.testing.assert_array_equal(back, values)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_is_usable_or_says_why_not_in_one_line(name: str) -> None:
    found = probe(name)
    assert found.name == name
    assert found.usable == (found.reason is None)
    if found.reason is not None:
        assert found.reason
        assert "\n" not in found.reason


@pytest.mark.only("numpy")
def test_what_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backends, "_installed_version", lambda library: None)
    found = probe("torch")
    assert found == ("torch", None, (), False, "not installed", (), "pip install 'mlp_xp[torch]'")
    assert probe("array_api_strict").fix == "pip install 'array-api-strict'"
    with pytest.raises(ValueError, match=r"backend jax is not installed: pip install 'mlp_xp\[jax\]'"):
        load("jax")


def cupy_without_cuda() -> types.ModuleType:
    """CuPy on a machine without a GPU: it imports, and whatever one asks of it raises."""

    def fail(*args: Any) -> Any:
        raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected\n  and pages more")

    cupy = types.ModuleType("cupy")
    cupy.__spec__ = ModuleSpec("cupy", None)
    cupy.empty = fail
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=fail))
    return cupy


@pytest.mark.only("numpy")
def test_a_library_that_imports_but_cannot_compute_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_without_cuda())
    found = probe("cupy")
    assert (found.usable, found.devices) == (False, ())
    assert found.reason == "RuntimeError: cudaErrorNoDevice: no CUDA-capable device is detected"
    with pytest.raises(ValueError, match="backend cupy is not usable: RuntimeError: cudaErrorNoDevice") as caught:
        load("cupy")
    assert "\n" not in str(caught.value)


@pytest.mark.only("numpy")
def test_a_wrong_product_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = types.SimpleNamespace(float32="float32", full=lambda *a, **k: np.zeros((2, 2)), sum=np.sum)
    monkeypatch.setattr(backends, "namespace", lambda array: wrong)
    assert probe("numpy").reason == "ArithmeticError: a product of two matrices of ones must sum to 8, got 0.0"


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nunpy",), "backend must be .* got 'nunpy'; did you mean 'numpy'?"),
        (("numpy", "float23"), "dtype must be 'float32' or 'float64', got 'float23'; did you mean 'float32'?"),
        (("numpy", "float32", "cuda:0"), "device of numpy must be 'cpu', got 'cuda:0'"),
        (("array_api_strict", "float32", "device3"), "device of array_api_strict must be .*'device1' .* got 'device3'"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.only("numpy")
@pytest.mark.skipif("no_float64" not in probe("array_api_strict").devices, reason="array-api-strict before 2.4")
def test_a_device_that_lacks_a_dtype_is_one_sentence() -> None:
    assert load("array_api_strict", "float32", "no_float64").device is not None
    with pytest.raises(ValueError, match="backend array_api_strict can't compute in float64 on no_float64: "):
        load("array_api_strict", "float64", "no_float64")


@pytest.mark.only("numpy")
def test_the_name_that_pip_knows_is_as_good() -> None:
    place = load("array-api-strict", "float32", "device1")
    assert str(place.device) == "array_api_strict.Device('device1')"
    assert probe("array-api-strict").name == "array_api_strict"
