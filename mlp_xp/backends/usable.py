"""Which array libraries are usable here, why not, and which is fastest. Usable means that a small matrix product ran.

The one place that knows libraries by their names: how each is called, what its devices are, how its arrays come back
to the host. Everything else asks an array for its namespace.

Next: ``cli`` lists them, and trains on one.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mlp_xp._lib.arguments import one_of
from mlp_xp._lib.moved import renamed
from mlp_xp._lib.namespace import Placement, namespace
from mlp_xp._lib.typing import Namespace

if TYPE_CHECKING:  # a list of what is installed is to come at once
    from numpy.typing import NDArray

DTYPES = ("float32", "float64")

__getattr__ = renamed(__name__, {"Place": "mlp_xp.backends.Placement"})


class Backend(NamedTuple):
    """What ``probe`` or ``installed`` found out.

    name: one of ``BACKENDS``.
    version: as installed, None when it is not.
    devices: where its arrays can live, by the names that ``load`` takes.
    usable: whether a matrix product ran and its result came back; None where it was not tried.
    reason: why it is not usable, in one line.
    memory: bytes of each device, None for one of which the library does not say.
    fix: what would make it usable: a command, where there is one.
    """

    name: str
    version: str | None
    devices: tuple[str, ...]
    usable: bool | None
    reason: str | None
    memory: tuple[int | None, ...] = ()
    fix: str | None = None


class _Library(NamedTuple):
    """How to speak to one library.

    module: its namespace, by its import name.
    distributions: the names under which it may be installed.
    install: what to give to pip.
    devices: the module -> name of each device, and the device as the library wants it.
    to_host: an array of the library -> a NumPy array.
    memory: a device -> its bytes, where the library says.
    stands_in: its devices are the host by other names, for tests.
    compiler: where it is found what makes a function of arrays a faster one, "module.name".
    """

    module: str
    distributions: tuple[str, ...]
    install: str
    devices: Callable[[Any], dict[str, Any]]
    to_host: Callable[[Any], NDArray[Any]]
    memory: Callable[[Any], int | None] = lambda device: None
    stands_in: bool = False
    compiler: str = ""


def _as_numpy(array: Any) -> NDArray[Any]:
    import numpy as np

    return np.asarray(array)


def _host_only(module: Any) -> dict[str, Any]:
    return {"cpu": "cpu"}


def _cupy_devices(cupy: Any) -> dict[str, Any]:
    return {f"cuda:{i}": cupy.cuda.Device(i) for i in range(cupy.cuda.runtime.getDeviceCount())}


def _torch_devices(torch: Any) -> dict[str, Any]:
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return {name: torch.device(name) for name in names}


def _torch_memory(device: Any) -> int | None:
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None


def _jax_memory(device: Any) -> int | None:
    said = device.memory_stats()  # None on a CPU
    return said.get("bytes_limit") if said else None


def _jax_devices(module: Any) -> dict[str, Any]:
    import jax

    return {str(device): device for device in (*jax.devices(), *jax.devices("cpu"))}


def _strict_devices(strict: Any) -> dict[str, Any]:
    # repr is array_api_strict.Device('CPU_DEVICE')
    return {repr(device).split("'")[1]: device for device in strict.__array_namespace_info__().devices()}


def _strict_to_host(array: Any) -> NDArray[Any]:
    return _as_numpy(array.to_device(array.__array_namespace__().Device("CPU_DEVICE")))


_LIBRARIES = {
    "numpy": _Library("numpy", ("numpy",), "numpy", _host_only, _as_numpy),
    "cupy": _Library(
        "cupy",
        ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy"),
        "mlp_xp[cuda13]",
        _cupy_devices,
        lambda array: _as_numpy(array.get()),
        lambda device: int(device.mem_info[1]),
    ),
    "torch": _Library(
        "torch",
        ("torch",),
        "mlp_xp[torch]",
        _torch_devices,
        lambda array: _as_numpy(array.cpu()),
        _torch_memory,
        compiler="torch.compile",
    ),
    "jax": _Library("jax.numpy", ("jax",), "mlp_xp[jax]", _jax_devices, _as_numpy, _jax_memory, compiler="jax.jit"),
    "dask": _Library("dask.array", ("dask",), "mlp_xp[dask]", _host_only, _as_numpy),
    "array_api_strict": _Library(
        "array_api_strict",
        ("array-api-strict",),
        "array-api-strict",
        _strict_devices,
        _strict_to_host,
        stands_in=True,
    ),
}

BACKENDS: tuple[str, ...] = tuple(_LIBRARIES)
"""The names of the array libraries."""


def installed(name: str) -> Backend:
    """Whether a library is installed, and in which version. Nothing of it is imported."""
    name, library = _named(name)
    version = _installed_version(library)
    if not _installed(library):
        return Backend(name, version, (), False, "not installed", fix=_how_to_install(name, library))
    return Backend(name, version, (), None, None)


def probe(name: str) -> Backend:
    """Import a library, look for its devices, multiply two small matrices. Whatever is raised becomes the reason."""
    found = installed(name)
    if found.usable is False:
        return found
    name, library = _named(name)
    devices: dict[str, Any] = {}
    try:
        module = importlib.import_module(library.module)
        devices = library.devices(module)
        xp = namespace(module.empty(0))
        _multiply(xp, xp.float32, None)
        memory = tuple(library.memory(device) for device in devices.values())
    except Exception as error:
        fix = _how_to_install(name, library) if name == "cupy" or isinstance(error, ImportError) else None
        return found._replace(devices=tuple(devices), usable=False, reason=_one_line(error), fix=fix)
    return found._replace(devices=tuple(devices), usable=True, memory=memory)


def load(name: str, dtype: str = "float64", device: str | None = None) -> Placement:
    """A library's namespace, dtype and device, by their names, after a matrix product ran there.

    Float64 switches on JAX's 64-bit mode for the whole process, and float32 its full precision, which a recent GPU
    would otherwise round to 10 bits. CuPy's current device becomes the one asked for.

    Args:
        name: one of ``BACKENDS``.
        dtype: "float32" or "float64".
        device: one of ``probe(name).devices``, or the first of a kind, such as "cuda"; the library's choice when None.

    Raises:
        ValueError: for an unknown name, and for a library or a device that is not usable, with the reason.
    """
    name, library = _named(name)
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be {one_of(DTYPES, dtype)}")
    if not _installed(library):
        raise ValueError(f"backend {name} is not installed: {_how_to_install(name, library)}")
    try:
        module = importlib.import_module(library.module)
        if name == "jax":
            _set_jax_precision(dtype)
        devices = library.devices(module)
    except Exception as error:
        raise ValueError(f"backend {name} is not usable: {_one_line(error)}") from None
    chosen = None if device is None else _device_named(name, devices, device)
    try:
        if name == "cupy" and chosen is not None:
            chosen.use()  # CuPy runs a kernel on the current device, wherever its arrays are
        xp = namespace(module.empty(0))
        place = Placement(xp, getattr(xp, dtype), chosen)
        _multiply(xp, place.dtype, chosen)
    except Exception as error:
        where = f" on {device}" if device else ""
        raise ValueError(f"backend {name} can't compute in {dtype}{where}: {_one_line(error)}") from None
    return place


def compiler(name: str) -> Callable[[Any], Any]:
    """What makes a function of this library's arrays a faster one: ``jax.jit``, ``torch.compile``.

    Raises ``ValueError`` for a library that has none.
    """
    name, library = _named(name)
    module, _, function = library.compiler.rpartition(".")
    if not module:
        able = [known for known, each in _LIBRARIES.items() if each.compiler]
        raise ValueError(f"to compile takes the backend {' or '.join(able)}, got {name}, which has no compiler")
    return cast(Callable[[Any], Any], getattr(importlib.import_module(module), function))


def _named(name: str) -> tuple[str, _Library]:
    underscored = name.replace("-", "_")  # array-api-strict is what pip calls it
    if underscored not in _LIBRARIES:
        raise ValueError(f"backend must be {one_of(BACKENDS, name)}")
    return underscored, _LIBRARIES[underscored]


def _device_named(backend: str, devices: dict[str, Any], device: str) -> Any:
    """The device of this name, or the first one of this kind: "cuda" is "cuda:0"."""
    for name, found in devices.items():
        if device in (name, name.partition(":")[0]):
            return found
    raise ValueError(f"device of {backend} must be {' or '.join(map(repr, devices))}, got {device!r}")


def _multiply(xp: Namespace, dtype: Any, device: Any) -> None:
    ones = xp.full((2, 2), 1.0, dtype=dtype, device=device)
    product = float(xp.sum(ones @ ones))
    if product != 8.0:
        raise ArithmeticError(f"a product of two matrices of ones must sum to 8, got {product}")


def _set_jax_precision(dtype: str) -> None:
    import jax

    config: Any = jax.config
    if dtype == "float64":
        config.update("jax_enable_x64", True)
    else:
        config.update("jax_default_matmul_precision", "float32")


def _how_to_install(name: str, library: _Library) -> str:
    if name != "cupy":
        return f"pip install '{library.install}'"
    spoken = _cuda_driver()
    if spoken is None:
        return f"pip install '{library.install}' (no NVIDIA driver was found)"
    return f"pip install 'mlp_xp[cuda{12 if spoken < 13 else 13}]'"


def _cuda_driver() -> int | None:
    """The CUDA version that the NVIDIA driver speaks, 12 or 13, or None without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    return None if driver.cuDriverGetVersion(ctypes.byref(version)) else version.value // 1000


def _installed(library: _Library) -> bool:
    return importlib.util.find_spec(library.module.partition(".")[0]) is not None


def _installed_version(library: _Library) -> str | None:
    for distribution in library.distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _one_line(error: Exception) -> str:
    """The kind of an exception and its first line: some libraries append pages."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
