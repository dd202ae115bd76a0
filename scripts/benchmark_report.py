"""The benchmark's rows as tables, targets with verdicts, and a picture of the time over the floor against the work.

    python scripts/benchmark_report.py FILE.json [--plot FILE.png]

``benchmark`` prints the same at its end. A ratio is the median over the rounds of one side's time over another's.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import piped
from benchmark_sides import SIDES, WORKLOADS

SMALL, LITTLE, MIDDLE = (32, 4, 16, 3), (128, 64, 64, 10), (128, 784, 256, 10)
WIDE, LARGE, LARGEST = (256, 784, 800, 10), (1024, 784, 1024, 10), (4096, 784, 4096, 10)
GPU_LARGE, GPU_LARGEST = (16384, 4096, 4096, 1000), (65536, 4096, 16384, 1000)
ALL = (SMALL, LITTLE, MIDDLE, WIDE, LARGE, LARGEST)
IMPORT_LIMIT_MS = 60.0

# columns of a table: several sides share one, the eager before the compiled
COLUMNS = [
    ("products",), ("textbook",), ("ours-numpy",), ("ours-torch", "ours-torch-compiled"),
    ("ours-jax", "ours-jax-compiled"), ("ours-dask",), ("ours-cupy", "ours-cupy-compiled"),
    ("torch", "torch-compiled"), ("jax",), ("sklearn",),
]  # fmt: skip
COLORS = {"numpy": "C0", "torch": "C1", "jax": "C2", "sklearn": "C5", "dask": "C7", "cupy": "C4", "textbook": "k"}


class Target(NamedTuple):
    """``ours`` in at most so many times ``theirs``, pairs of side and workload, by size; in float32 on a device."""

    ours: tuple[str, str]
    theirs: tuple[str, str]
    limits: dict[tuple[int, ...], float]
    device: str = "cpu"


def _steps(ours: str, theirs: str, limits: dict[tuple[int, ...], float], device: str = "cpu") -> Target:
    return Target((ours, "sgd"), (theirs, "sgd"), limits, device)


TARGETS = [
    _steps("ours-numpy", "textbook", {**dict.fromkeys(ALL, 1.03), SMALL: 1.4, LITTLE: 1.2}),
    _steps("ours-numpy", "torch", {**dict.fromkeys(ALL, 0.6), LARGE: 0.65}),
    _steps("ours-numpy", "sklearn", {**dict.fromkeys(ALL, 0.6), LARGE: 0.7, LARGEST: 0.97}),
    _steps("ours-jax-compiled", "jax", dict.fromkeys(ALL, 1.03)),
    _steps("ours-torch", "torch", dict.fromkeys(ALL, 1.05)),
    _steps("ours-torch-compiled", "torch-compiled", dict.fromkeys((WIDE, LARGE, LARGEST), 1.0)),
    Target(("ours-numpy", "adam"), ("ours-numpy", "sgd"), {WIDE: 1.3}),
    _steps("ours-cupy", "products", dict.fromkeys((LARGEST, GPU_LARGE, GPU_LARGEST), 1.25), "cuda"),
    _steps("ours-cupy-compiled", "torch", dict.fromkeys((SMALL, LITTLE), 0.2), "cuda"),
    _steps("ours-cupy-compiled", "torch-compiled", dict.fromkeys((SMALL, LITTLE), 1.0), "cuda"),
    _steps("ours-cupy-compiled", "jax", dict.fromkeys((SMALL, LITTLE), 1.0), "cuda"),
]


class Ratio(NamedTuple):
    """The median over the rounds, and between which numbers half of the rounds lie."""

    median: float
    low: float
    high: float


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ours over theirs, round by round."""
    each = [a / b for a, b in zip(ours, theirs, strict=False)]
    low, _, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    return Ratio(statistics.median(each), low, high)


def microseconds(seconds: Sequence[float] | None) -> str:
    """The median in microseconds; a dash where there is none."""
    if not seconds:
        return "-"
    median = 1e6 * statistics.median(seconds)
    return f"{median:.1f}" if median < 10 else f"{median:,.0f}"


def row_line(row: dict[str, Any]) -> str:
    """A row in one line, while the benchmark runs."""
    times = (f"{side} {microseconds(seconds)}" for side, seconds in row["seconds"].items())
    return f"    {row['workload']}, µs: {', '.join(times) or 'none'}"


# --- tables --------------------------------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> str:
    """A Markdown table for each workload and dtype: sizes down, sides across, median microseconds."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return list(WORKLOADS).index(row["workload"]), row["dtype"], row["precision"], row["device"]

    groups = groupby(sorted(results["rows"], key=key), key)
    return "\n\n".join("\n".join(_table([*rows])) for _, rows in groups)


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    first = rows[0]
    precision = "" if first["precision"] == "float32" else f", products in {first['precision']}"
    yield f"{WORKLOADS[first['workload']]}, {first['dtype']}{precision}, {first['device']}, µs, medians"
    yield ""
    timed = {side for row in rows for side in row["seconds"]}
    columns = [found for sides in COLUMNS if (found := [side for side in sides if side in timed])]
    titles = [" / ".join(_short(side, position) for position, side in enumerate(sides)) for sides in columns]
    yield f"| (n, D, H, C) | {' | '.join(titles)} |"
    yield "| --- " * (len(titles) + 1) + "|"
    for row in sorted(rows, key=lambda row: work_of(row["size"])):
        cells = (" / ".join(microseconds(row["seconds"].get(side)) for side in sides) for sides in columns)
        yield f"| {', '.join(map(str, row['size']))} | {' | '.join(cells)} |"


def _short(side: str, position: int) -> str:
    """The side's title; of a second one in a column what differs."""
    title = SIDES[side].title
    return title.rpartition(", ")[2] if position else title


# --- targets -------------------------------------------------------------------------------------------------------


def judged(results: dict[str, Any]) -> Iterator[tuple[str, str, Ratio | None, float]]:
    """What is asked, at which size, the ratio, or None where it was not timed, and the limit; on devices that were."""
    seconds = {
        (row["device"].partition(":")[0], row["workload"], tuple(row["size"]), side): each
        for row in results["rows"]
        if row["dtype"] == row["precision"] == "float32"
        for side, each in row["seconds"].items()
    }
    devices = {device for device, *_ in seconds}
    for target in TARGETS:
        pair = target.ours, target.theirs
        what = " over ".join(f"{SIDES[side].title} ({workload})" for side, workload in pair)
        for size, limit in target.limits.items() if target.device in devices else ():
            ours, theirs = (seconds.get((target.device, workload, size, side)) for side, workload in pair)
            yield what, str(size), ratio(ours, theirs) if ours and theirs else None, limit
    if results.get("import_ms") is not None:
        each = results["import_ms"]
        yield "import of all names over NumPy's, ms", "", Ratio(each, each, each), IMPORT_LIMIT_MS


def targets(results: dict[str, Any]) -> str:
    """A Markdown table: what is asked, the median of ratios, where half of them lie, the limit, the verdict."""
    lines = ["| target | (n, D, H, C) | median | middle half | at most | |", "| --- " * 6 + "|"]
    missing: Counter[str] = Counter()
    for what, size, found, limit in judged(results):
        if found is None:
            missing[what] += 1
            continue
        word = "ok" if found.median <= limit else "over"
        half = f"{found.low:.3f}-{found.high:.3f}"
        lines.append(f"| {what} | {size.strip('()')} | {found.median:.3f} | {half} | {limit:g} | {word} |")
    notes = [f"not run: {what} at {count} size{'s' * (count > 1)}" for what, count in missing.items()]
    return "\n".join([*lines, *([""] if notes else []), *notes])


# --- the picture ---------------------------------------------------------------------------------------------------


def work_of(size: Sequence[int]) -> int:
    """Operations of the five products of a step: two for each multiplication and its addition."""
    n, d_in, d_h, d_out = size
    return 2 * n * (2 * d_in * d_h + 3 * d_h * d_out)


def curves(results: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Of each side the work and the time over the floor of an SGD step, in the first dtype that was timed."""
    rows = [row for row in results["rows"] if row["workload"] == "sgd" and row["seconds"].get("products")]
    rows = [row for row in rows if all(row[key] == rows[0][key] for key in ("dtype", "precision", "device"))]
    found: dict[str, list[tuple[int, float]]] = {}
    for row in sorted(rows, key=lambda row: work_of(row["size"])):
        for side in SIDES:
            if side != "products" and row["seconds"].get(side):
                over = ratio(row["seconds"][side], row["seconds"]["products"]).median
                found.setdefault(side, []).append((work_of(row["size"]), over))
    return found


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw ``curves``: solid lines are ours, dashed ones others', squares are compiled."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from mlp_xp import plots

    figure = Figure(figsize=(8.5, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.axhline(1.0, color="0.6", linewidth=1.0, label="the products alone")
    for side, points in curves(results).items():
        library = side.removeprefix("ours-").removesuffix("-compiled")
        ours, compiled = side.startswith("ours-"), side.endswith("-compiled") or side == "jax"
        axes.plot(
            *zip(*points, strict=True), color=COLORS[library], linestyle="-" if ours else "--", linewidth=1.6,
            marker="s" if compiled else "o", markersize=5, markerfacecolor=COLORS[library] if ours else "white",
            label=SIDES[side].title,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="operations of the products of a step")
    axes.set(ylabel="time over that of the products", title="A training step, SGD: time over the floor")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    plots.save(figure, path)


def main() -> None:
    """Print the tables and targets of a file, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.json", help="from scripts/benchmark.py --save")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it")
    options = parser.parse_args()
    results = json.loads(options.file.read_text("utf-8"))
    print(tables(results), targets(results), sep="\n\n")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    piped.run(main)
