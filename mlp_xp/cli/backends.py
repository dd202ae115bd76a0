"""``mlp-xp backends``: which array libraries are usable here, why not, and how long a training step takes on each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import click

from mlp_xp.backends import BACKENDS, DTYPES, Backend, Timing, choose, installed, measure
from mlp_xp.cli._help import Command, Names, Option
from mlp_xp.cli._screen import make_table, open_console

_TIMED: dict[str, Any] = {"cls": Option, "group": "What is timed"}


@click.command(
    "backends",
    cls=Command,
    example=("backends", "backends --sizes 20-64-64-3 --n 32", "backends --no-probe --json"),
)
@click.option("--no-probe", is_flag=True, help="Only look what is installed: at once, and nothing is imported.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one library a line.")
@click.option(
    "--sizes", **_TIMED, default="784-256-10", metavar="D-H-C", help="Widths of inputs, hidden layers and outputs."
)
@click.option("--n", **_TIMED, type=click.IntRange(1), metavar="ROWS", default=128, help="Rows in the batch.")
@click.option("--dtype", **_TIMED, type=Names(DTYPES), default="float32", help=f"One of {', '.join(DTYPES)}.")
@click.option(
    "--seconds", **_TIMED, type=click.FloatRange(0.0, 60.0), default=1.0, metavar="SECONDS",
    help="For which each device is timed, besides warming up; 0 to time nothing.",
)  # fmt: skip
def command(no_probe: bool, as_json: bool, sizes: str, n: int, dtype: str, seconds: float) -> None:
    """List the array libraries: version, devices, memory, the time of a training step, or why not and what to do.

    A library is usable when a matrix product ran. Each is tried in a process of its own, and so is each of its devices.
    The step is mlp_xp.train_step with relu; jit is the same step under jax.jit. Times are medians.
    """
    widths = _widths(sizes)
    if no_probe and not as_json:  # plain lines: rich would take longer to import than all the rest
        for backend in map(installed, BACKENDS):
            click.echo(f"{backend.name:18}{_remedy(backend) if backend.reason else backend.version or 'installed'}")
        return
    console = open_console()
    quiet = as_json or not console.is_terminal
    with nullcontext() if quiet else console.status("trying") as status:
        found = _found(no_probe, widths, n, dtype, seconds, status)
        if as_json:
            for backend, timings in found:
                click.echo(json.dumps(_record(backend, timings, widths, n, dtype)))
            return
        all_found = list(found)
    rows = [row for backend, timings in all_found for row in _rows(backend, timings, n)]
    columns = ("library", "version", "device", "ms a step", "rows/s", "jit ms")
    shown = 6 if any(timings for _, timings in all_found) else 3
    title = f"one step of {'-'.join(map(str, widths))} on {n:,} rows in {dtype}" if shown == 6 else "array libraries"
    console.print(make_table(title, columns[:shown], [row[:shown] for row in rows], right=range(3, shown)))
    for backend, timings in all_found:
        if backend.reason:
            click.echo(f"{backend.name}: {_remedy(backend)}")
        for timing in timings:
            if timing.reason:
                click.echo(f"{timing.backend} on {timing.device}: {timing.reason}")
    if any(timing.seconds for _, timings in all_found for timing in timings):
        choice = choose((timing for _, timings in all_found for timing in timings), widths, n, dtype)
        click.echo(f"fastest: --backend {choice.backend} --device {choice.device}\n{choice.reason}")


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


def _found(
    no_probe: bool, sizes: tuple[int, ...], n: int, dtype: str, seconds: float, status: Any
) -> Iterator[tuple[Backend, list[Timing]]]:
    for name in BACKENDS:
        if no_probe:
            yield installed(name), []
            continue
        if status is not None:
            status.update(f"trying {name}")
        yield measure(name, sizes, n, dtype, seconds=seconds)


def _rows(backend: Backend, timings: Iterable[Timing], n: int) -> Iterator[tuple[str, ...]]:
    """A row for each device that was timed, or one for all where none was; the library is named once."""
    timed = {timing.device: timing for timing in timings}
    name, version = backend.name, backend.version or "-"
    sizes = [f"{size / 1e9:.0f} GB" if size else "" for size in backend.memory] or [""] * len(backend.devices)
    described = {
        device: f"{device}, {size}" if size else device for device, size in zip(backend.devices, sizes, strict=True)
    }
    if not timed:
        yield name, version, "; ".join(described.values()) or "-", "-", "-", "-"
    for device, timing in timed.items():
        took, compiled = timing.seconds, timing.compiled
        yield (
            name, version, described.get(device, device), f"{1e3 * took:.3g}" if took else "-",
            f"{n / took:,.0f}" if took else "-", f"{1e3 * compiled:.3g}" if compiled else "-",
        )  # fmt: skip
        name = version = ""


def _record(backend: Backend, timings: Iterable[Timing], sizes: tuple[int, ...], n: int, dtype: str) -> dict[str, Any]:
    """What is known of a library, by names that say their units."""
    timed = {timing.device: timing for timing in timings}
    memory = (*backend.memory, *[None] * len(backend.devices))
    devices = []
    for device, size in zip(backend.devices, memory, strict=False):
        entry: dict[str, Any] = {"name": device, "memory_bytes": size}
        if timing := timed.get(device):
            entry |= {"step_seconds": timing.seconds, "jit_step_seconds": timing.compiled, "reason": timing.reason}
        devices.append(entry)
    record = {key: getattr(backend, key) for key in ("name", "version", "usable", "reason", "fix")}
    step = {"sizes": sizes, "n": n, "dtype": dtype} if timed else None
    return {**record, "devices": devices, "step": step}
