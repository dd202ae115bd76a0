"""Draw how the checker weighs evidence: ten real runs into PICTURE.png, every mark one direction.

python scripts/weigh_evidence.py [PICTURE.png]       # shown on the checker's page; takes PyTorch, for bfloat16
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from mlp_xp.gradcheck.contract import first_answer
from mlp_xp.gradcheck.elsewhere import look_further
from mlp_xp.gradcheck.evidence import Probe, gather, gradient_at
from mlp_xp.gradcheck.forms import flattened
from mlp_xp.gradcheck.judge import WRONG, judge, resolution
from mlp_xp.gradcheck.local import prepare

LOW, HIGH = 1e-16, 1e4  # what is less is drawn as 0, what is more as no limit
# Okabe and Ito's colours for readers who are colour-blind, and a marker each
STYLES = {"fail": ("#D55E00", "^"), "pass": ("#0072B2", "o"), "inconclusive": ("#B07D00", "s")}
WORDS = {"fail": (1e-12, 1e2), "pass": (1e-10, 3e-14), "inconclusive": (1.0, 1e-9)}


class Situation(NamedTuple):
    """A function of one array, a gradient of it, and a point; where the label stands, in points from a mark."""

    label: str
    f: Callable[[Any], Any]
    grad: Callable[[Any], Any]
    at: Any
    offset: tuple[int, int] = (9, -4)


def situations() -> list[Situation]:
    """What is drawn: functions of 200 numbers."""
    x = np.random.default_rng(0).normal(size=(20, 10))
    entry = np.arange(x.size).reshape(x.shape) == 34

    def cubes(x: Any) -> Any:
        return (x**3 + x).sum()

    def slopes(x: Any) -> Any:
        return 3.0 * x**2 + 1.0

    def tanh(x: Any) -> float:  # takes neither duals nor complex numbers
        return math.fsum(np.tanh(x).ravel().tolist())

    narrow = torch.asarray(x).to(torch.bfloat16)
    return [
        Situation("right; by dual numbers", cubes, slopes, x, (-16, 9)),
        Situation("right; by differences", tanh, lambda x: 1 / np.cosh(x) ** 2, x),
        Situation("1e-8 off; in float64", cubes, lambda x: (1 + 1e-8) * slopes(x), x),
        Situation("1e-8 off; in float32", cubes, lambda x: (1 + 1e-8) * slopes(x), x.astype(np.float32), (-62, -19)),
        Situation("one entry of 200 wrong", cubes, lambda x: slopes(x) + entry, x),
        Situation("wrong at this point alone", lambda x: np.exp(x).sum(), lambda x: np.exp(x) * x.any(), 0 * x),
        Situation("right; at kinks", lambda x: abs(x).sum(), np.sign, x * (x > 0), (-62, 22)),
        Situation("wrong; f is saturated", tanh, lambda x: 1.1 / np.cosh(x) ** 2, 16 + x, (-175, 6)),
        Situation(
            "right; in bfloat16, six agree", lambda x: (x.to(torch.bfloat16) ** 2).sum(), lambda x: 2 * x, narrow, (-48, -20)
        ),
        Situation("f is constant", lambda x: 1.0, lambda x: 2 * x, x, (-75, -4)),
    ]


def marks(probes: Sequence[Probe]) -> list[tuple[float, float]]:
    """Tolerance and difference as shares of the gradient."""
    pairs = ((p.tolerance / p.scale if p.scale else math.inf, p.gap) for p in probes)
    return [(min(max(x, LOW), HIGH), min(max(y, LOW), HIGH)) for x, y in pairs]


def draw_regions(axes: Any) -> None:
    """Tint and name the regions of the three verdicts; label the axes."""
    # two directions with this tolerance miss an error of 1e-3 with a probability of 1%
    edge, ends = WRONG / resolution([Probe(0.0, 0.0, 1.0, 1.0)] * 2), (LOW / 10, HIGH * 10)
    regions = {"fail": (ends, ends[1]), "pass": ((ends[0], edge), ends[0]), "inconclusive": ((edge, ends[1]), ends[0])}
    for verdict, (x, border) in regions.items():
        colour = STYLES[verdict][0]
        axes.fill_between(x, x, border, color=colour, alpha=0.13, lw=0)
        axes.text(*WORDS[verdict], verdict, fontsize=19, color=colour, weight="bold", ha="center", va="center")
    axes.plot(ends, ends, "k-", [edge, edge], [ends[0], edge], "k--", lw=1)
    axes.text(edge * 1.5, 1e-6, "an error of 1e-3\ncould be missed", fontsize=9)
    axes.text(3e-15, 9e-15, "differ by more than they may", fontsize=9, rotation=40.5, rotation_mode="anchor")
    x_label = "how far they may differ: measured rounding, truncation, kinks (share of the gradient)"
    y_label = "how far f's slope and the gradient's differ (share of the gradient)"
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel=x_label, ylabel=y_label)
    ticks, names = [10.0**k for k in range(-15, 1, 3)], ["1e-15", "1e-12", "1e-9", "1e-6", "1e-3", "1"]
    axes.set_xticks([*ticks, HIGH], [*names, "no limit"])
    axes.set_yticks([LOW, *ticks], ["0", *names])
    axes.minorticks_off()


def main(path: Path) -> None:
    """Draw all situations."""
    figure = Figure(figsize=(8.0, 6.6), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(
        "each mark is one direction     hollow, with an arrow: in doubt here, decided elsewhere", fontsize=10
    )
    draw_regions(axes)
    for situation in situations():
        random = np.random.default_rng(0)
        flat = flattened(situation.f, lambda x, grad=situation.grad: (grad(x),), (situation.at,), None)
        here = gradient_at(flat, prepare(flat.f, flat.arrays, 0), first_answer(flat, 0).gradients, random)
        found = look_further(gather(here, random), random).found[0]
        verdict, _, decided, _ = judge(found)
        colour, marker = STYLES[verdict]
        first, last = marks(found.here), marks(decided if decided in found.elsewhere else found.here)
        if first != last:
            axes.plot(*zip(*first, strict=True), marker, color=colour, mfc="white", ms=8)
            axes.annotate("", last[0], first[0], arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 6})
        axes.plot(*zip(*last, strict=True), marker, color=colour, ms=8, mec="white")
        axes.annotate(situation.label, max(first), situation.offset, textcoords="offset points", fontsize=10)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results" / "gradcheck-evidence.png")
