"""Arrays in HDF5 files and Zarr folders, read a chunk at a time, so that they may be larger than memory.

Arrays with the names of those in an .npz file are taken as they are there. An array alone is a table without names, as
in an .npy file: its last column is the target. ``FILE::NAME`` reads one of several arrays, or the arrays of a group;
``FILE::NAME,NAME`` takes two of them for X and y.

Before: ``files`` finds the file; ``arrays`` and ``typed`` have what becomes of the arrays.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp._lib.arguments import first_line, one_of
from mlp_xp._lib.files import HostArray
from mlp_xp._lib.wording import count_of, listed
from mlp_xp.data.arrays import Head, Names, named, names_in
from mlp_xp.data.files import Found
from mlp_xp.data.source import Source
from mlp_xp.data.typed import matrix

_SHOWN = 8  # arrays in an error


class _Array(NamedTuple):
    """An array in a store.

    head: its shape, and the dtype of what becomes of it: bytes are texts. Texts of any length are refused by their
        dtype: where they are damaged, HDF5 may read for ever, and Zarr fill the memory.
    chunk: how many rows the library reads for any of them.
    read: its rows of a slice.
    gaps: how many of its chunks are not in the store, and how many it has.
    """

    head: Head
    chunk: int
    read: Callable[[slice], Any]
    gaps: Callable[[], tuple[int, int]]


def store(found: Found) -> Source:
    """The arrays of an HDF5 file or a Zarr folder; a note says where chunks of them are absent.

    Raises:
        ValueError: when the library that reads it is not installed, when the store is damaged, or when its arrays are
            neither X and y nor one table.
    """
    with _opened(found) as arrays:
        chosen = _chosen(found, arrays)
        heads = {name: each.head for name, each in chosen.items()}
        alone = found.part.strip("/") in arrays  # whatever it is called
        names = _pair(found, arrays) or (None if alone else names_in(heads))
        if names is None and len(heads) != 1:
            raise _several(found.where, heads)
        with _whole(found):
            notes = [_note(found.where, name, chosen[name]) for name in names or heads if name in heads]
    said = tuple(filter(None, notes))
    if names is not None:
        return named(found, heads, names, partial(_pieces, found))._replace(notes=said)
    ((name, head),) = heads.items()
    source = matrix(found, *head, lambda rows: _pieces(found, name, rows), "X and y")
    return source._replace(notes=(*source.notes, *said))


def _several(where: str, heads: Mapping[str, Head]) -> ValueError:
    there = listed([f"{name} {head.dtype} {head.shape}" for name, head in heads.items()], _SHOWN) or "no array"
    cure = f"; {where}::NAME reads one of them, {where}::NAME,NAME two of them as X and y" if heads else ""
    return ValueError(f"{where} must hold X and y, x_train and y_train, or one array, got {there}{cure}")


def _chosen(found: Found, arrays: Mapping[str, _Array]) -> dict[str, _Array]:
    """The arrays that ``found.part`` names: one, two, or those of a group by their names in it; all for no part."""
    part = found.part.strip("/")
    if not part:
        return dict(arrays)
    if part in arrays:
        return {part: arrays[part]}
    if pair := _pair(found, arrays):
        return {name: arrays[name] for name in pair if name}
    within = {name.removeprefix(f"{part}/"): each for name, each in arrays.items() if name.startswith(f"{part}/")}
    if not within:
        held = one_of(filter(None, arrays), part, most=_SHOWN) if any(arrays) else f"and it has none, got {part!r}"
        raise ValueError(f"{found.where}: the part after :: must be an array, {held}")
    return within


def _pair(found: Found, arrays: Mapping[str, _Array]) -> Names | None:
    """The names of X and y, where ``found.part`` is no name but two."""
    X, _, y = (each.strip("/") for each in found.part.partition(","))
    return (X, y, "", "") if X and y and {X, y} <= {*arrays} and found.part.strip("/") not in arrays else None


def _pieces(found: Found, name: str, rows: int | None) -> Iterator[HostArray]:
    """An array, so many rows at a time or fewer; each of its chunks is read once, and whole."""
    with _opened(found) as arrays:
        with _whole(found):
            array = _chosen(found, arrays)[name]
        n = array.head.shape[0]
        step = rows or max(n, 1)
        together = array.chunk * max(1, step // array.chunk)
        for low in range(0, n, together):
            with _whole(found):
                block = np.asarray(array.read(slice(low, min(low + together, n))))
                block = np.char.decode(block, "utf-8") if block.dtype.kind == "S" else block
            yield from (block[first : first + step] for first in range(0, len(block), step))


def _head(array: Any) -> Head:
    return Head(array.shape, np.dtype(str) if array.dtype.kind == "S" else array.dtype)


def _note(where: str, name: str, array: _Array) -> str:
    """A sentence about chunks that are absent: whether they were never written or are lost, the store can't say.

    Raises:
        ValueError: when most rows of X would be made up; of targets, those that are 0 need not be written.
    """
    absent, chunks = array.gaps()
    are, their = ("is", "its") if absent == 1 else ("are", "their")
    which = f"{absent:,} of {count_of(chunks, 'chunk')}{f' of {name}' if name else ''} {are}"
    if 2 * absent > chunks and len(array.head.shape) > 1:
        raise ValueError(f"{which} not there")
    return f"{which} not in {where}: in {their} place stands the fill value of the array" if absent else ""


# --- libraries ---------------------------------------------------------------------------------------------------


@contextmanager
def _opened(found: Found) -> Iterator[dict[str, _Array]]:
    """The arrays of a store by their names, while the block runs."""
    kind = _KINDS[found.kind]
    try:
        library = import_module(kind.library)
    except ImportError:
        library = None
    if library is None or int(library.__version__.partition(".")[0]) < kind.least:
        needed = f"{kind.library} {kind.least} or later"
        raise ValueError(f"{found.where} needs {needed} to be read: pip install 'mlp_xp[{kind.extra}]'")
    with ExitStack() as stack:
        with _whole(found):
            arrays = kind.arrays(library, found.path, stack)
        yield arrays


@contextmanager
def _whole(found: Found) -> Iterator[None]:
    """An error of the library that reads a store, or of one that unpacks its chunks, becomes one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Zarr warns of each file that is not its own
            yield
    except BlockingIOError:
        raise ValueError(f"{found.where} can't be read while another program writes it") from None
    except Exception as error:  # these fail in many ways
        if isinstance(error, OSError) and error.errno is not None:  # the disk, rather than the bytes
            raise
        said = first_line(error)
        raise ValueError(f"{found.where} must be a whole {_KINDS[found.kind].name}: {said}") from None


def _of_hdf5(h5py: Any, path: Path, stack: ExitStack) -> dict[str, _Array]:
    file, found = stack.enter_context(h5py.File(path, "r")), {}

    def visit(name: str, each: Any) -> None:
        if isinstance(each, h5py.Dataset) and each.shape:
            chunk = each.chunks[0] if each.chunks else 1
            found[name] = _Array(_head(each), chunk, each.__getitem__, partial(_gaps_of_hdf5, h5py, each))

    file.visititems(visit)  # which does not follow links to other files
    return found


def _gaps_of_hdf5(h5py: Any, array: Any) -> tuple[int, int]:
    for source in array.virtual_sources() if array.is_virtual else ():
        named, folder = source.file_name, Path(array.file.filename).parent
        if named != "." and "%" not in named and not (folder / named).is_file():  # numbers there would be made up
            raise ValueError(f"its part {named} is not there")
    if array.chunks is None:
        absent = array.id.get_space_status() == h5py.h5d.SPACE_STATUS_NOT_ALLOCATED and math.prod(array.shape) > 0
        return int(absent), 1
    chunks = _count(array.shape, array.chunks)
    return chunks - array.id.get_num_chunks(), chunks


def _of_zarr(zarr: Any, path: Path, _: ExitStack) -> dict[str, _Array]:
    root = zarr.open(str(path), mode="r")
    arrays = {"": root} if isinstance(root, zarr.Array) else dict(sorted(root.members(max_depth=None)))
    return {name: _in_zarr(path / name, each) for name, each in arrays.items()
            if isinstance(each, zarr.Array) and each.shape}  # fmt: skip


def _in_zarr(folder: Path, array: Any) -> _Array:
    if any(getattr(codec, "codec_id", "") == "pickle" for codec in (*array.filters, *array.compressors)):
        raise ValueError("it holds pickled objects, which are not read")
    return _Array(_head(array), array.chunks[0], array.__getitem__, partial(_gaps_of_zarr, folder, array))


def _gaps_of_zarr(folder: Path, array: Any) -> tuple[int, int]:
    files = [path for path in folder.rglob("[!.]*") if path.is_file() and path.name != "zarr.json"]
    if array.compressors and type(array.compressors[-1]).__name__.startswith("Blosc") and array.shards is None:
        for path in files:
            _check_blosc(path)
    chunks = _count(array.shape, array.shards or array.chunks)
    return max(chunks - len(files), 0), chunks


def _check_blosc(path: Path) -> None:
    """Raise for a chunk that is cut short: Blosc would go on to read what lies behind it in memory.

    Its head of 16 bytes ends with the length of the whole, little-endian.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) < 16 or int.from_bytes(head[12:], "little") != path.stat().st_size:
        raise ValueError(f"its chunk {path.name} is cut short")


def _count(shape: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    """How many chunks of these sizes an array has."""
    return math.prod(-(-n // size) for n, size in zip(shape, sizes, strict=True))


class _Kind(NamedTuple):
    """A kind of store.

    name: in an error.
    library, least: what reads it, and the first number of its lowest version.
    extra: which installs that.
    arrays: ``arrays(library, path, stack)``, by their names; what is to be closed goes on the stack.
    """

    name: str
    library: str
    least: int
    extra: str
    arrays: Callable[[Any, Path, ExitStack], dict[str, _Array]]


_KINDS = {
    "hdf5": _Kind("HDF5 file", "h5py", 3, "hdf5", _of_hdf5),
    "zarr": _Kind("Zarr folder", "zarr", 3, "zarr", _of_zarr),
}
