"""What a command gives back: what it prints, and the files that it writes.

Each command opens one ``Screen`` and hands everything to it; the ``Screen`` alone decides what is printed. ``claimed``
refuses a file that can't be written before the work begins.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions


class Table(NamedTuple):
    """A table to print: cells in rich's markup; the columns numbered ``right`` are flush right.

    What is wider than the terminal is printed in parts, one below the other, each with the first column.
    """

    title: str
    columns: Sequence[str]
    rows: Iterable[Sequence[str]]
    right: Container[int] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """The table as rich draws it."""
        from rich.text import Text

        rows = [tuple(row) for row in self.rows]
        heading: Any = Text(self.title, no_wrap=True, overflow="ignore")  # however narrow the terminal
        unbounded = options.update(width=10_000)

        def fits(part: Sequence[int]) -> bool:
            return console.measure(self._drawn(rows, part), options=unbounded).maximum <= options.max_width

        for part in _parts(len(self.columns), fits):
            drawn = self._drawn(rows, part)
            drawn.title, heading = heading, None
            yield drawn

    def _drawn(self, rows: Sequence[Sequence[str]], part: Sequence[int]) -> Any:
        """Some of the columns."""
        from rich import box
        from rich.table import Table

        drawn = Table(title_justify="left", box=box.SIMPLE_HEAD)
        for position in part:
            justify: Any = "right" if position in self.right else "left"
            drawn.add_column(self.columns[position], justify=justify, overflow="fold")
        for row in rows:
            drawn.add_row(*(row[position] for position in part))
        return drawn


def _parts(count: int, fits: Callable[[Sequence[int]], bool]) -> Iterator[list[int]]:
    """Columns 0 ... count - 1 in groups that fit, each with column 0; a text in two columns is wrapped, not parted."""
    if count < 3 or fits(range(count)):
        yield [*range(count)]
        return
    part = [0, 1]
    for position in range(2, count):
        if not fits([*part, position]):
            yield part
            part = [0]
        part.append(position)
    yield part


class Screen:
    """The standard output of one command.

    as_json: print records of JSON, one a line, and no text.
    quiet: print no text.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet, self.silent = as_json, quiet, as_json or quiet

    @cached_property
    def console(self) -> Console:
        """Rich's console; a pipe or a file has no window whose width would cut a line."""
        from rich.console import Console

        return Console(highlight=False, width=None if sys.stdout.isatty() else 160)

    @property
    def is_terminal(self) -> bool:
        """Whether lines can be replaced by newer ones; colours may be forced upon a pipe, which is none."""
        return not self.silent and self.console.is_interactive and sys.stdout.isatty()

    def say(self, text: str) -> None:
        """Print a line; in a terminal above a progress bar, if there is one."""
        if "console" in vars(self) and self.is_terminal:
            self.console.out(text, highlight=False)
        elif not self.silent:  # without rich, which not every command needs
            print(text, flush=True)

    def insist(self, text: str) -> None:
        """Print a line in any case: on stderr where text is not wanted."""
        (to_stderr if self.silent else self.say)(text)

    def show(self, drawn: Any) -> None:
        """Print what rich can draw, such as a ``Table``."""
        if not self.silent:
            self.console.print(drawn)

    def record(self, values: Mapping[str, Any]) -> None:
        """Print a record of JSON, where JSON is wanted."""
        if self.as_json:
            import json  # imported here: --help must stay fast

            print(json.dumps(in_json(values)), flush=True)

    @contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a text while the block runs: in a terminal at once, on stderr where it takes long, if text is wanted.

        Yields the function that changes the text.
        """
        if not self.is_terminal:
            with self.said_if_long(f"{text} takes long") as tell:
                yield lambda text: tell(f"{text} takes long")
            return
        with self.console.status(text) as status:
            yield status.update

    @contextmanager
    def said_if_long(self, text: str) -> Iterator[Callable[[str], None]]:
        """Say a text on stderr where the block takes long, if text is wanted.

        Yields the function that takes the next text, from when on it is waited again, or "" for none.
        """
        timers: list[threading.Timer] = []

        def wait(text: str) -> None:
            while timers:
                timers.pop().cancel()
            if text and not self.quiet:
                timers.append(threading.Timer(_LONG, to_stderr, [f"note: {text}"]))
                timers[0].daemon = True  # Ctrl-C does not wait for it
                timers[0].start()

        wait(text)
        try:
            yield wait
        finally:
            wait("")


_LONG = 20.0  # seconds in which nothing is said


def to_stderr(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def in_a_line(error: Exception) -> str:
    """What an error says, in one line.

    That is a whole sentence, since a file that it names may have line breaks in its name. Of what array libraries raise
    when a device fails it is the first line: the others are about their code.
    """
    if isinstance(error, OSError) and error.strerror:  # without Python's "[Errno 28]"
        said = f"{error.filename or 'standard output'} can't be read or written: {error.strerror}"
    else:
        said = str(error).strip()
        said = said if isinstance(error, ValueError | TypeError | OSError) else said.partition("\n")[0]
    return " ".join(said.split()) or type(error).__name__


def in_json(value: Any) -> Any:
    """``value`` with null for NaN and the infinities, which JSON has not."""
    if isinstance(value, Mapping):
        return {key: in_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [in_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def figure(value: float) -> str:
    """Four digits: ``0.01235``, ``123.5``, ``1,235,000``."""
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if 1e3 <= abs(rounded) < 1e15 else f"{rounded:.4g}"


def decimals(value: float, digits: int = 4) -> str:
    """A score or a loss with so many decimals, four digits where it is large or tiny: ``0.9929``, ``-1.235e+52``."""
    size = abs(value)
    return f"{value:.4g}" if size >= 1e5 or 1e-9 < size < 10.0**-digits else f"{value:z.{digits}f}"


def network(sizes: Sequence[int], activation: str | Sequence[str], ensemble: int = 1) -> str:
    """``784-256-10, relu``, or ``5 times 784-256-10, relu``."""
    names = activation if isinstance(activation, str) else ", ".join(activation)
    times = f"{ensemble} times " if ensemble > 1 else ""
    return f"{times}{'-'.join(map(str, sizes))}, {names if len(sizes) > 2 else 'no hidden layer'}"


# --- files -------------------------------------------------------------------------------------------------------


@contextmanager
def claimed(*paths: str | Path | None, force: bool, inputs: Iterable[str] = ()) -> Iterator[None]:
    """Reserve files for this process to write.

    Args:
        paths: the files; None is skipped.
        force: whether an existing file may be overwritten.
        inputs: names of what the process reads, which is never overwritten.

    Raises:
        ValueError: for a file that exists without ``force``, is an input, can't be written, or is reserved by another
            process.
    """
    with ExitStack() as stack:
        for path in paths:
            if path is not None:
                _refuse_inputs(Path(path), inputs)
                stack.enter_context(_claim(Path(path), force))
        yield


def _refuse_inputs(path: Path, inputs: Iterable[str]) -> None:
    for name in inputs:
        try:
            same = path.samefile(name.partition("::")[0])  # a table of a database is FILE::TABLE
        except (OSError, ValueError):  # one of them is not there, or no file
            continue
        if same:
            raise ValueError(f"{path} is what is read ({name}): write to another file, --force or not")


@contextmanager
def _claim(path: Path, force: bool) -> Iterator[None]:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file to write, got something else")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: --force overwrites it")
    if path.exists() and not os.access(path, os.W_OK):
        raise ValueError(f"{path} can't be written: it is read-only")
    from mlp_xp._lib.files import beside_target, target_of  # imported here: --help must stay fast

    try:
        lock = target_of(path).with_name(f".{path.name}.lock")
        temporary = beside_target(path)
        temporary.touch(exist_ok=False)
        temporary.unlink()
        handle = _locked(lock)
    except OSError as error:
        raise ValueError(f"{path} can't be written: {error.strerror or error}") from None
    if handle is None:
        raise ValueError(f"{path} is being written by another run")
    with handle:
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def _locked(path: Path) -> IO[bytes] | None:
    """The file of this path, made if need be and locked; None where another process has locked it.

    The system unlocks a file when a process dies, so one that it has left is locked as any.
    """
    while True:
        handle = path.open("ab")
        if fcntl is None:  # on Windows
            return handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        except OSError:  # a file system that knows no locks
            return handle
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        handle.close()  # another process removed it meanwhile


def with_suffix(path: str | Path, *suffixes: str, option: str = "") -> Path:
    """``path``, which came by an option; raises ``ValueError`` unless it ends in one of these."""
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        either = f"{', '.join(others)} or " if others else ""
        raise ValueError(f"{option} {path} must end in {either}{last} to be written".lstrip())
    return path
