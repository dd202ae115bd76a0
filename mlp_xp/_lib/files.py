"""Files that are written whole or not at all, and safetensors files of arrays with a versioned header.

Nothing is pickled. A message about a file is one sentence that begins with its path.

Next: ``checkpoint`` saves the state of training, ``export`` and ``plots`` write models and pictures.
"""

import errno
import glob
import json
import os
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np  # for arrays on the host
from numpy.typing import NDArray

from mlp_xp._lib.arguments import described, nearest
from mlp_xp._lib.namespace import is_floating, namespace, to_host
from mlp_xp._lib.typing import Array
from mlp_xp._lib.version import __version__

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]

HostArray: TypeAlias = NDArray[Any]

VERSION = 1
"""The version of the format. ``read`` refuses newer files and must keep reading older ones."""

_LONGEST_HEAD = 100_000_000  # bytes, as safetensors itself has it
_LEADS_BACK = "it is a link that leads back to itself"


def write_whole(path: str | Path, data: bytes | memoryview) -> None:
    """Write ``data`` to the file ``path``. After an error or a loss of power the old or the new file is there, whole.

    Raises:
        OSError: the file can't be written; the message has the reason, and ``errno`` is the system's.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of ``path``; at the end that file replaces ``path``, unless an error came.

    The temporary file is flushed to the disk, then moved over ``path``. Its mode is that of the old file, or the
    umask's. If ``path`` is a link, the file that it points to is replaced.

    Raises:
        OSError: the file can't be written; the message has the reason, and ``errno`` is the system's.
    """
    try:
        target = target_of(path)
        temporary = beside_target(target)
        exists = target.exists()
        if exists and not target.is_file():
            raise OSError("it is something else than a file")
        if exists and not os.access(target, os.W_OK):
            raise PermissionError("it is read-only")
        try:
            with _held(temporary):
                yield temporary
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                if exists:
                    shutil.copymode(target, temporary)
                if fcntl is not None:  # while it is held: a moment later another writer takes it for left behind
                    os.replace(temporary, target)
            if fcntl is None:  # Windows moves no file that is open
                os.replace(temporary, target)
        except BaseException:  # Ctrl-C too
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.filename is not None and error.filename not in (str(temporary), str(target)):
            raise  # the error is about another file, which the caller read
        refused = type(error)(f"{path} can't be written: {error.strerror or error}")
        refused.errno = error.errno
        raise refused from None
    _settle(target)


def target_of(path: str | Path) -> Path:
    """The file that ``path`` points to.

    Raises:
        OSError: it points to itself.
    """
    target = Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for such a link, since Python 3.13 nothing
    if target.is_symlink():
        raise OSError(errno.ELOOP, _LEADS_BACK)
    return target


def beside_target(path: str | Path) -> Path:
    """A temporary name in the folder of the file that ``path`` points to: only there can a move be atomic."""
    target = target_of(path)
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Create a file that is this process's own while the block runs, and that others can tell from one left behind."""
    held = False
    while not held:
        with path.open("xb") as file:
            with suppress(OSError):  # a file system that knows no locks
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
            # else somebody took it for left behind, before it was locked
            held = path.exists()
            if held:
                yield


def _remove_left_behind(path: Path, folder: Path | None = None) -> None:
    """Remove a file of ``_held`` whose process is dead: the system has unlocked it then, whatever the clock says.

    Args:
        path: the file.
        folder: where it is, if that goes with it.
    """
    with suppress(OSError):  # somebody holds it, or has removed it
        if fcntl is None:  # Windows removes no file that a process has open
            path.unlink()
            _remove_folder(folder)
            return
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_folder(folder)
            path.unlink(missing_ok=True)


def _remove_folder(folder: Path | None) -> None:
    """Remove a folder with all that is in it, as far as the system allows."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _settle(target: Path) -> None:
    """Flush the folder to the disk, and remove what dead writers left. The file is complete, so errors are ignored."""
    with suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)  # fails on Windows, where it is not needed
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    with suppress(OSError):
        for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            _remove_left_behind(left)


# --- temporary folders -------------------------------------------------------------------------------------------

_HELD_BY = ".held"  # a file in each, which tells others whether the process that made the folder lives


class TemporaryFolder(NamedTuple):
    """A folder among the system's temporary files that is this process's own until ``remove``.

    path: the folder.
    held: what tells others that this process lives.
    """

    path: Path
    held: ExitStack

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self.held.close()  # first: Windows removes no file that is open
        _remove_folder(self.path)


def temporary_folder() -> TemporaryFolder:
    """A new folder ``mlp_xp_*`` among the system's temporary files; those of dead processes are removed.

    Raises:
        OSError: there is no room, or no folder for temporary files.
    """
    for left in Path(tempfile.gettempdir()).glob(f"mlp_xp_*/{_HELD_BY}"):
        if _is_own(left.parent):
            _remove_left_behind(left, left.parent)
    while True:
        folder, held = Path(tempfile.mkdtemp(prefix="mlp_xp_")), ExitStack()
        with suppress(FileNotFoundError):  # somebody took it for left behind, before it was held
            held.enter_context(_held(folder / _HELD_BY))
            return TemporaryFolder(folder, held)


def _is_own(folder: Path) -> bool:
    """Whether a folder, and no link to one, is this user's: what others have put beside it may be a trap."""
    with suppress(OSError):
        return not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
    return False


# --- arrays under a header ---------------------------------------------------------------------------------------

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
"""safetensors' name of a dtype -> NumPy's name."""


def write(path: str | Path, kind: str, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Write arrays and a header to one safetensors file, for ``read``.

    Args:
        path: the file; it is replaced as a whole.
        kind: what the file is, "checkpoint" or "model".
        arrays: arrays of any library, by name. Floats of 16 bits or fewer are stored as float32, which has all their
            values and which every reader knows.
        header: numbers, strings, lists and dicts. ``read`` returns floats exactly, NaN and infinities included.

    Raises:
        OSError: the file can't be written.
        TypeError: the header or an array can't be stored.
        ModuleNotFoundError: safetensors is not installed.
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


def unreadable(
    path: str | Path, error: OSError | None = None, suffixes: tuple[str, ...] = (), hint: str = ""
) -> ValueError:
    """The error about a file that can't be read; one that is not there may be meant by the nearest name in its folder.

    Args:
        path: the file as it was named.
        error: what the system said; None where ``path`` is no file.
        suffixes: of the files that may be meant; by default any.
        hint: what is said where no file may be meant.
    """
    where, said = Path(path), f"{str(path) or repr('')} can't be read"
    if reason := _reason(path, error):
        return ValueError(f"{said}: {reason}")
    there: list[str] = []
    with suppress(OSError):
        there = [each.name for each in where.parent.iterdir() if each.suffix in suffixes or not suffixes]
    ending = [each for each in there if each.startswith(f"{where.name}.")]  # an ending was left out
    near = [str(where.parent / each) for each in [*ending, *nearest(where.name, there, cutoff=0.8)]]
    meant = f"did you mean {near[0]!r}?" if near else hint
    return ValueError(f"{said}: No such file or directory{f'; {meant}' if meant else ''}")


def _reason(path: str | Path, error: OSError | None) -> str:
    """Why a file can't be read; "" where it is not there."""
    try:
        if error is None or isinstance(error, FileNotFoundError):  # which also says that a link leads nowhere
            os.stat(path)
    except FileNotFoundError:
        return f"it is a link to {os.readlink(path)}, which is not there" if os.path.islink(path) else ""
    except ValueError:  # no file has a NUL in its name
        return ""
    except OSError as found:
        error = found
    if error is None:
        return "it is not a file"
    if error.errno == errno.ELOOP:
        return _LEADS_BACK
    return os.strerror(error.errno) if error.errno else str(error)


def read(path: str | Path, kind: str) -> tuple[dict[str, HostArray], dict[str, Any]]:
    """Read a file that ``write`` wrote.

    Args:
        path: the file.
        kind: what the file must be, "checkpoint" or "model".

    Returns:
        The arrays by name, on the host, and the header.

    Raises:
        ValueError: the file can't be read, is truncated or damaged, of another kind or program, or newer.
        ModuleNotFoundError: safetensors is not installed.
    """
    safetensors = _safetensors()
    expected = f"{path} must be a {kind} of mlp_xp"
    foreign = ValueError(f"{expected}, got a file that is truncated, damaged or of another program")
    parts: Any = None
    try:
        if not Path(path).is_file():  # a device gives bytes without end, and a pipe lets its reader wait
            raise unreadable(path, None, (".safetensors",))
        with Path(path).open("rb") as file:
            metadata = _metadata(file)  # before all is read
            program, _, found = (metadata or {}).get("format", "").partition(".")
            if program == "mlp_xp":
                file.seek(0)
                parts = safetensors.deserialize(file.read())
            elif not os.fstat(file.fileno()).st_size:
                raise ValueError(f"{expected}, got an empty file")
    except OSError as error:
        raise unreadable(path, error, (".safetensors",)) from None
    except safetensors.SafetensorError:
        raise foreign from None
    if metadata is None:
        raise foreign
    if program != "mlp_xp":
        raise ValueError(f"{expected}, got a safetensors file of another program")
    if found != kind:
        raise ValueError(f"{expected}, got a {found}")
    version = metadata.get("version", "")
    if version.isdecimal() and int(version) > VERSION:  # its checksum may be another one
        by = f"{metadata.get('written_by')}, version {version} of the format"
        raise ValueError(f"{path} was written by a newer mlp_xp; upgrade this one, {__version__}, to read it ({by})")
    try:
        crc32 = metadata.pop("crc32")
        arrays = {
            name: np.frombuffer(part["data"], dtype=_DTYPES[part["dtype"]]).reshape(part["shape"])
            for name, part in sorted(parts)
        }
        intact, header = crc32 == _checksum(metadata, arrays), json.loads(metadata["header"])
    except (KeyError, ValueError, RecursionError):
        intact = False
    if not intact:
        raise ValueError(f"{expected}, got a damaged one")
    return arrays, header


def _metadata(file: BinaryIO) -> dict[str, str] | None:
    """What a safetensors file says beside its arrays, in JSON at its head; None where there is no such head."""
    length = int.from_bytes(file.read(8), "little")
    if length > min(os.fstat(file.fileno()).st_size - 8, _LONGEST_HEAD):
        return None
    try:
        said = json.loads(file.read(length)).get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        return None
    return said if isinstance(said, dict) and all(isinstance(each, str) for each in said.values()) else None


def as_json(value: Any) -> str:
    """``value`` as JSON with exact floats; NaN and infinities are spelled as Python's ``json`` reads them."""
    return json.dumps(value, default=_number)


def _number(value: object) -> int | float:
    """A number of NumPy's as a Python number. Raise for anything else."""
    if not isinstance(value, Real):
        raise TypeError(
            f"what is stored beside the arrays must be numbers, strings, lists and dicts, got {described(value)}"
        )
    return int(value) if isinstance(value, Integral) else float(value)


def dtype_name(dtype: Any) -> str:
    """The dtype's name alone, ``float32`` for ``torch.float32``, the same for every library."""
    return str(dtype).rpartition(".")[2]


def _stored(name: str, array: Array) -> HostArray:
    """``array`` as it is stored: on the host, contiguous and little-endian."""
    xp = namespace(array, names=(name,))
    if is_floating(xp, array.dtype) and xp.finfo(array.dtype).bits < 32:
        array = xp.astype(array, xp.float32)
    host = np.asarray(to_host(array), order="C")
    little = host.dtype.newbyteorder("<")
    if little.str not in _DTYPES.values():
        raise TypeError(f"{name} can't be stored: there is no {host.dtype} in a safetensors file")
    return host.astype(little, copy=False)


def _checksum(metadata: Mapping[str, str], arrays: Mapping[str, HostArray]) -> str:
    """CRC-32 of metadata, names, dtypes, shapes and bytes: safetensors itself has no checksum."""
    said = [sorted(metadata.items()), [[name, arrays[name].dtype.str, arrays[name].shape] for name in sorted(arrays)]]
    crc = zlib.crc32(json.dumps(said).encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _safetensors() -> Any:
    sentence = "files of arrays need safetensors: pip install 'mlp_xp[train]'"
    return import_optional(sentence, "safetensors", "safetensors.numpy")[0]


def import_optional(sentence: str, *modules: str) -> list[Any]:
    """The modules with these names. Where one is missing, the ``ModuleNotFoundError`` has ``sentence`` as message."""
    try:
        return [import_module(module) for module in modules]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(sentence, name=error.name) from None
