"""A backend is usable if it computed something; any other has a reason in one line."""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp._lib.namespace import to_host
from mlp_xp.backends import BACKENDS, Timing, fastest, installed, load, measure, probe, timing, usable
from mlp_xp.backends.usable import device_named


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
            assert place.put(np.asarray([3], dtype=np.int32)).dtype == place.xp.int32  # integers stay as they are
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
def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(usable, "_installed_version", lambda library: None)
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
    monkeypatch.setattr(usable, "namespace", lambda array: wrong)
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
def test_a_backend_that_cannot_be_loaded_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
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
def test_the_name_that_pip_knows_is_accepted() -> None:
    place = load("array-api-strict", "float32", "device1")
    assert str(place.device) == "array_api_strict.Device('device1')"
    assert probe("array-api-strict").name == "array_api_strict"


# --- which is fastest --------------------------------------------------------------------------------------------

SIZES, ROWS = (5, 4, 3), 7


def test_a_step_is_timed_on_each_device_in_its_own_process(backend: str) -> None:
    found, timings = measure(backend, SIZES, ROWS, seconds=0.05)
    assert found == probe(backend)
    timed = found.devices[:1] if backend == "array_api_strict" else found.devices
    assert tuple(each.device for each in timings) == timed
    for each in timings:
        assert each.backend == backend
        assert each.seconds is not None, each.reason
        assert 0.0 < each.seconds < 10.0
        assert (each.compiled is not None) == (backend == "jax")


@pytest.mark.only("numpy")
def test_no_seconds_are_no_timings() -> None:
    assert measure("numpy", SIZES, ROWS, seconds=0.0) == (probe("numpy"), [])


@pytest.mark.only("numpy")
def test_the_fastest_is_chosen_and_the_reason_names_what_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = {
        "numpy": [Timing("numpy", "cpu", 2e-3)],
        "torch": [Timing("torch", "cpu", 3e-3), Timing("torch", "cuda:0", 1e-3)],
        "jax": [Timing("jax", "cpu:0", None, None, "no memory")],
    }
    asked = []

    def measured(name: str, *arguments: Any, **options: Any) -> Any:
        asked.append((name, *arguments, options))
        return probe("numpy"), timings.get(name, [])

    monkeypatch.setattr(timing, "measure", measured)
    monkeypatch.setattr(usable, "_is_installed", lambda library: library.module != "cupy")
    choice = fastest((784, 20, 10), 1000, "float64", seconds=0.1)
    assert (choice.backend, choice.device) == ("torch", "cuda:0")
    assert choice.reason == (
        "a step of 784-20-10 on 1,000 rows in float64 takes 1 ms with torch on cuda:0, 2 ms with numpy on cpu"
    )
    assert [timing.seconds for timing in choice.timings] == [1e-3, 2e-3, 3e-3, None]
    assert [name for name, *_ in asked] == ["numpy", "torch", "jax", "dask", "dpnp"]  # what refuses is no candidate
    assert asked[0][1:] == ((784, 20, 10), 1000, "float64", {"seconds": 0.1})
    timings.clear()
    with pytest.raises(ValueError, match="no backend could be timed"):
        fastest(SIZES, ROWS)


@pytest.mark.only("numpy")
def test_where_only_numpy_is_installed_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable, "_is_installed", lambda library: library.module == "numpy")
    monkeypatch.setattr(timing, "measure", None)
    assert fastest(SIZES, ROWS) == ("numpy", None, "numpy is the only array library installed", ())


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("sizes", "n", "dtype", "seconds", "sentence"),
    [
        ((3,), 1, "float32", 1.0, "sizes must be at least two positive ints"),
        (SIZES, 0, "float32", 1.0, "n must be at least 1, got 0"),
        (SIZES, 1, "float23", 1.0, "dtype must be .* did you mean 'float32'?"),
        (SIZES, 1, "float32", 0.0, "seconds must be positive, got 0"),
    ],
)
def test_arguments_that_cannot_be_timed_are_one_sentence(
    sizes: tuple[int, ...], n: int, dtype: str, seconds: float, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usable, "_is_installed", lambda library: library.module in ("numpy", "torch"))
    with pytest.raises(ValueError, match=sentence):
        fastest(sizes, n, dtype, seconds=seconds)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its process was ended by SIGKILL"),
        ("raise RuntimeError('no such device')", "RuntimeError: no such device"),
        ("import sys; sys.exit(3)", "its process ended with 3"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="processes end otherwise on Windows")
def test_a_library_that_takes_its_process_down_is_not_usable(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cupy.py").write_text(f"print('hello')\n{code}\n")  # what it prints is no answer
    monkeypatch.syspath_prepend(str(tmp_path))
    found, timings = measure("cupy", SIZES, ROWS, seconds=0.05)
    assert (found.usable, found.reason, timings) == (False, reason, [])


@pytest.mark.only("numpy")
def test_a_library_that_hangs_is_given_up_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cupy.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(timing, "_IMPORTING", 1.0)
    found, _ = measure("cupy", SIZES, ROWS, seconds=0.0)
    assert (found.usable, found.reason) == (False, "no answer within 1 s")


@pytest.mark.only("numpy")
def test_installed_imports_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable.importlib, "import_module", None)
    for name in BACKENDS:
        found = installed(name)
        assert (found.usable, found.reason, found.fix) == (None, None, None) or found.reason == "not installed"


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("driver", "fix"),
    [
        (None, "pip install 'mlp_xp[cuda13]' (no NVIDIA driver was found)"),
        (12, "pip install 'mlp_xp[cuda12]'"),
        (13, "pip install 'mlp_xp[cuda13]'"),
        (14, "pip install 'mlp_xp[cuda13]'"),
    ],
)
def test_the_driver_decides_which_cupy(driver: int | None, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable, "_cuda_driver", lambda: driver)
    monkeypatch.setattr(usable, "_is_installed", lambda library: False)
    assert installed("cupy").fix == fix


@pytest.mark.only("numpy")
def test_a_device_is_found_by_name_or_number_where_the_library_knows_objects_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = [object(), object()]
    cupy = cupy_without_cuda()
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 2), Device=lambda number: cards[number]
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    xp: Any = types.SimpleNamespace(__name__="array_api_compat.cupy")
    found = [device_named(xp, name) for name in ("cuda", "gpu", "cuda:0", 0, "cuda:1", 1)]
    assert found == [cards[0]] * 4 + [cards[1]] * 2
    for other in (cards[1], None, "cpu", "cuda:2", 2):
        assert device_named(xp, other) is other
    assert device_named(types.SimpleNamespace(__name__="array_api_compat.torch"), "meta") == "meta"
    assert device_named(types.SimpleNamespace(__name__="unheard"), "gpu") == "gpu"
