"""The same tests on every array library: fixtures ``xp``, ``device``, ``put`` and ``host``, option ``--backend``.

A backend that is asked for by name but is not usable fails; nothing is skipped. A test marked ``only("jax")`` is
collected on that backend alone. NumPy arrays are read-only, so that a function that writes into its argument fails. JAX
computes in float64. JAX and array-api-strict compute on their second device, which does not mix with the first.
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
    "dpnp": "dpnp",
    "array_api_strict": "array_api_strict",
    "mlx": "mlx.core",
    "ndonnx": "ndonnx",
}

# no deadline: on some backends the first example compiles; in CI every run draws the same examples
settings.register_profile("backends", deadline=None, max_examples=30, derandomize="CI" in os.environ)
settings.load_profile("backends")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--backend`` and ``--device``."""
    parser.addoption("--backend", choices=list(MODULES), default="numpy", help="the array library to test on")
    parser.addoption("--device", default=None, help="its device, such as cuda; by default the library's default")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker ``only``."""
    config.addinivalue_line("markers", "only(*backends): the test is about these backends alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are about other backends alone."""
    backend = config.getoption("--backend")
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
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
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=2"  # the CPU stands for two
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_default_matmul_precision", "float32")  # a recent GPU would round to TF32
    if backend == "dask":
        import dask

        # the graphs are tiny: threads, and a search for tasks to fuse, cost more than they save
        dask.config.set({"scheduler": "synchronous", "optimization.fuse.active": False})
    module = importlib.import_module(MODULES[backend])
    return array_namespace(module.zeros((0,)))  # on CuPy without a GPU this raises


@pytest.fixture(scope="session")
def device(backend: str, xp: Any, request: pytest.FixtureRequest) -> Any:
    """The device of the tests' arrays; None is the library's default."""
    name = request.config.getoption("--device")
    if backend == "array_api_strict":
        return xp.Device(name or "device1")
    if backend == "jax":
        import jax

        return jax.devices(name)[0] if name else jax.devices("cpu")[1]
    return name


@pytest.fixture(scope="session")
def elsewhere(backend: str, xp: Any) -> Any:
    """A device of the backend other than ``device``, which every installation of it has."""
    if backend == "jax":
        import jax

        return jax.devices("cpu")[0]
    return xp.Device("CPU_DEVICE") if backend == "array_api_strict" else {"torch": "meta"}.get(backend, "cpu")


@pytest.fixture(scope="session")
def put(backend: str, xp: Any, device: Any) -> Callable[..., Any]:
    """``put(host_array, dtype=None)``: a copy of an array or a list on the device; on NumPy it is read-only."""

    def put(values: Any, dtype: Any = None) -> Any:
        where = {} if device is None else {"device": device}  # MLX has no such argument
        array = xp.asarray(np.array(values), dtype=dtype, **where)
        if backend == "numpy":
            array.flags.writeable = False
        return array

    return put


@pytest.fixture(scope="session")
def host(backend: str) -> Callable[[Any], np.ndarray]:
    """``host(array)``: the backend's array as a NumPy array; one of NumPy's as it is."""

    def host(array: Any) -> np.ndarray:
        if isinstance(array, np.ndarray | np.generic):
            return np.asarray(array)
        if backend == "array_api_strict":
            array = array.to_device(array.__array_namespace__().Device("CPU_DEVICE"))
        elif backend in ("torch", "cupy"):
            array = to_device(array, "cpu")
        elif backend == "ndonnx":
            return np.asarray(array.unwrap_numpy())
        elif backend == "dpnp":
            return np.from_dlpack(array, device="cpu")
        return np.asarray(array)

    return host
