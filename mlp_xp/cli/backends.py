"""``mlp-xp backends``: which array libraries are usable here, why not, and how long a training step takes on each."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import click

from mlp_xp._lib.wording import count_of
from mlp_xp.backends import BACKENDS, DTYPES, Backend, Timing, choose, installed, measure
from mlp_xp.cli._help import Option, command_of, name_option
from mlp_xp.cli._options import Number
from mlp_xp.cli._output import Screen, Table

_TIMED: dict[str, Any] = {"cls": Option, "group": "What is timed"}


class _Step(NamedTuple):
    """The training step that is timed: a network, the rows in its batch, the dtype."""

    sizes: tuple[int, ...]
    n: int
    dtype: str


@command_of("backends", "backends --sizes 20-64-64-3 --n 32", "backends --no-probe --json")
@click.option("--no-probe", is_flag=True, help="Only list what is installed: at once, nothing is imported.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one library a line.")
@click.option(
    "--sizes", **_TIMED, default="784-256-10", metavar="D-H-C", help="Widths of inputs, hidden layers and outputs."
)
@click.option("--n", **_TIMED, type=click.IntRange(1), metavar="ROWS", default=128, help="Rows in the batch.")
@name_option("--dtype", DTYPES, "float32", **_TIMED)
@click.option(
    "--seconds", **_TIMED, type=Number(0, 60), default=1.0, metavar="SECONDS",
    help="Time spent on each device, besides warming up; 0 times nothing.",
)  # fmt: skip
def command(no_probe: bool, as_json: bool, sizes: str, n: int, dtype: str, seconds: float) -> None:
    """List the array libraries: version, devices, memory, the time of a training step, or why not and what to do.

    A library is usable if it could multiply two matrices. Each library and each device is tried in its own process. The
    step is mlp_xp.train_step with relu; jit is the same step under jax.jit. Times are medians.
    """
    step, screen = _Step(_widths(sizes), n, dtype), Screen(as_json)
    if no_probe and not as_json:  # plain lines: importing rich would take longer than everything else
        for backend in map(installed, BACKENDS):
            screen.say(f"{backend.name:18}{_remedy(backend) if backend.reason else backend.version or 'installed'}")
        return
    found = []
    with screen.status("trying") as tell:
        for name in BACKENDS:
            tell(f"trying {name}")
            backend, timings = (installed(name), []) if no_probe else measure(name, *step, seconds=seconds)
            screen.record(_record(backend, timings, step))
            found.append((backend, timings))
    _show(screen, found, step)


def _show(screen: Screen, found: list[tuple[Backend, list[Timing]]], step: _Step) -> None:
    """Show a table, the reason of each failure, and the fastest device."""
    timed = [timing for _, timings in found for timing in timings]
    columns = ("library", "version", "device", "ms a step", "rows/s", "jit ms")[: 6 if timed else 3]
    rows = [row[: len(columns)] for backend, timings in found for row in _rows(backend, timings, step.n)]
    title = f"one step of {'-'.join(map(str, step.sizes))} on {count_of(step.n, 'row')} in {step.dtype}"
    screen.show(Table(title if timed else "array libraries", columns, rows, range(3, len(columns))))
    for backend, timings in found:
        if backend.reason:
            screen.say(f"{backend.name}: {_remedy(backend)}")
        for timing in timings:
            if timing.reason:
                screen.say(f"{timing.backend} on {timing.device}: {timing.reason}")
    if any(timing.seconds for timing in timed):
        choice = choose(timed, *step)
        screen.say(f"fastest: --backend {choice.backend} --device {choice.device}\n{choice.reason}")


def _remedy(backend: Backend) -> str:
    return f"{backend.reason}; {backend.fix}" if backend.fix else f"{backend.reason}"


def _widths(text: str) -> tuple[int, ...]:
    """``"784-256-10"`` -> (784, 256, 10)."""
    parts = text.split("-")
    if len(parts) < 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ValueError(
            f"sizes must be two or more positive whole numbers joined by -, such as 784-256-10, got {text!r}"
        )
    return tuple(map(int, parts))


def _rows(backend: Backend, timings: list[Timing], n: int) -> Iterator[tuple[str, ...]]:
    """A row for each device that was timed, or one row where none was; the library is named once."""
    name, version = backend.name, backend.version or "-"
    memories = zip_longest(backend.devices, backend.memory)
    described = {device: f"{device}, {size / 1e9:.0f} GB" if size else device for device, size in memories}
    if not timings:
        yield name, version, "; ".join(described.values()) or "-", "-", "-", "-"
    for timing in timings:
        device, took, compiled = timing.device, timing.seconds, timing.compiled
        yield (
            name, version, described.get(device, device), f"{1e3 * took:.3g}" if took else "-",
            f"{n / took:,.0f}" if took else "-", f"{1e3 * compiled:.3g}" if compiled else "-",
        )  # fmt: skip
        name = version = ""


def _record(backend: Backend, timings: Iterable[Timing], step: _Step) -> dict[str, Any]:
    """The facts about a library, under names that say their units."""
    timed = {timing.device: timing for timing in timings}
    devices = []
    for device, size in zip_longest(backend.devices, backend.memory):
        entry: dict[str, Any] = {"name": device, "memory_bytes": size}
        if timing := timed.get(device):
            entry |= {"step_seconds": timing.seconds, "jit_step_seconds": timing.compiled, "reason": timing.reason}
        devices.append(entry)
    record = {key: getattr(backend, key) for key in ("name", "version", "usable", "reason", "fix")}
    return {**record, "devices": devices, "step": step._asdict() if timed else None}
