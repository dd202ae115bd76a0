"""Files: written whole or not at all; and arrays of any library, with a versioned header, in one safetensors file.

Nothing is pickled. What is wrong with a file is one sentence that begins with its name: what was expected, what came.

Next: ``checkpoint`` keeps where training stands, ``export`` and ``plots`` write what they made.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np  # on the host alone: what a file holds
from numpy.typing import NDArray

from mlp_xp._lib.namespace import is_floating, namespace, to_host
from mlp_xp._lib.typing import Array
from mlp_xp._lib.version import __version__

HostArray: TypeAlias = NDArray[Any]

VERSION = 1
"""Of the header. A reader refuses what is newer; what is older it must go on reading."""

# What is left of a writer that was killed is swept away by a later one, once nobody can still be writing it.
_STALE = 3600.0  # seconds


def write_whole(path: str | Path, data: bytes | memoryview) -> None:
    """``data`` as the file ``path``: after an error, or a loss of power, the old file is there, or the new one, whole.

    Raises:
        OSError: when it can't be written, with the reason; its ``errno`` is the system's.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Another name to write under, beside ``path``: what is there at the end becomes ``path``, unless something raised.

    It is brought to the disk, and moved over ``path``. The mode is that of the old file, or what the umask gives to a
    new one; what a link points to is replaced, not the link.

    Raises:
        OSError: when it can't be written, with the reason; its ``errno`` is the system's.
    """
    target = Path(path).resolve()
    temporary = beside_target(target)
    try:
        exists = target.exists()
        if exists and not target.is_file():
            raise OSError("it is something else than a file")
        if exists and not os.access(target, os.W_OK):
            raise PermissionError("it is read-only")
        try:
            temporary.open("xb").close()
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if exists:
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        except BaseException:  # Ctrl-C too
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.filename not in (None, str(temporary), str(target)):
            raise  # of another file, which was read meanwhile
        refused = type(error)(f"{path} can't be written: {error.strerror or error}")
        refused.errno = error.errno
        raise refused from None
    _settle(target)


def beside_target(path: str | Path) -> Path:
    """Another name in the folder of what ``path`` points to: replacing is atomic only within one."""
    target = Path(path).resolve()
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def _settle(target: Path) -> None:
    """Bring the new name to the disk, and sweep what killed writers left. The file is whole: none of this may fail."""
    try:
        folder = os.open(target.parent, os.O_RDONLY)  # on Windows a folder can't be opened, and need not be
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        pass
    try:
        oldest = target.stat().st_mtime - _STALE  # of one clock, the file system's
        for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            if left.stat().st_mtime < oldest:
                left.unlink()
    except OSError:
        pass


# --- arrays under a header ---------------------------------------------------------------------------------------

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
"""What safetensors calls a dtype -> NumPy's name."""


def write(path: str | Path, kind: str, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """One safetensors file that ``read`` understands.

    Args:
        path: where; replaced as a whole.
        kind: what it is, "checkpoint" or "model".
        arrays: by name, of any library. Floats of 16 bits or fewer are kept as float32, which has each of their values
            and which every reader knows.
        header: numbers, strings, lists and dicts. Floats come back exactly, NaN and the infinities too.

    Raises:
        OSError: when it can't be written.
        TypeError: for a header or an array that can't be stored.
        ModuleNotFoundError: without safetensors.
    """
    numpy = _safetensors().numpy
    stored = {name: _stored(name, array) for name, array in arrays.items()}
    metadata = {
        "format": f"mlp_xp.{kind}",
        "version": str(VERSION),
        "written_by": f"mlp_xp {__version__}",
        "header": as_json(header),
    }
    metadata["crc32"] = _checksum(metadata, stored)
    write_whole(path, numpy.save(stored, metadata=metadata))


def read(path: str | Path, kind: str) -> tuple[dict[str, HostArray], dict[str, Any]]:
    """The arrays by name, on the host, and the header of a file that ``write`` made.

    Raises:
        ValueError: for what can't be read, is truncated, damaged, of another kind, of another program, or newer.
        ModuleNotFoundError: without safetensors.
    """
    safetensors = _safetensors()
    expected = f"{path} must be a {kind} of mlp_xp"
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror or error}") from None
    if not raw:
        raise ValueError(f"{expected}, got an empty file")
    try:
        parts = safetensors.deserialize(raw)
        # eight bytes say how long the JSON is that follows
        metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError, RecursionError):
        raise ValueError(f"{expected}, got a file that is truncated, damaged or of another program") from None
    program, _, found = metadata.get("format", "").partition(".")
    if program != "mlp_xp":
        raise ValueError(f"{expected}, got a safetensors file of another program")
    if found != kind:
        raise ValueError(f"{expected}, got a {found}")
    damaged = f"{expected}, got a damaged one"
    try:
        version = int(metadata["version"])
        if version > VERSION:
            by = f"{metadata['written_by']}, version {version} of the format"
            raise NewerFile(f"{path} was written by a newer mlp_xp; upgrade this one, {__version__}, to read it ({by})")
        crc32 = metadata.pop("crc32")
        arrays = {
            name: np.frombuffer(part["data"], dtype=_DTYPES[part["dtype"]]).reshape(part["shape"])
            for name, part in sorted(parts)
        }
        if crc32 != _checksum(metadata, arrays):
            raise ValueError(damaged)
        header = json.loads(metadata["header"])
    except NewerFile:
        raise
    except (KeyError, ValueError, RecursionError):
        raise ValueError(damaged) from None
    return arrays, header


class NewerFile(ValueError):
    """A file of a later version of the format."""


def as_json(value: Any) -> str:
    """``value`` as JSON, whose floats are exact; NaN and the infinities are written as Python reads them."""
    return json.dumps(value, default=_number)


def _number(value: object) -> int | float:
    """NumPy's numbers as Python's."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"what is stored beside the arrays must be numbers, strings, lists and dicts, got {value!r}")


def dtype_name(dtype: Any) -> str:
    """The name alone, such as float32, whichever library says it."""
    return str(dtype).rpartition(".")[2]


def _stored(name: str, array: Array) -> HostArray:
    """``array`` on the host, its bytes in order."""
    xp = namespace(array, names=(name,))
    if is_floating(xp, array.dtype) and xp.finfo(array.dtype).bits < 32:
        array = xp.astype(array, xp.float32)
    host = np.asarray(to_host(array), order="C")
    little = host.dtype.newbyteorder("<")
    if little.str not in _DTYPES.values():
        raise TypeError(f"{name} can't be stored: there is no {host.dtype} in a safetensors file")
    return host.astype(little, copy=False)


def _checksum(metadata: Mapping[str, str], arrays: Mapping[str, HostArray]) -> str:
    """CRC-32 of everything that counts, for damage that the format does not notice."""
    said = [sorted(metadata.items()), [[name, arrays[name].dtype.str, arrays[name].shape] for name in sorted(arrays)]]
    crc = zlib.crc32(json.dumps(said).encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ModuleNotFoundError as error:
        sentence = "files of arrays need safetensors: pip install 'mlp_xp[train]'"
        raise ModuleNotFoundError(sentence, name=error.name) from None
    return safetensors
