"""Which array libraries are usable here, and why others are not. Usable means that a small matrix product ran.

Only this file, and ``train.compiling``, knows libraries by their names: how each is installed and imported, and what
its devices are. All other code asks an array for its namespace.

Next: ``timing`` finds the fastest; ``cli`` lists them, and trains on one.
"""

import ctypes
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, cast

from mlp_xp._lib.arguments import described, one_of
from mlp_xp._lib.namespace import Placement, namespace
from mlp_xp._lib.typing import Namespace

DTYPES = ("float32", "float64")
NARROW_DTYPES = ("bfloat16", "float16")


class Backend(NamedTuple):
    """An array library, as ``probe`` or ``installed`` found it.

    name: one of ``BACKENDS``.
    version: the installed version; None when it is not installed.
    devices: names of the devices, as ``load`` takes them.
    usable: whether a matrix product ran and its result came back; None where it was not tried.
    reason: why the library is not usable, in one line.
    memory: bytes of each device; None where the library does not say.
    fix: the command that would make the library usable, where there is one.
    """

    name: str
    version: str | None
    devices: tuple[str, ...]
    usable: bool | None
    reason: str | None
    memory: tuple[int | None, ...] = ()
    fix: str | None = None


class Library(NamedTuple):
    """What differs between libraries.

    module: import name of the namespace.
    distributions: the names under which the library may be installed.
    install: the argument of ``pip install``.
    devices: the module -> the name of each device, and the device itself; by default the host alone.
    memory: a device -> its bytes; None where the library does not say.
    stands_in: whether its devices are the host under other names, for tests.
    """

    module: str
    distributions: tuple[str, ...]
    install: str
    devices: Callable[[Any], dict[str, Any]] = lambda module: {"cpu": "cpu"}
    memory: Callable[[Any], int | None] = lambda device: None
    stands_in: bool = False


def _cupy_devices(cupy: Any) -> dict[str, Any]:
    return {f"cuda:{i}": cupy.cuda.Device(i) for i in range(cupy.cuda.runtime.getDeviceCount())}


def _cupy_memory(device: Any) -> int | None:
    return int(device.mem_info[1])


def _torch_devices(torch: Any) -> dict[str, Any]:
    mps = ["mps"] if torch.backends.mps.is_available() else []
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())), *mps]
    return {name: torch.device(name) for name in names}


def _torch_memory(device: Any) -> int | None:
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None


def _jax_memory(device: Any) -> int | None:
    return (device.memory_stats() or {}).get("bytes_limit")  # a CPU has no statistics


def _jax_devices(module: Any) -> dict[str, Any]:
    import jax

    return {str(device): device for device in (*jax.devices(), *jax.devices("cpu"))}


def _dpnp_devices(dpnp: Any) -> dict[str, Any]:
    return {device.filter_string: device for device in dpnp.__array_namespace_info__().devices()}


def _dpnp_memory(device: Any) -> int | None:
    return None if device.is_cpu else int(device.global_mem_size)  # a CPU's is the host's


def _strict_devices(strict: Any) -> dict[str, Any]:
    # repr is array_api_strict.Device('CPU_DEVICE')
    return {repr(device).split("'")[1]: device for device in strict.__array_namespace_info__().devices()}


LIBRARIES = {
    "numpy": Library("numpy", ("numpy",), "numpy"),
    "cupy": Library(
        "cupy", ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy"), "mlp_xp[cuda13]", _cupy_devices, _cupy_memory
    ),
    "torch": Library("torch", ("torch",), "mlp_xp[torch]", _torch_devices, _torch_memory),
    "jax": Library("jax.numpy", ("jax",), "mlp_xp[jax]", _jax_devices, _jax_memory),
    "dask": Library("dask.array", ("dask",), "mlp_xp[dask]"),
    "dpnp": Library("dpnp", ("dpnp",), "mlp_xp[dpnp]", _dpnp_devices, _dpnp_memory),
    "array_api_strict": Library(
        "array_api_strict", ("array-api-strict",), "array-api-strict", _strict_devices, stands_in=True
    ),
}

BACKENDS: tuple[str, ...] = tuple(LIBRARIES)
"""Names of the array libraries."""


def installed(name: str) -> Backend:
    """Whether a library is installed, and in which version; the library is not imported.

    Args:
        name: one of ``BACKENDS``.

    Returns:
        ``usable`` is None for an installed library, False for another one, whose ``fix`` says how to install it.

    Raises:
        ValueError: for an unknown name.

    >>> installed("numpy").name, installed("numpy").reason
    ('numpy', None)
    """
    name, library = _library_named(name)
    version = _installed_version(library)
    if not _is_installed(library):
        return Backend(name, version, (), False, "not installed", fix=_how_to_install(name, library))
    return Backend(name, version, (), None, None)


def probe(name: str) -> Backend:
    """Import a library, find its devices, and multiply two small matrices; an error becomes the reason.

    Args:
        name: one of ``BACKENDS``.

    Raises:
        ValueError: for an unknown name.

    >>> probe("numpy").usable, probe("numpy").devices
    (True, ('cpu',))
    """
    found = installed(name)
    if found.usable is False:
        return found
    name, library = _library_named(name)
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
    """The namespace, dtype and device with these names, after a matrix product ran there.

    "float64" switches on JAX's 64-bit mode for the whole process; "float32" switches on its full precision, which a
    recent GPU would otherwise round to 10 bits. CuPy's current device becomes ``device``.

    Args:
        name: one of ``BACKENDS``.
        dtype: "float32" or "float64"; or "bfloat16" or "float16", where the library has it.
        device: one of ``probe(name).devices``, or a kind such as "cuda" or "gpu", whose first device is taken; by
            default the library's own choice.

    Raises:
        ValueError: for an unknown name, and for a library or a device that is not usable, with the reason.

    >>> import numpy as np
    >>> load("numpy", "float32").put(np.asarray([1.0, 2.0])).dtype
    dtype('float32')
    """
    name, library = _library_named(name)
    if device is not None and not isinstance(device, str | int):
        raise TypeError(f"device must be the name of a device, got {described(device)}")
    dtype = dtype if isinstance(dtype, str) and dtype in NARROW_DTYPES else check_dtype(dtype)
    if not _is_installed(library):
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
        place = Placement(xp, getattr(xp, dtype, None), chosen)
        if place.dtype is not None:
            _multiply(xp, place.dtype, chosen)
    except Exception as error:
        where = f" on {device}" if device else ""
        raise ValueError(f"backend {name} can't compute in {dtype}{where}: {_one_line(error)}") from None
    if place.dtype is None:
        raise ValueError(f"backend {name} has no {dtype}")
    return place


def compiler(name: str) -> Callable[[Any], Any]:
    """The library's compiler of functions of arrays: ``jax.jit`` or ``torch.compile``.

    Args:
        name: one of ``BACKENDS``.

    Raises:
        ValueError: for an unknown name, and for a library without a compiler.

    >>> compiler("numpy")
    Traceback (most recent call last):
        ...
    ValueError: to compile takes the backend torch or jax, got numpy, which has no compiler
    """
    name, _ = _library_named(name)
    from mlp_xp.train import compiling  # imported here: it takes NumPy, which ``mlp-xp backends`` can do without

    return compiling.compiler(name)


def device_named(xp: Namespace, device: Any) -> Any:
    """The device of a library with this name or number, such as "cuda", "cuda:1" or 1; any other ``device`` as it is.

    CuPy and JAX know devices as objects alone.

    Args:
        xp: the namespace of the library.
        device: what a caller named; what is no name of ``probe`` is left to the library.
    """
    if getattr(device, "shape", None) is not None:
        raise TypeError(f"device must be the name of a device, got {described(device)}")
    module = xp.__name__.removeprefix("array_api_compat.")
    library = next((each for each in LIBRARIES.values() if each.module == module), None)
    if library is None or module == "torch" or not isinstance(device, str | int):  # PyTorch reads names by itself
        return device
    found = _found_in(library.devices(importlib.import_module(module)), device)
    return device if found is None else found


_GPUS = ("cuda", "rocm", "mps")  # JAX calls all of them gpu


def _found_in(devices: dict[str, Any], device: str | int) -> Any:
    """The device of this name, the first of this kind ("cuda" is "cuda:0"), or with this number; None for none."""
    for name, found in devices.items():
        kind, _, number = name.partition(":")
        named = device in (name, kind) or (device == "gpu" and kind in _GPUS)
        if named or (isinstance(device, int) and number == str(device)):
            return found
    return None


def check_dtype(dtype: object) -> str:
    """``dtype``. Raise unless it is one of the names in ``DTYPES``."""
    if not isinstance(dtype, str) or dtype not in DTYPES:  # a dtype of NumPy's equals its name
        raise ValueError(f"dtype must be {one_of(DTYPES, dtype)}")
    return dtype


def _library_named(name: object) -> tuple[str, Library]:
    if not isinstance(name, str):
        raise TypeError(f"backend must be the name of an array library, such as 'numpy', got {described(name)}")
    underscored = name.replace("-", "_")  # pip says array-api-strict
    if underscored not in LIBRARIES:
        raise ValueError(f"backend must be {one_of(BACKENDS, name)}")
    return underscored, LIBRARIES[underscored]


def _device_named(backend: str, devices: dict[str, Any], device: str) -> Any:
    if (found := _found_in(devices, device)) is not None:
        return found
    raise ValueError(f"device of {backend} must be {' or '.join(map(repr, devices))}, got {device!r}")


def _multiply(xp: Namespace, dtype: Any, device: Any) -> None:
    ones = xp.full((2, 2), 1.0, dtype=dtype, device=device)
    product = float(xp.sum(ones @ ones))
    if product != 8.0:
        raise ArithmeticError(f"a product of two matrices of ones must sum to 8, got {product}")


def _set_jax_precision(dtype: str) -> None:
    import jax

    option = ("jax_enable_x64", True) if dtype == "float64" else ("jax_default_matmul_precision", "float32")
    cast(Any, jax.config).update(*option)


def _how_to_install(name: str, library: Library) -> str:
    version = _cuda_driver() if name == "cupy" else None
    if version is not None:
        return f"pip install 'mlp_xp[cuda{12 if version < 13 else 13}]'"
    return f"pip install '{library.install}'{' (no NVIDIA driver was found)' if name == 'cupy' else ''}"


def _cuda_driver() -> int | None:
    """The major CUDA version that the NVIDIA driver supports, such as 12; None without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    return None if driver.cuDriverGetVersion(ctypes.byref(version)) else version.value // 1000


def _is_installed(library: Library) -> bool:
    return importlib.util.find_spec(library.module.partition(".")[0]) is not None


def _installed_version(library: Library) -> str | None:
    for distribution in library.distributions:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return None


def _one_line(error: Exception) -> str:
    """Type and first line of an error: some libraries append pages."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
