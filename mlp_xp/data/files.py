"""From a name to a file on this machine, and what kind of file it is: by its first bytes, else by its name.

Standard input and URLs are copied into temporary files, which are removed with the last ``Source`` that reads them.
``FILE::PART`` names a part of a file: a table of a database, a sheet, an array, a file in an archive.

Next: ``text`` and ``typed`` read tables, ``arrays`` and ``stores`` read arrays.
"""

import bz2
import gzip
import http.client
import lzma
import re
import select
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mlp_xp._lib.arguments import first_line, one_of
from mlp_xp._lib.files import TemporaryFolder, temporary_folder, unreadable

SUFFIXES = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".psv", ".txt", ".dat", ".data"), "text"),
    ".parquet": "parquet",
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".xlsx", ".xlsm"), "excel"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), "sqlite"),
    ".arff": "arff",
    ".npy": "npy",
    ".npz": "npz",
    **dict.fromkeys((".h5", ".hdf5"), "hdf5"),
    ".zarr": "zarr",
}
"""End of a name -> kind of file, for kinds that do not say it in their first bytes."""

PACKED_SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}
KINDS = (
    f"a table ({', '.join(SUFFIXES)}, also packed as {', '.join(PACKED_SUFFIXES)}), "
    "a folder of IDX or Parquet files, a URL, "
    "openml:NAME, or - for standard input"
)

_FIRST_BYTES = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"SQLite format 3\0": "sqlite",
    b"\x93NUMPY": "npy",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\xd0\xcf\x11\xe0": "old excel",
}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_UNPACKED_WHILE_READ = ("text", "json", "arff")
_ANY_TEXT = (".txt", ".dat", ".data")  # text of some form
_SECONDS = 60  # without a byte from a server


class Found(NamedTuple):
    """A file that can be read.

    path: on this machine.
    where: its name in an error.
    title: its name in a heading.
    kind: "text" or another value of ``SUFFIXES``.
    packing: "gzip", "bzip2", "xz", "zstd", "zip", or "".
    part: what of it is read, after "::"; "" where nothing is named.
    suffix: the end of its name without that of the packing, such as ".csv".
    folder: a temporary folder that goes with it; None where there is none.
    """

    path: Path
    where: str
    title: str
    kind: str
    packing: str = ""
    part: str = ""
    suffix: str = ""
    folder: TemporaryFolder | None = None

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes, unpacked; an archive that is damaged becomes one sentence."""
        with _unpacked(self.path, self.where, self.packing, self.part) as file:
            yield file

    def remove(self) -> None:
        """Remove what is temporary."""
        if self.folder is not None:
            self.folder.remove()


def title_of(name: str) -> str:
    """The name for a heading, and for files made from data called ``name``.

    >>> title_of("data/houses.csv.gz"), title_of("https://example.org/a/iris.csv?raw=1"), title_of("shop.db::orders")
    ('houses', 'iris', 'orders')
    """
    if name == "-":
        return "stdin"
    file, _, part = name.partition("::")
    if "://" in file:
        file = urllib.parse.unquote(urllib.parse.urlsplit(file).path) or file.partition("://")[2]
    path = Path(part or file.removeprefix("openml:"))
    if path.suffix.lower() in PACKED_SUFFIXES:
        path = path.with_suffix("")
    return (path.stem if part or path.suffix.lower() in SUFFIXES else path.name) or "data"


def find(name: str) -> Found:
    """The file called ``name``: a path, ``PATH::PART``, a URL, or ``-`` for standard input.

    Raises:
        ValueError: when there is none, when it can't be fetched, or when nothing says of what kind it is.
    """
    whole, _, part = (name, "", "") if Path(name).exists() else name.partition("::")
    if name != "-" and "://" not in name:
        return _look_at(Path(whole), whole, part, None)
    folder = temporary_folder()
    try:
        if name == "-":
            path, where = folder.path / "stdin", "standard input"
            _spool(path)
        else:
            path, where = folder.path / (Path(urllib.parse.urlsplit(whole).path).name or "data"), whole
            _fetch(whole, path)
        return _look_at(path, where, part, folder)
    except BaseException:
        folder.remove()
        raise


def _spool(path: Path) -> None:
    source = getattr(sys.stdin, "buffer", None)
    if source is None:
        raise ValueError("standard input can't be read: it is closed")
    with path.open("wb") as file:
        while block := _next_block(source):
            file.write(block)


def _next_block(source: Any) -> bytes:
    """What has come from a stream; nothing at its end.

    The stream is waited for a second at a time: Python sees a signal that comes just before a read that blocks only
    when the read ends.
    """
    with suppress(OSError, ValueError):  # no file of the system's; Windows waits for sockets alone
        while not select.select([source], [], [], 1.0)[0]:
            pass
    block: bytes = source.read1()  # all that is held, so that nothing is when the stream is waited for
    return block


def _fetch(url: str, path: Path) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https", "ftp"):
        raise ValueError(f"{url} must begin with https://, http:// or ftp://, got {scheme}://")
    request = urllib.request.Request(url, headers={"User-Agent": "mlp_xp"})  # some servers refuse Python's own name
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
            expected = int(answer.headers.get("Content-Length") or file.tell())
            if file.tell() != expected:
                raise ValueError(f"{url} can't be fetched: {file.tell():,} of its {expected:,} bytes came")
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"{url} can't be fetched: the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise ValueError(f"{url} can't be fetched: {said}") from None


# --- what kind it is of ------------------------------------------------------------------------------------------


_OF_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")  # one of which is in each folder of Zarr's


def is_zarr(path: Path) -> bool:
    """Whether a folder holds arrays of Zarr, by its name or by the files in it."""
    return path.is_dir() and (path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in _OF_ZARR))


def _look_at(path: Path, where: str, part: str, folder: TemporaryFolder | None) -> Found:
    """The file in ``path``, with what its bytes and its name say of it; ``folder`` is that of a temporary file."""
    if is_zarr(path):
        return Found(path, where, title_of(path.resolve().name), "zarr", part=part)
    if not path.is_file():
        raise unreadable(where)
    if path.stat().st_size == 0:
        raise ValueError(f"{where} must hold a table, got an empty file")
    packing, named = _packing(path), path
    if packing == "zip":
        part = _member(path, where, part)
        named = Path(part)
    elif packing and named.suffix.lower() in PACKED_SUFFIXES:
        named = named.with_suffix("")
    with _unpacked(path, where, packing, part) as file:
        head = file.read(2**12)
    suffix = named.suffix.lower()
    kind = _kind(head, suffix, anything=folder is not None or bool(packing) or not suffix)
    if kind == "old excel":
        raise ValueError(f"{where} must be an .xlsx file, got Excel's older .xls; save it as .xlsx or .csv")
    if kind is None:
        raise ValueError(f"{where} must be {KINDS}, got a file that ends in {suffix}")
    found = Found(path, where, title_of(named.name), kind, packing, part, suffix, folder)
    return found if not packing or kind in _UNPACKED_WHILE_READ else _copied(found)


def _packing(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    for start, packing in _PACKED.items():
        if head.startswith(start):
            return packing
    if not (head.startswith(b"PK") and zipfile.is_zipfile(path)):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "zip"  # which says so where it is opened
    workbook = "[Content_Types].xml" in names
    return "" if workbook or all(name.endswith(".npy") for name in names) else "zip"


_OF_WORKBOOKS = (b"[Content_Types].xml", b"docProps/", b"xl/")  # which of them is first depends on who wrote it


def _kind(head: bytes, suffix: str, anything: bool) -> str | None:
    """The kind of a file that begins with ``head``; ``anything``: whether text is a table whatever its suffix."""
    for start, kind in _FIRST_BYTES.items():
        if head.startswith(start):
            return kind
    if head.startswith(b"PK\3\4"):
        workbook = any(name in head for name in _OF_WORKBOOKS) or SUFFIXES.get(suffix) == "excel"
        return "excel" if workbook else "npz"
    if suffix in SUFFIXES and suffix not in _ANY_TEXT:
        return SUFFIXES[suffix]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"\[\s*[\[{]|\{\s*\"", text):
        return "json"
    if re.search(rb"^\s*@relation\s", text, re.IGNORECASE | re.MULTILINE):
        return "arff"
    return "text" if anything or suffix in _ANY_TEXT else None


# --- packed files ------------------------------------------------------------------------------------------------


def _member(path: Path, where: str, part: str) -> str:
    """The name of the file in an archive that is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile:
        raise _damaged(where, "zip") from None
    names = [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]
    if part:
        if part not in names:
            raise ValueError(f"{where}: the part after :: must be a file in it, {one_of(names, part, most=8)}")
        return part
    tables = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    chosen = names if len(names) == 1 else tables
    if len(chosen) != 1:
        held = f"{', '.join(sorted(names)[:8])}{' ...' if len(names) > 8 else ''}" or "nothing"
        raise ValueError(f"{where} must hold one table, got {held}; {where}::NAME reads one of them")
    return chosen[0]


@contextmanager
def _unpacked(path: Path, where: str, packing: str, part: str) -> Iterator[BinaryIO]:
    try:
        with ExitStack() as stack:
            yield stack.enter_context(_opened(path, packing, part, stack))
    except zipfile.BadZipFile:
        raise _damaged(where, packing) from None
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if not packing or getattr(error, "errno", None) is not None:  # the disk, rather than the bytes
            raise
        raise _damaged(where, packing) from None
    except (RuntimeError, NotImplementedError) as error:
        if packing != "zip":
            raise
        raise ValueError(f"{where}: {part} can't be unpacked: {first_line(error)}") from None  # a password, a method


@contextmanager
def whole(where: str, kind: str) -> Iterator[None]:
    """Make one sentence about a file of what pyarrow raises where it reads the file.

    Args:
        where: the file, with which the sentence begins.
        kind: what the file must be, "Parquet" or "Arrow".

    Raises:
        ValueError: in place of it; also where the system can't give the bytes.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:  # a name of a column may be no UTF-8
        if isinstance(error, OSError) and error.errno is not None:  # the system, rather than the bytes
            raise unreadable(where, error) from None
        raise ValueError(f"{where} must be a whole {kind} file, got a damaged one or another kind") from None


def _damaged(where: str, packing: str) -> ValueError:
    return ValueError(f"{where} must be a whole {packing} file, got a truncated or damaged one")


def _opened(path: Path, packing: str, part: str, stack: ExitStack) -> Any:
    if packing == "zip":
        return stack.enter_context(zipfile.ZipFile(path)).open(part)
    if packing == "zstd":
        import pyarrow as pa

        return pa.CompressedInputStream(str(path), "zstd")
    openers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    return openers.get(packing, open)(path, "rb")


def _copied(found: Found) -> Found:
    """The file unpacked into a temporary one, for kinds that are not read from their start to their end."""
    folder = found.folder or temporary_folder()
    try:
        path = folder.path / f"unpacked{found.suffix}"
        with found.open() as packed, path.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except BaseException:
        folder.remove()
        raise
    return found._replace(path=path, packing="", part="", folder=folder)
