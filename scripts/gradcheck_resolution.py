"""The part of the benchmark that holds the checker to its resolution: errors of exactly the size that it stated.

``gradcheck_benchmark.py --resolution-only --seeds FROM TO`` runs it. A right gradient is checked; each array's row
states a resolution. Then a random error of that relative norm, of half of it and of twice, dense or in one entry, is
added to one array's gradient, and the same check must fail on that array: a resolution is an error that the run misses
with a probability of at most 1%.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from gradcheck_checkers import one_thread
from gradient_cases import SOUND, restricted, sound, with_damage
from gradient_damage import Damage
from gradient_families import FAMILIES, Problem, build

import mlp_xp

# name -> dtype of the parameters, dtype of the data or None, what may call f
WAYS: dict[str, tuple[str, str | None, str]] = {
    "duals": ("float64", None, "arrays"),
    "differences": ("float64", None, "real"),
    "float32": ("float32", None, "arrays"),
    "float32 data": ("float32", "float32", "arrays"),
    "float32 only": ("float32", "float32", "float32"),
}
FORMS = ("dense", "one entry")
MULTIPLES = (0.5, 1.0, 2.0)
MOST = 0.01  # the share of errors of the stated size that may be missed


class Injection(NamedTuple):
    """One injected error: whether the check failed on the array."""

    way: str
    form: str
    multiple: float
    refused: bool
    family: str
    seed: int
    resolution: float


def problem_of(family: str, way: str, seed: int) -> Problem | None:
    """A sound problem whose f takes what the way allows."""
    dtype, data_dtype, access = WAYS[way]
    random = np.random.default_rng([seed, list(WAYS).index(way)])
    for _ in range(10):
        try:
            problem = build(family, random, dtype, data_dtype)
            if sound(problem, SOUND[dtype]):
                return problem._replace(
                    f=float32_only(problem.f) if access == "float32" else restricted(problem.f, access)
                )
        except np.linalg.LinAlgError:
            continue
    return None


def float32_only(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` that raises for anything but NumPy arrays of float32."""

    def plain(*params: Any) -> Any:
        if any(not isinstance(p, np.ndarray | np.generic) or p.dtype != np.float32 for p in params):
            raise TypeError("float32 only")
        return f(*params)

    return plain


def inject(family: str, way: str, seed: int) -> list[Injection]:
    """The errors of every form and multiple for one problem; none if its resolution is not stated for some array."""
    random = np.random.default_rng([seed, 1])
    problem = problem_of(family, way, seed)
    if problem is None:
        return []

    def check(grad: Callable[..., Any]) -> Any:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return mlp_xp.gradcheck(problem.f, grad, problem.params, problem.names)

    try:
        rows = check(problem.grad).tensors
        passed = [i for i, row in enumerate(rows) if row.verdict == "pass" and 0.0 < row.resolution < 1e-1]
        if not passed:
            return []
        i = int(random.choice(passed))
        g, unit = np.asarray(problem.grad(*problem.params)[i], dtype=np.float64), problem.units[i]
        found = []
        for form in FORMS:
            shape = random.standard_normal(g.shape)
            if form == "one entry":
                shape = np.where(np.arange(g.size).reshape(g.shape) == random.integers(0, g.size), 1.0, 0.0)
            for multiple in MULTIPLES:
                size = multiple * rows[i].resolution * float(np.linalg.norm(unit * g)) / float(np.linalg.norm(shape))
                damage = Damage(form, np.ones(g.shape), size * shape / unit)
                row = check(with_damage(problem.grad, i, damage)).tensors[i]
                found.append(Injection(way, form, multiple, row.verdict == "fail", family, seed, rows[i].resolution))
    except Exception:  # what the checker raises is counted by the situations
        return []
    return found


def inject_all(share: Sequence[tuple[str, str, int]]) -> list[Injection]:
    """``inject`` for every problem of a share."""
    return [injection for problem in share for injection in inject(*problem)]


def run(seeds: range, workers: int) -> dict[str, Any]:
    """Print and return how many injected errors were missed, by way, form and size."""
    names = list(FAMILIES)
    asked = [(names[(seed + 11 * k) % len(names)], way, seed) for seed in seeds for k, way in enumerate(WAYS)]
    shares = [asked[k :: 8 * workers] for k in range(8 * workers)]
    with one_thread(), ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [injection for share in pool.map(inject_all, shares) for injection in share]
    cases: Counter[tuple[str, str, float]] = Counter((i.way, i.form, i.multiple) for i in found)
    missed: Counter[tuple[str, str, float]] = Counter((i.way, i.form, i.multiple) for i in found if not i.refused)
    print("\nerrors of the stated resolution\nway             form        multiple   cases  missed   share")
    rows = []
    for key, number in sorted(cases.items()):
        share = missed[key] / number
        rows.append({"way": key[0], "form": key[1], "multiple": key[2], "cases": number, "missed": missed[key]})
        mark = "" if key[2] < 1.0 or share <= MOST else "  *"
        print(f"{key[0]:16}{key[1]:12}{key[2]:8.1f}{number:8}{missed[key]:8}{share:8.1%}{mark}")
    some = [i for i in found if not i.refused and i.multiple >= 1.0]
    some.sort(key=lambda i: -i.multiple)
    for injection in some[:12]:
        print(f"  missed: inject{injection.family, injection.way, injection.seed}: {injection}")
    return {"rows": rows, "missed": [injection._asdict() for injection in some]}
