"""The part of the benchmark that shows situations: who refuses wrong gradients, and who passes right ones, in which.

``gradcheck_benchmark.py --situations-only --seeds FROM TO`` runs it. Development looks at seeds below 1,000,000; what
is published comes from seeds at and above, which nobody looked at before. The peers see the same functions through
NumPy, with their defaults.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from gradcheck_checkers import CHECKERS, installed, one_thread, through_numpy
from gradient_cases import Request
from gradient_situations import build_case

PUBLISHED = 1_000_000  # the first seed that development never uses
# truth -> the verdicts that are no mistake
ALLOWED = {"right": ("pass", "inconclusive"), "zero": ("pass", "inconclusive"), "wrong": ("fail",)}
ALLOWED["hidden"] = ("fail", "inconclusive")
BEST = ALLOWED | {"right": ("pass",)}  # an inconclusive right gradient is listed among the misses, too
VERDICTS = ("fail", "inconclusive", "pass", "error")


class Outcome(NamedTuple):
    """A checker's answer to one case; ``verdict`` is "skip" where the situation makes no sense for the family."""

    verdict: str
    truth: str
    seconds: float
    evaluations: int
    note: str


# --- running ----------------------------------------------------------------------------------------------------------


def judge(checker: str, request: Request) -> Outcome:
    """Show the case of a request to a checker."""
    case = build_case(request)
    if case is None or (checker != "mlp_xp" and (case.grad is None or case.access == "torch")):
        return Outcome("skip", "", 0.0, 0, "")  # the peers take functions of NumPy arrays
    start, evaluations, note = time.perf_counter(), 0, ""
    shown, f = (case, case.f) if checker == "mlp_xp" else through_numpy(checker, case)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # torch warns of float32
            answer = CHECKERS[checker](shown, f)
        if checker == "mlp_xp":
            said = [f"{row.name}: {row.verdict}, {row.diagnosis}" for row in answer.tensors if row.verdict != "pass"]
            verdict, note, evaluations = answer.verdict, "; ".join(said), answer.evaluations
        else:
            verdict = "pass" if answer else "fail"
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
    with one_thread(), ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
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
        bad = row["cases"] - sum(row[v] for v in ALLOWED[row["truth"]])
        cells = "".join(f"{row[v]:14}" for v in VERDICTS)
        print(f"{row['situation']:20}{row['dtype']:10}{row['truth']:8}{row['cases']:7}{cells}{'  *' if bad else ''}")


def misses(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Every case with a verdict that should not be, worst first: enough to build it again."""
    order = {"error": 0, "pass": 1, "fail": 1, "inconclusive": 2}
    found = [
        (order[outcome.verdict], {**request._asdict(), "verdict": outcome.verdict, "note": outcome.note})
        for request, outcome in zip(requests, outcomes, strict=True)
        if outcome.verdict != "skip" and outcome.verdict not in BEST[outcome.truth]
    ]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each target, what was found, and whether it is met."""

    def total(
        truth: Sequence[str], verdicts: Sequence[str], chosen: Callable[[dict[str, Any]], bool]
    ) -> tuple[int, int]:
        picked = [row for row in rows if row["truth"] in truth and chosen(row)]
        return sum(row[v] for row in picked for v in verdicts), sum(row["cases"] for row in picked)

    def share(title: str, chosen: Callable[[dict[str, Any]], bool], most: float) -> dict[str, Any]:
        some, all_of = total(("right",), ("inconclusive",), chosen)
        met = some <= most * all_of
        return {"target": title, "value": f"{some} of {all_of}", "met": met}

    def right_cases(title: str, chosen: Callable[[dict[str, Any]], bool], least: float) -> dict[str, Any]:
        some, all_of = total(("right",), VERDICTS, chosen)[0], total(("right",), VERDICTS, lambda row: True)[0]
        return {"target": title, "value": f"{some} of {all_of}", "met": some >= least * all_of}

    missed = total(("wrong",), ("pass", "inconclusive", "error"), lambda row: row["dtype"] == "float64")
    alarms = total(("right", "zero"), ("fail", "error"), lambda row: True)
    return [
        right_cases("right cases in float32, half", lambda row: row["dtype"] == "float32", 0.45),
        right_cases("right cases in other units, a quarter", lambda row: "units" in row["situation"], 0.25),
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
