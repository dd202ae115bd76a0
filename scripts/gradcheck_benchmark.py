"""Show wrong and right gradients to ``mlp_xp.gradcheck`` and to its peers: which errors each refuses, at which cost.

    python scripts/gradcheck_benchmark.py [--quick] [--save FILE.json] [--plot FILE.png]
    python scripts/gradcheck_benchmark.py --situations-only --seeds FROM TO [--only mlp_xp] [--save FILE.json]
    python scripts/gradcheck_benchmark.py --resolution-only --seeds FROM TO [--save FILE.json]

The peers run with their defaults: torch's gradcheck, slow and fast, check_grads of JAX and of HIPS autograd, SciPy's
check_grad. Every checker has a process of its own and sees the same cases: those of ``wrong_backward_passes``, right
gradients of random networks, and errors of decreasing size. Method: scripts/results/README.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gradcheck_resolution as resolution
import gradcheck_situations as situations
import numpy as np
import piped
import wrong_backward_passes as catalogue
from array_api_compat import array_namespace
from benchmark import machine
from gradcheck_checkers import CHECKERS, MODULES, installed, one_thread
from gradient_families import FAMILIES
from gradient_situations import SITUATIONS, requests
from wrong_backward_passes import Case, Kind, Setting, on

import mlp_xp

SIZES_OF_ERRORS = [10.0**-k for k in range(1, 15)]
SMOOTH = Setting(sizes=(32, 16, 10), n=32, activation="tanh")  # the network of the errors of decreasing size
SPEED = Setting(sizes=(784, 32, 10), n=32, activation="sigmoid")
TARGETS = {"default": 100.0, "full": 10.0}  # times faster than torch's slow mode, on SPEED
INCONCLUSIVE = 0.02  # the largest share of right gradients in float64 on which ours may say "inconclusive"


# --- cases, by a request that can be sent to another process --------------------------------------------------------


class Request(NamedTuple):
    """``what`` is the name of a kind, ``scale 1e-05`` or ``entry 1e-05`` (an error of that size), or ``random``."""

    what: str
    setting: Setting


def case_of(request: Request) -> Case:
    """The case that a request names."""
    what, setting = request
    if what == "random":
        return random_network(setting)
    known = {kind.name: kind for kind in (catalogue.RIGHT, *catalogue.KINDS)}
    return catalogue.build(known.get(what) or error_of_size(what), setting)


def error_of_size(what: str) -> Kind:
    """``scale SIZE``: the whole gradient times 1 + SIZE; ``entry SIZE``: the largest entry of dW1 alone."""
    where, size = what.split()
    if where == "scale":
        return Kind(what, (), steps=catalogue.all_times(1.0 + float(size)))
    return Kind(what, (), steps=on(0, lambda run, g: g * (1.0 + float(size) * catalogue.entry(run, g))))


def random_network(setting: Setting) -> Case:
    """mlp_xp's own objective and gradient for a random network; of the setting only seed, dtype and scale count.

    The networks include saturated and dead units, zeros among inputs, weights and biases (kinks of relu and of the L1
    penalty), inputs of size 1e-3 to 100 and weights of size 1e-3 to 10. Where loss or gradient overflow the dtype there
    is no right gradient: another network is drawn.
    """
    random = np.random.default_rng(setting.seed)
    while True:
        hidden = int(random.integers(0, 4))
        sizes = [int(s) for s in random.integers(1, 9, hidden + 2)]
        n = int(random.integers(1, 9))
        options = _random_options(random, hidden)
        data = _random_data(random, n, sizes, setting.dtype)
        params = _random_params(random, sizes, setting.dtype)
        f, grad = _objective(data, setting.scale, options)
        with np.errstate(all="ignore"):
            if all(np.all(np.isfinite(g)) for g in grad(*params)) and np.isfinite(f(*params)):
                return Case(catalogue.RIGHT, setting, f, grad, params, (), {}, ())


def _random_options(random: np.random.Generator, hidden: int) -> dict[str, Any]:
    """Activations, criterion, penalties and, at times, dropout and smoothing."""
    known = [name for name, record in mlp_xp.losses.CRITERIA.items() if record.outputs_per_target == 1]
    criterion = str(random.choice(known))
    options: dict[str, Any] = {
        "activation": [str(name) for name in random.choice(list(mlp_xp.ops.ACTIVATIONS), hidden)],
        "criterion": criterion,
        "l2": float(random.choice([0.0, 0.0, 1e-3, 1.0])),
        "l1": float(random.choice([0.0, 0.0, 1e-3, 1.0])),
    }
    if hidden and random.random() < 0.3:
        options |= {"dropout": float(random.uniform(0.05, 0.8)), "seed": int(random.integers(1000))}
    if criterion == "softmax_cross_entropy" and random.random() < 0.3:
        options["label_smoothing"] = 0.1
    return options


def _random_data(random: np.random.Generator, n: int, sizes: Sequence[int], dtype: str) -> tuple[Any, Any, Any]:
    """X (n, d_in), labels (n,) or targets (n, d_out), and weights (n,) or None."""
    k = sizes[-1]
    zeros = random.choice([0.0, 0.0, 0.3])
    size = 10.0 ** random.uniform(-3, 2)
    X = (size * random.standard_normal((n, sizes[0])) * (random.random((n, sizes[0])) >= zeros)).astype(dtype)
    y: Any = random.integers(0, max(k, 2), n)
    if random.random() < 0.3:
        y = random.random((n, k)).astype(dtype)
    return X, y, random.uniform(0.1, 1.0, n).astype(dtype) if random.random() < 0.3 else None


def _random_params(random: np.random.Generator, sizes: Sequence[int], dtype: str) -> tuple[Any, ...]:
    """W1, b1, W2, ...: some weights 0, some biases so negative that their unit is dead."""
    size, zeros = 10.0 ** random.uniform(-3, 1), random.choice([0.0, 0.0, 0.3])
    biases, dead = random.choice([0.0, 1.0, 1.0]), random.choice([0.0, 0.0, 0.0, -10.0])
    params = []
    for p, q in pairwise(sizes):
        params += [size * random.standard_normal((p, q)) * (random.random((p, q)) >= zeros)]
        params += [biases * size * random.standard_normal(q) + dead * (random.random(q) < 0.3)]
    return tuple(p.astype(dtype) for p in params)


def _objective(data: tuple[Any, Any, Any], scale: float, options: dict[str, Any]) -> tuple[Any, Any]:
    """``f, grad`` of the parameters, ``scale`` times the objective: the data follow their library and dtype."""
    X, y, sample_weight = data

    def given(params: tuple[Any, ...]) -> tuple[Any, ...]:
        xp = array_namespace(*params)
        dtype = params[0].dtype
        targets = xp.asarray(y, dtype=dtype) if y.ndim == 2 else xp.asarray(y)
        weights = None if sample_weight is None else xp.asarray(sample_weight, dtype=dtype)
        return xp.asarray(X, dtype=dtype), targets, {**options, "sample_weight": weights}

    def f(*params: Any) -> Any:
        X, y, all_options = given(params)
        return scale * mlp_xp.objective(X, y, *params, **all_options)

    def grad(*params: Any) -> Any:
        X, y, all_options = given(params)
        return tuple(scale * g for g in mlp_xp.loss_and_grads(X, y, *params, **all_options)[1])

    return f, grad


# --- judging ---------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """The answer of a checker to one case.

    verdict: pass, fail, inconclusive, or error: an exception that is no verdict.
    named: whether the first diagnosis names the cause; None for checkers that give no diagnosis.
    evaluations: calls of f.
    note: the diagnosis, or the exception.
    """

    verdict: str
    named: bool | None
    evaluations: int
    seconds: float
    note: str = ""


def judge(checker: str, request: Request) -> Outcome:
    """Show one case to one checker."""
    case = case_of(request)
    case = case._replace(params=tuple(p.copy() for p in case.params))
    calls, named, note = 0, None, ""

    def counted(*params: Any) -> Any:
        nonlocal calls
        calls += 1
        return case.f(*params)

    start = time.perf_counter()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # torch warns of float32, SciPy divides by 0 in float32
            answer = CHECKERS[checker](case, counted)
    except Exception as error:
        # on a malformed gradient (a wrong shape or dtype, one too few) each checker raises an exception of its own
        verdict, note = ("fail" if case.kind.breaks else "error"), f"{type(error).__name__}: {error}".lower()
        named = any(word in note for word in case.words) if checker == "mlp_xp" else None
    else:
        verdict = answer.verdict if checker == "mlp_xp" else "pass" if answer else "fail"
        if checker == "mlp_xp":
            note = catalogue.top_diagnosis(answer)
            named = verdict == "fail" and any(word in note for word in case.words)
    return Outcome(verdict, named, calls, time.perf_counter() - start, note)


def judge_all(checker: str, requests: Sequence[Request]) -> list[Outcome]:
    """Show every case to one checker."""
    return [judge(checker, request) for request in requests]


def in_processes(jobs: Sequence[tuple[str, Sequence[Request]]], workers: int) -> list[list[Outcome]]:
    """``judge_all`` of each job in a fresh process of its own, as many at a time as there are workers."""
    spawn = multiprocessing.get_context("spawn")
    with one_thread(), ProcessPoolExecutor(workers, mp_context=spawn, max_tasks_per_child=1) as pool:
        return list(pool.map(judge_all, *zip(*jobs, strict=True)))


# --- the three questions ---------------------------------------------------------------------------------------------


class Amount(NamedTuple):
    """How much to measure: cases of a kind in each dtype, right gradients for ours and for the peers, seeds, rounds."""

    float64: int = 8
    float32: int = 4
    right: int = 10_000
    right_peers: int = 100
    seeds: int = 5
    rounds: int = 3


QUICK = Amount(1, 1, 400, 6, 1, 0)

# errors too small to be seen in float32
_HIDDEN_IN_FLOAT32 = ("0.0001 too large", "1e-06 too large", "1e-08 too large", "float32 on the way")


def wrong_requests(amount: Amount) -> list[Request]:
    """The catalogue: each kind in random settings in which it changes the gradient."""
    return [
        Request(kind.name, case.setting)
        for dtype, number in (("float64", amount.float64), ("float32", amount.float32))
        for kind in catalogue.KINDS
        if dtype == "float64" or kind.name not in _HIDDEN_IN_FLOAT32
        for case in catalogue.cases(kind, number, dtype)
    ]


def right_requests(number: int) -> list[Request]:
    """Random networks, float64 and float32 in turn, half of them with a loss of another scale."""
    random = np.random.default_rng(1)
    dtypes = ("float64", "float32")
    scales = [1.0 if random.random() < 0.5 else float(10.0 ** random.uniform(-6, 6)) for _ in range(number)]
    return [Request("random", Setting(seed=i, dtype=dtypes[i % 2], scale=scale)) for i, scale in enumerate(scales)]


def size_requests(amount: Amount) -> list[Request]:
    """Errors of decreasing size in one smooth network, under several seeds."""
    return [
        Request(f"{where} {size:g}", SMOOTH._replace(seed=seed))
        for where in ("scale", "entry")
        for size in SIZES_OF_ERRORS
        for seed in range(amount.seeds)
    ]


def applicable(checker: str, requests: Sequence[Request]) -> list[Request]:
    """The requests without those that write into their arguments for JAX, whose arrays are immutable."""
    mutating = {kind.name for kind in catalogue.KINDS if kind.mutates}
    return [request for request in requests if checker != "jax" or request.what not in mutating]


def summary(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts of verdicts, medians of evaluations and milliseconds, the share of causes that were named rightly."""
    named = [outcome.named for outcome in outcomes if outcome.named is not None]
    return {
        "cases": len(outcomes),
        **{
            verdict: sum(o.verdict == verdict for o in outcomes)
            for verdict in ("pass", "fail", "inconclusive", "error")
        },
        "evaluations": statistics.median(o.evaluations for o in outcomes),
        "ms": 1e3 * statistics.median(o.seconds for o in outcomes),
        **({"causes right": sum(named) / len(named)} if named else {}),
    }


def by_dtype(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """A summary for each dtype."""
    result = {}
    for dtype in ("float64", "float32"):
        pairs = [(r, o) for r, o in zip(requests, outcomes, strict=True) if r.setting.dtype == dtype]
        if pairs:
            result[dtype] = summary(*zip(*pairs, strict=True))
    return result


def detection(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """``scale`` and ``entry`` -> size of the error -> the share of seeds under which it was refused."""
    rates: dict[str, dict[str, list[bool]]] = {"scale": {}, "entry": {}}
    for request, outcome in zip(requests, outcomes, strict=True):
        where, size = request.what.split()
        rates[where].setdefault(size, []).append(outcome.verdict == "fail")
    return {where: {size: sum(hits) / len(hits) for size, hits in row.items()} for where, row in rates.items()}


def smallest(rates: dict[str, float]) -> float | None:
    """The smallest size such that errors of this size and of every larger one were refused under every seed."""
    caught = None
    for size, rate in sorted(rates.items(), key=lambda item: -float(item[0])):
        if rate < 1.0:
            break
        caught = float(size)
    return caught


# --- speed -----------------------------------------------------------------------------------------------------------


def seconds_of_ours(mode: Literal["auto", "full"]) -> float:
    """One check of the network of ``SPEED``: mode ``auto``, or ``full`` with a vectorised f."""
    X, y, _, params = catalogue.draw(SPEED)

    def f(*at: Any) -> Any:
        return mlp_xp.objective(X, y, *at)

    start = time.perf_counter()
    report = mlp_xp.gradcheck(
        f,
        lambda *at: mlp_xp.loss_and_grads(X, y, *at)[1],
        params,
        mode=mode,
        vectorized=mode == "full",
        max_entries=10**6,
    )
    seconds = time.perf_counter() - start
    assert report.ok, report
    return seconds


def seconds_of_torch(fast_mode: bool) -> float:
    """The same by torch's gradcheck: the network in torch's own functions, its gradient by hand."""
    import torch

    X, y, _, params = catalogue.draw(SPEED)
    X, y = torch.tensor(X), torch.tensor(y)
    T = torch.nn.functional.one_hot(y).double()

    class Function(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
            a = torch.sigmoid(torch.addmm(b1, X, W1))
            z = torch.addmm(b2, a, W2)
            ctx.save_for_backward(a, z, W2)
            return torch.nn.functional.cross_entropy(z, y)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            a, z, W2 = ctx.saved_tensors
            dz2 = dy * (torch.softmax(z, 1) - T) / len(y)
            dz1 = dz2 @ W2.T * a * (1.0 - a)
            return X.T @ dz1, dz1.sum(0), a.T @ dz2, dz2.sum(0)

    tensors = tuple(torch.tensor(p, requires_grad=True) for p in params)
    start = time.perf_counter()
    assert torch.autograd.gradcheck(Function.apply, tensors, fast_mode=fast_mode)
    return time.perf_counter() - start


def speed(rounds: int) -> dict[str, list[float]]:
    """Seconds of the four checks in turn, on one thread; ours and torch's each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {"mlp_xp": [], "mlp_xp full": [], "torch slow": [], "torch fast": []}
    numpy_side, torch_side = (ProcessPoolExecutor(1, spawn) for _ in range(2))
    with one_thread(), numpy_side, torch_side:
        numpy_side.submit(seconds_of_ours, "auto").result()  # imports and first calls
        torch_side.submit(seconds_of_torch, True).result()
        for _ in range(rounds):
            seconds["mlp_xp"].append(numpy_side.submit(seconds_of_ours, "auto").result())
            seconds["torch slow"].append(torch_side.submit(seconds_of_torch, False).result())
            seconds["mlp_xp full"].append(numpy_side.submit(seconds_of_ours, "full").result())
            seconds["torch fast"].append(torch_side.submit(seconds_of_torch, True).result())
    return seconds


# --- the report ------------------------------------------------------------------------------------------------------


def plot(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """The share of errors refused against their size, a line for each checker."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    # Okabe and Ito's colours for readers who are colour-blind; markers and dashes for print without colours
    styles = zip(
        ("#000000", "#D55E00", "#E69F00", "#0072B2", "#009E73", "#CC79A7"),
        "os^Dv*",
        ("-", "--", "-.", ":", "--", "-."),
        strict=True,
    )
    for (checker, rates), (colour, marker, dashes) in zip(found.items(), styles, strict=False):
        for panel, where in zip(axes, ("scale", "entry"), strict=True):
            sizes = [float(size) for size in rates[where]]
            panel.plot(
                sizes,
                [100.0 * rate for rate in rates[where].values()],
                dashes,
                color=colour,
                marker=marker,
                label=checker,
            )
    for panel, title in zip(axes, ("the whole gradient too large", "one entry of dW1 too large"), strict=True):
        panel.set(xscale="log", xlabel="relative error of what is wrong", title=title)
        panel.grid(alpha=0.3)
        panel.set_ylim(-5, 105)
    axes[0].set_ylabel("refused, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.suptitle(f"{'-'.join(map(str, SMOOTH.sizes))}, {SMOOTH.activation}, n = {SMOOTH.n}, float64")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def show(title: str, rows: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print a table: a line for each checker and dtype."""
    print(f"\n{title}")
    print("checker         dtype     cases  refused  passed  inconclusive  errors  causes  evaluations      ms")
    for checker, dtypes in rows.items():
        for dtype, row in dtypes.items():
            causes = f"{row['causes right']:7.1%}" if "causes right" in row else "      -"
            print(
                f"{checker:16}{dtype:8}{row['cases']:7}{row['fail']:9}{row['pass']:8}{row['inconclusive']:14}"
                f"{row['error']:8} {causes}{row['evaluations']:13.0f}{row['ms']:8.1f}"
            )


def misses(requests: Sequence[Request], outcomes: Sequence[Outcome], wanted: str) -> list[dict[str, Any]]:
    """Every case whose verdict is not ``wanted`` or whose cause was named wrongly: enough to build it again."""
    return [
        {"what": request.what, "setting": request.setting._asdict(), "verdict": outcome.verdict, "note": outcome.note}
        for request, outcome in zip(requests, outcomes, strict=True)
        if outcome.verdict != wanted or outcome.named is False
    ]


def main() -> None:
    """Ask the three questions and for the speed; print, save and plot the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute's worth")
    parser.add_argument("--right", type=int, metavar="N", help=f"right gradients for ours (default {Amount().right:,})")
    parser.add_argument("--only", nargs="+", choices=list(CHECKERS), default=[*CHECKERS], help="these checkers")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default 2)")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results and what machine it was")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw detection against the size of the error")
    parser.add_argument("--situations-only", action="store_true", help="only the situations that fool checkers")
    parser.add_argument("--situations", nargs="+", choices=list(SITUATIONS), metavar="NAME", help="these situations")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), metavar="NAME", help="these families")
    parser.add_argument("--resolution-only", action="store_true", help="only errors of the size that ours states")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs=2,
        default=(0, 200),
        metavar=("FROM", "TO"),
        help=f"of these two (default 0 200): below {situations.PUBLISHED:,} to develop, from there on to publish",
    )
    options = parser.parse_args()
    if options.situations_only or options.resolution_only:
        part = {"machine": machine(), **on_situations(options)}
        if options.save:
            options.save.write_text(json.dumps(part, indent=2) + "\n")
        return
    amount = QUICK if options.quick else Amount()
    amount = amount._replace(right=options.right if options.right is not None else amount.right)
    for checker in [checker for checker in options.only if not installed(checker)]:
        print(f"{checker}: not installed, skipped")
        options.only.remove(checker)
    libraries = {MODULES[name]: metadata.version(MODULES[name]) for name in options.only if name in MODULES}
    results: dict[str, Any] = {"machine": machine(), "peers": libraries, "amount": amount._asdict()}

    results |= on_wrong_gradients(options.only, options.workers, amount)
    results |= on_right_gradients(options.only, options.workers, amount)
    results["detection"] = on_small_errors(options.only, options.workers, amount)
    if amount.rounds:
        results["seconds"] = speed(amount.rounds)
        seconds = {name: statistics.median(times) for name, times in results["seconds"].items()}
        print(f"\none check of {SPEED.sizes}, n = {SPEED.n}, float64, one thread, seconds")
        for name, time_of in seconds.items():
            print(f"{name:16}{time_of:9.3f}{seconds['torch slow'] / time_of:9.1f} times as fast as torch slow")
        if "mlp_xp" in options.only:
            targets(results, seconds)

    if options.save:
        options.save.write_text(json.dumps(results, indent=2) + "\n")
    if options.plot:
        plot(results["detection"], options.plot)


def on_situations(options: argparse.Namespace) -> dict[str, Any]:
    """The parts that have files of their own: situations that fool checkers, and errors of the stated size."""
    seeds, found = range(*options.seeds), {}
    if options.situations_only:
        asked = requests(seeds, options.situations or (), options.families or ())
        found["situations"] = situations.run(options.only, asked, options.workers)
    if options.resolution_only:
        found["resolution"] = resolution.run(seeds, options.workers)
    return found


def on_wrong_gradients(checkers: Sequence[str], workers: int, amount: Amount) -> dict[str, Any]:
    """Which wrong gradients each checker refuses; of ours also the misses and the causes named."""
    wrong = wrong_requests(amount)
    per_checker = {checker: applicable(checker, wrong) for checker in checkers}
    outcomes = dict(zip(checkers, in_processes(list(per_checker.items()), workers), strict=True))
    results: dict[str, Any] = {"kinds": len(catalogue.KINDS)}
    results["wrong"] = {checker: by_dtype(per_checker[checker], outcomes[checker]) for checker in checkers}
    show(f"wrong gradients: {len(catalogue.KINDS)} kinds, {len(wrong)} cases", results["wrong"])
    if "mlp_xp" in checkers:
        results["misses"] = misses(wrong, outcomes["mlp_xp"], "fail")
        results["kinds named"] = kinds_named(wrong, outcomes["mlp_xp"])
        print(f"kinds that mlp_xp names in most of their float64 cases: {results['kinds named']} of {results['kinds']}")
    return results


def on_right_gradients(checkers: Sequence[str], workers: int, amount: Amount) -> dict[str, Any]:
    """Which right gradients each checker passes; of ours also the false alarms."""
    right = right_requests(max(amount.right, amount.right_peers))
    shares = [right[: amount.right][part::8] for part in range(8)]  # ours takes its share in several processes
    jobs = [("mlp_xp", share) for share in shares if share and "mlp_xp" in checkers]
    peers = [checker for checker in checkers if checker != "mlp_xp"]
    answers = in_processes([*jobs, *((checker, right[: amount.right_peers]) for checker in peers)], workers)
    results: dict[str, Any] = {"right": {}}
    if jobs:
        asked = [request for _, share in jobs for request in share]
        ours = [outcome for answer in answers[: len(jobs)] for outcome in answer]
        results["right"]["mlp_xp"] = by_dtype(asked, [outcome._replace(named=None) for outcome in ours])
        results["false alarms"] = [row for row in misses(asked, ours, "pass") if row["verdict"] in ("fail", "error")]
    for checker, answer in zip(peers, answers[len(jobs) :], strict=True):
        results["right"][checker] = by_dtype(right[: amount.right_peers], answer)
    show("right gradients", results["right"])
    return results


def on_small_errors(checkers: Sequence[str], workers: int, amount: Amount) -> dict[str, Any]:
    """The share of seeds under which each checker refuses an error, by its size."""
    asked = size_requests(amount)
    found = in_processes([(checker, asked) for checker in checkers], workers)
    rates = {checker: detection(asked, answer) for checker, answer in zip(checkers, found, strict=True)}
    print(f"\nsmallest error refused for every seed, {SMOOTH.sizes}, float64\nchecker           scale     entry")
    for checker, row in rates.items():
        least = [smallest(row[where]) for where in ("scale", "entry")]
        print(f"{checker:16}" + "".join(f"{size:9.0e} " if size else "        - " for size in least))
    return rates


def targets(results: dict[str, Any], seconds: dict[str, float]) -> None:
    """Print and save each target, the value and whether it is met."""
    wrong, right = (results[key]["mlp_xp"] for key in ("wrong", "right"))
    passed = sum(row["pass"] + row["inconclusive"] + row["error"] for row in wrong.values())
    refused = sum(row["fail"] + row["error"] for row in right.values())
    share = right["float64"]["inconclusive"] / right["float64"]["cases"]
    ratios = {
        mode: seconds["torch slow"] / seconds[name] for mode, name in (("default", "mlp_xp"), ("full", "mlp_xp full"))
    }
    rows = [
        ("wrong gradients not refused, 0", passed, passed == 0),
        ("right gradients refused, 0", refused, refused == 0),
        (f"inconclusive in float64, below {INCONCLUSIVE:.0%}", f"{share:.2%}", share < INCONCLUSIVE),
        *(
            (f"{mode}, {least:.0f} times torch slow", f"{ratios[mode]:.0f}", ratios[mode] >= least)
            for mode, least in TARGETS.items()
        ),
    ]
    print("\nmlp_xp's targets")
    for title, value, met in rows:
        print(f"{title:40}{value!s:>8}  {'ok' if met else 'missed'}")
    results["targets"] = [{"target": title, "value": value, "met": met} for title, value, met in rows]


def kinds_named(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> int:
    """The number of kinds whose cause was named rightly in more than half of their float64 cases."""
    by_kind: dict[str, list[bool]] = {}
    for request, outcome in zip(requests, outcomes, strict=True):
        if request.setting.dtype == "float64":
            by_kind.setdefault(request.what, []).append(bool(outcome.named))
    return sum(sum(hits) > len(hits) / 2 for hits in by_kind.values())


if __name__ == "__main__":
    piped.run(main)
