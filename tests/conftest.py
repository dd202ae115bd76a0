"""One body for every backend: the fixtures ``xp``, ``device`` and ``put``, and the option ``--backend``.

A backend that is asked for by name and cannot be used fails; nothing is skipped. A test marked ``only("jax")`` is
collected on that backend alone. JAX computes in float64 and array-api-strict on its second device, which refuses to
meet arrays on the first.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace, to_device
from hypothesis import settings

MODULES = {
    "numpy": "numpy",
    "cupy": "cupy",
    "torch": "torch",
    "jax": "jax.numpy",
    "dask": "dask.array",
    "array_api_strict": "array_api_strict",
}

# compilation and lazy graphs make the first example slow on some backends, and what is tested is not speed; where a
# change is judged the same examples come every time
settings.register_profile("backends", deadline=None, max_examples=30, derandomize="CI" in os.environ)
settings.load_profile("backends")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=list(MODULES), default="numpy", help="the array library to test on")
    parser.addoption("--device", default=None, help="its device, such as cuda; by default the library's own choice")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(*backends): the test speaks of these backends alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    backend = config.getoption("--backend")
    kept, left = [], []
    for item in items:
        marker = item.get_closest_marker("only")
        (left if marker and backend not in marker.args else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """The name given to --backend."""
    return str(request.config.getoption("--backend"))


@pytest.fixture(scope="session")
def xp(backend: str) -> Any:
    """The backend's array API namespace."""
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_default_matmul_precision", "float32")  # a recent GPU would round to TF32
    if backend == "dask":
        import dask

        dask.config.set(scheduler="synchronous")  # the graphs are tiny: threads would cost more than they save
    module = importlib.import_module(MODULES[backend])
    return array_namespace(module.empty(0))  # on CuPy without a GPU this raises


@pytest.fixture(scope="session")
def device(backend: str, xp: Any, request: pytest.FixtureRequest) -> Any:
    """Where the arrays of the tests live; None is the library's default."""
    name = request.config.getoption("--device")
    if backend == "array_api_strict":
        return xp.Device(name or "device1")
    if backend == "jax" and name:
        import jax

        return jax.devices(name)[0]
    return name


@pytest.fixture(scope="session")
def put(xp: Any, device: Any) -> Callable[..., Any]:
    """``put(host_array, dtype=None)``: a NumPy array or a list as the backend's array on the device."""

    def put(values: Any, dtype: Any = None) -> Any:
        return xp.asarray(np.asarray(values), dtype=dtype, device=device)

    return put


@pytest.fixture(scope="session")
def host(backend: str) -> Callable[[Any], np.ndarray]:
    """``host(array)``: the backend's array as a NumPy array."""

    def host(array: Any) -> np.ndarray:
        if backend == "array_api_strict":
            array = array.to_device(array.__array_namespace__().Device("CPU_DEVICE"))
        elif backend != "dask":
            array = to_device(array, "cpu") if backend in ("torch", "cupy") else array
        return np.asarray(array)

    return host
