"""The part of the benchmark that shows situations: who refuses wrong gradients, and who passes right ones, in which.

``gradcheck_benchmark.py --situations-only --seeds FROM TO`` runs it. Development looks at seeds below 1,000,000; what
is published comes from seeds at and above, which nobody looked at before. The peers see the same functions through
NumPy, with their defaults.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from gradient_cases import Case, Request
from gradient_situations import build_case

import mlp_xp

PUBLISHED = 1_000_000  # the first seed that development never uses
SCIPY_BOUND = 1e-5  # as in gradcheck_benchmark
VERDICTS = ("fail", "inconclusive", "pass", "error")


class Outcome(NamedTuple):
    """A checker's answer to one case; ``verdict`` is "skip" where the situation makes no sense for the family."""

    verdict: str
    truth: str
    seconds: float
    evaluations: int
    note: str


# --- the checkers -----------------------------------------------------------------------------------------------------


def ours(case: Case) -> tuple[str, str, int]:
    """``mlp_xp.gradcheck``: the verdict, what it says, evaluations."""
    if case.grad is None:
        report = mlp_xp.check_pullback(case.f, case.params, names=case.names)
    else:
        report = mlp_xp.gradcheck(case.f, case.grad, case.params, case.names)
    said = [f"{row.name}: {row.verdict}, {row.diagnosis}" for row in report.tensors if row.verdict != "pass"]
    return report.verdict, "; ".join(said), report.evaluations


def by_torch(fast_mode: bool) -> Callable[[Case], bool]:
    """``torch.autograd.gradcheck``, the gradient as the backward of a Function."""

    def check(case: Case) -> bool:
        import torch
        from torch.autograd.gradcheck import GradcheckError, gradcheck

        class Function(torch.autograd.Function):  # type: ignore[misc]
            @staticmethod
            def forward(ctx: Any, *params: Any) -> Any:
                ctx.save_for_backward(*params)
                return torch.tensor(np.asarray(case.f(*(p.detach().numpy() for p in params))))

            @staticmethod
            def backward(ctx: Any, dy: Any) -> Any:
                grads = case.grad(*(p.detach().numpy() for p in ctx.saved_tensors))
                return tuple(dy * torch.tensor(np.asarray(g)) for g in grads)

        torch.manual_seed(0)
        try:
            return bool(
                gradcheck(
                    Function.apply, tuple(torch.tensor(p, requires_grad=True) for p in case.params), fast_mode=fast_mode
                )
            )
        except GradcheckError:
            return False

    return check


def by_jax(case: Case) -> bool:
    """JAX's ``check_grads``, the gradient as a custom_vjp."""
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)

    def f(*params: Any) -> Any:
        return jax.numpy.asarray(case.f(*(np.asarray(p) for p in params)))

    def backward(params: Any, dy: Any) -> Any:
        return tuple(dy * jax.numpy.asarray(g) for g in case.grad(*(np.asarray(p) for p in params)))

    function = jax.custom_vjp(f)
    function.defvjp(lambda *p: (f(*p), p), backward)
    try:
        check_grads(function, tuple(jax.numpy.asarray(p) for p in case.params), order=1, modes=["rev"])
    except AssertionError:
        return False
    return True


def by_hips(case: Case) -> bool:
    """``check_grads`` of HIPS autograd, the gradient as the vjp of a primitive."""
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    function = primitive(lambda *params: case.f(*params))

    def vjp(argnums: Sequence[int], ans: Any, args: tuple[Any, ...], kwargs: Any) -> Callable[[Any], Any]:
        return lambda dy: [dy * case.grad(*args)[i] for i in argnums]

    defvjp_argnums(function, vjp)
    np.random.seed(0)  # noqa: NPY002, the source of its directions
    try:
        check_grads(function, modes=["rev"], order=1)(*case.params)
    except AssertionError:
        return False
    return True


def by_scipy(case: Case) -> bool:
    """``scipy.optimize.check_grad`` on the flat parameters, against ``SCIPY_BOUND``."""
    from scipy.optimize import check_grad

    ends = np.cumsum([p.size for p in case.params])[:-1]

    def apart(x: np.ndarray) -> list[np.ndarray]:
        parts = zip(np.split(x, ends), case.params, strict=True)
        return [part.reshape(p.shape).astype(p.dtype) for part, p in parts]

    def flat(arrays: Sequence[Any]) -> np.ndarray:
        return np.concatenate([np.ravel(a) for a in arrays])

    error = check_grad(lambda x: case.f(*apart(x)), lambda x: flat(case.grad(*apart(x))), flat(case.params))
    return bool(error < SCIPY_BOUND)


# name -> the check, the module that it needs
PEERS: dict[str, tuple[Callable[[Case], bool], str]] = {
    "torch slow": (by_torch(False), "torch"),
    "torch fast": (by_torch(True), "torch"),
    "jax": (by_jax, "jax"),
    "HIPS autograd": (by_hips, "autograd"),
    "SciPy": (by_scipy, "scipy"),
}


def installed(checker: str) -> bool:
    """Whether the library of a checker is there."""
    return checker == "mlp_xp" or importlib.util.find_spec(PEERS[checker][1]) is not None


# --- running ----------------------------------------------------------------------------------------------------------


def judge(checker: str, request: Request) -> Outcome:
    """Show the case of a request to a checker."""
    case = build_case(request)
    if case is None or (checker != "mlp_xp" and (case.grad is None or case.access == "torch")):
        return Outcome("skip", "", 0.0, 0, "")  # the peers take functions of NumPy arrays
    start, evaluations, note = time.perf_counter(), 0, ""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if checker == "mlp_xp":
                verdict, note, evaluations = ours(case)
            else:
                verdict = "pass" if PEERS[checker][0](case) else "fail"
    except Exception as error:
        verdict, note = "error", f"{type(error).__name__}: {error}"[:300]
    return Outcome(
        verdict, case.truth, time.perf_counter() - start, evaluations, f"{case.access}; {case.note} | {note}"
    )


def judge_all(checker: str, requests: Sequence[Request]) -> list[Outcome]:
    """Show every case to one checker."""
    return [judge(checker, request) for request in requests]


def in_processes(checker: str, requests: Sequence[Request], workers: int) -> list[Outcome]:
    """``judge_all`` in several processes of one thread each."""
    shares = [requests[k :: 8 * workers] for k in range(8 * workers)]
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(judge_all, [checker] * len(shares), shares))
    outcomes: list[Outcome] = [Outcome("skip", "", 0.0, 0, "")] * len(requests)
    for k, answer in enumerate(answers):
        outcomes[k :: 8 * workers] = answer
    return outcomes


def counts(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row for each situation, dtype and truth: how many cases got which verdict."""
    table: dict[tuple[str, str, str], Counter[str]] = {}
    for request, outcome in zip(requests, outcomes, strict=True):
        if outcome.verdict != "skip":
            table.setdefault((request.situation, request.dtype, outcome.truth), Counter())[outcome.verdict] += 1
    return [
        {"situation": key[0], "dtype": key[1], "truth": key[2], "cases": row.total(), **{v: row[v] for v in VERDICTS}}
        for key, row in sorted(table.items())
    ]


def show(checker: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print the counts; a star marks what should not be."""
    print(f"\n{checker}\n{'situation':20}{'dtype':10}{'truth':8}{'cases':>7}" + "".join(f"{v:>14}" for v in VERDICTS))
    for row in rows:
        bad = row["fail"] + row["error"] if row["truth"] == "right" else row["cases"] - row["fail"]
        cells = "".join(f"{row[v]:14}" for v in VERDICTS)
        print(f"{row['situation']:20}{row['dtype']:10}{row['truth']:8}{row['cases']:7}{cells}{'  *' if bad else ''}")


def misses(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Every case with a verdict that should not be, worst first: enough to build it again."""
    order = {"error": 0, "pass": 1, "fail": 1, "inconclusive": 2}
    wanted = {"right": "pass", "wrong": "fail"}
    found = [
        (order[outcome.verdict], {**request._asdict(), "verdict": outcome.verdict, "note": outcome.note})
        for request, outcome in zip(requests, outcomes, strict=True)
        if outcome.verdict not in ("skip", wanted.get(outcome.truth, "fail"))
    ]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each target, what was found, and whether it is met."""

    def total(truth: str, verdicts: Sequence[str], chosen: Callable[[dict[str, Any]], bool]) -> tuple[int, int]:
        picked = [row for row in rows if row["truth"] == truth and chosen(row)]
        return sum(row[v] for row in picked for v in verdicts), sum(row["cases"] for row in picked)

    def share(title: str, chosen: Callable[[dict[str, Any]], bool], most: float) -> dict[str, Any]:
        some, all_of = total("right", ("inconclusive",), chosen)
        met = some <= most * all_of
        return {"target": title, "value": f"{some} of {all_of}", "met": met}

    missed = total("wrong", ("pass", "inconclusive", "error"), lambda row: row["dtype"] == "float64")
    alarms = total("right", ("fail", "error"), lambda row: True)
    return [
        {"target": "wrong in float64 not refused, 0", "value": f"{missed[0]} of {missed[1]}", "met": missed[0] == 0},
        {"target": "right refused, 0", "value": f"{alarms[0]} of {alarms[1]}", "met": alarms[0] == 0},
        share("right inconclusive, float64, 1%", lambda row: row["dtype"] == "float64", 0.01),
        share("right inconclusive, float32 only, 5%", lambda row: row["situation"] == "float32 only", 0.05),
        share("right inconclusive, bfloat16, 10%", lambda row: row["dtype"] in ("bfloat16", "float16"), 0.10),
    ]


def show_worst(bad: Sequence[dict[str, Any]], each: int = 4) -> None:
    """Print the worst misses, a few of each situation, dtype and verdict."""
    print(f"\nof {len(bad)} misses {each} of each sort, to be built again by build_case(Request(...))")
    printed: Counter[tuple[str, ...]] = Counter()
    for row in bad:
        sort = row["situation"], row["dtype"], str(row["right"]), row["verdict"]
        printed[sort] += 1
        if printed[sort] <= each:
            request = Request(*(row[name] for name in Request._fields))
            print(f"  {row['verdict']}: Request{tuple(request)}: {row['note']}")


def run(checkers: Sequence[str], requests: Sequence[Request], workers: int) -> dict[str, Any]:
    """Show all requests to all checkers; print tables, targets and the worst of ours."""
    results: dict[str, Any] = {}
    for checker in checkers:
        if not installed(checker):
            print(f"\n{checker}: not installed, skipped")
            continue
        start = time.perf_counter()
        outcomes = in_processes(checker, requests, workers)
        rows = counts(requests, outcomes)
        show(checker, rows)
        print(f"{time.perf_counter() - start:.0f} s")
        results[checker] = {"rows": rows}
        if checker == "mlp_xp":
            bad = misses(requests, outcomes)
            results[checker] |= {"targets": targets(rows), "misses": bad}
            for row in results[checker]["targets"]:
                print(f"{row['target']:40}{row['value']:>16}  {'ok' if row['met'] else 'missed'}")
            show_worst(bad)
    return results
