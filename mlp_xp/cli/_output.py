"""Claims on the files that a command will write: a file that can't be written is refused before the work begins."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def claimed(*paths: str | Path | None, force: bool) -> Iterator[None]:
    """Reserve files for this process to write.

    Args:
        paths: the files; None is skipped.
        force: whether an existing file may be overwritten.

    Raises:
        ValueError: for a file that exists without ``force``, can't be written, or is reserved by another process.
    """
    with ExitStack() as stack:
        for path in paths:
            if path is not None:
                stack.enter_context(_claim(Path(path), force))
        yield


@contextmanager
def _claim(path: Path, force: bool) -> Iterator[None]:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file to write, got something else")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: --force overwrites it")
    if path.exists() and not os.access(path, os.W_OK):
        raise ValueError(f"{path} can't be written: it is read-only")
    from mlp_xp._lib.files import beside_target  # imported here: --help must stay fast

    lock = path.resolve().with_name(f".{path.name}.lock")
    try:
        temporary = beside_target(path)
        temporary.touch(exist_ok=False)
        temporary.unlink()
        handle = lock.open("w")
    except OSError as error:
        raise ValueError(f"{path} can't be written: {error.strerror or error}") from None
    with handle:
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system unlocks it when a process dies
        except OSError:
            raise ValueError(f"{path} is being written by another run") from None
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def with_suffix(path: str | Path, *suffixes: str) -> Path:
    """``path``; raises ``ValueError`` unless it ends in one of these."""
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)} to be written")
    return path
