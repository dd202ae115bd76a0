"""Malformed arguments, drawn by hypothesis, and what is answered: an error that names the argument, or nothing wrong.

``python scripts/fuzz.py [--minutes 10] [--seed 0] [--save scripts/results/fuzz.json]`` spoils one argument of a public
function, of the loop, of an estimator or of the command line at a time. A ValueError or TypeError that names the
argument is right. Bad are a value that was taken although an independent rule refuses it (``silent``), an error that
does not name the argument (``unnamed``), another exception (``crash``), and of the command another status than 0 or 2,
a traceback, or more than a line. Prints the bad answers, each kind once, and ends with status 1 where there are silent
results or crashes, or where more than one answer in a hundred is unnamed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import mlp_xp as mx
from mlp_xp import optim, schedules
from mlp_xp.estimators import MLPClassifier, MLPRegressor
from mlp_xp.train import train

Rule = Callable[[Any], bool]
"""Whether a value must be refused, by a rule that reads no code of the package."""


def no_number(low: float = -math.inf, high: float = math.inf) -> Rule:
    """Refuse what is no finite number from ``low`` to ``high``; of an array of one number nothing is said."""

    def refuses(value: Any) -> bool:
        if isinstance(value, np.ndarray):
            return value.size != 1 or value.dtype.kind not in "fiu"
        number: Any = value
        return not isinstance(value, Real) or not (low <= number <= high and abs(number) != math.inf)

    return refuses


def no_whole(low: int) -> Rule:
    """Refuse what is no whole number of at least ``low``."""
    return lambda value: not isinstance(value, Integral) or isinstance(value, bool) or value < low


def no_array(*shape: int) -> Rule:
    """Refuse what is no array of real numbers of this shape, or of any where none is given; of the numbers nothing."""
    return lambda value: (
        not isinstance(value, np.ndarray) or bool(shape and value.shape != shape) or value.dtype.kind not in "fiu"
    )


def no_name(*names: str) -> Rule:
    """Refuse what is neither one of these names nor a function; of a list of them nothing is said."""
    return lambda value: not callable(value) and not isinstance(value, (list, tuple)) and value not in names


class Spoiled(NamedTuple):
    """A call, and the argument that is spoiled: its name, the rule, the words that name it in a sentence."""

    call: Callable[[Any], object]
    name: str
    refuses: Rule
    words: str


X, y = np.linspace(-1.0, 1.0, 24).reshape(6, 4), np.array([0, 1, 2, 0, 1, 2])
PARAMS = mx.init_params((4, 5, 3))
SHARE, AT_LEAST_0 = no_number(0.0, math.nextafter(1.0, 0.0)), no_number(0.0)
ACTIVATION = no_name(*mx.ops.ACTIVATIONS, "logistic")

OPTIONS = {"activation": ACTIVATION, "dropout": SHARE, "input_dropout": SHARE, "l2": AT_LEAST_0, "l1": AT_LEAST_0}
LOOP = {"lr": AT_LEAST_0, "batch_size": no_whole(1), "accumulate": no_whole(1), "alpha": AT_LEAST_0, "tol": AT_LEAST_0}
MAKERS: dict[Callable[..., object], dict[str, Rule]] = {
    optim.momentum: {"decay": no_number(0.0, 1.0)},
    optim.adam: {"beta1": SHARE, "beta2": SHARE, "epsilon": AT_LEAST_0},
    optim.rmsprop: {"decay": SHARE, "epsilon": AT_LEAST_0, "momentum": SHARE},
    schedules.constant: {"lr": AT_LEAST_0},
}
ESTIMATOR = {"batch_size": lambda value: value != "auto" and no_whole(1)(value), "tol": AT_LEAST_0} | dict.fromkeys(
    ("alpha", "learning_rate_init"), AT_LEAST_0
)


def with_option(function: Any, name: str, *given: Any, **rest: Any) -> Callable[[Any], object]:
    """The call as a function of its keyword argument ``name``."""
    return lambda value: function(*given, **{**rest, name: value})


def with_array(function: Any, position: int) -> Callable[[Any], object]:
    """The call as a function of the array at this position: of X, y and the parameters."""
    given: list[Any] = [X, y, *PARAMS]
    return lambda value: function(*given[:position], value, *given[position + 1 :])


def one_epoch(**options: Any) -> object:
    """The first epoch of the loop."""
    return next(train(X, y, PARAMS, epochs=1, optimizer=optim.sgd(), **options))


def fitted(kind: Any, **options: Any) -> object:
    """An estimator with these options, after an iteration."""
    return kind(max_iter=1, **options).fit(X, y)


def cases() -> Iterator[Spoiled]:
    """The table: every function with each of its arguments."""
    # targets may also be (6, 3), and parameters may have a leading axis
    arrays = {"X": no_array(6, 4)} | dict.fromkeys(("y", "W1", "b1", "W2", "b2"), no_array())
    for function in (mx.objective, mx.loss_and_grads, mx.train_step, mx.per_example_grad_norms):
        for position, (name, rule) in enumerate(arrays.items()):
            yield Spoiled(with_array(function, position), name, rule, rf"\b({name}|labels|params|arrays)\b")
        for name, rule in OPTIONS.items():
            yield Spoiled(with_option(function, name, X, y, *PARAMS, seed=1), name, rule, name)
    for name, rule in LOOP.items():
        several = name in ("lr", "alpha")  # they may be lists
        yield Spoiled(with_option(one_epoch, name), name, (lambda value: False) if several else rule, name)
    for maker, rules in MAKERS.items():
        for name, rule in rules.items():
            yield Spoiled(with_option(maker, name), name, rule, name)
    for kind in (MLPClassifier, MLPRegressor):
        for name, rule in ESTIMATOR.items():
            yield Spoiled(with_option(fitted, name, kind), name, rule, name)


REAL = st.floats() | st.sampled_from([1e308, -0.0, 2**31, 10**400, -1, 1.5, np.float32(2), np.float64("nan")])
THINGS = st.sampled_from([None, True, False, object(), object, 1j, b"1", (), [], {}, set(), [[1.0], [2.0, 3.0]], "nan"])
DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "U3", "O"])
SHAPES = st.lists(st.integers(0, 7), max_size=3)
ARRAYS = st.builds(lambda shape, dtype: np.ones(shape, dtype), SHAPES, DTYPES)
MALFORMED = REAL | THINGS | ARRAYS | st.integers() | st.text(max_size=8)

WORDS = st.sampled_from(["", "nan", "-1", "1e308", "1e999", "0", "two", "٣", "1,,2", "--", "/", "None"])
COMMANDS = (
    *(("cost", "4", "3", option) for option in ("--n", "--dtype", "--activation", "--optimizer", "--dropout")),
    *(("train", "iris", "--epochs", "1", option) for option in ("--alpha", "--batch-size", "--hidden", "--target")),
    *(("predict", option) for option in ("-o", "--sep")),
)


def answer(case: Spoiled, value: Any) -> str:
    """What came of the call: right, taken, silent, unnamed, or crash with the exception's name."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            case.call(value)
    except (ValueError, TypeError) as error:
        return "right" if re.search(case.words, str(error)) else f"unnamed: {str(error)[:150]}"
    except ArithmeticError as error:  # of the loop's own: a loss that is no longer finite
        return "right" if type(error).__module__.startswith("mlp_xp") else f"crash: {error!r:.150}"
    except Exception as error:
        return f"crash: {error!r:.150}"
    return "silent" if case.refuses(value) else "taken"


def answer_of_the_command(arguments: tuple[str, ...], word: str) -> str:
    """The same of a command line."""
    command = (sys.executable, "-m", "mlp_xp", *arguments, word)
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "crash: it takes longer than two minutes"
    if ran.returncode not in (0, 2) or "Traceback" in ran.stderr:
        return f"crash: status {ran.returncode}, {ran.stderr[-150:]}"
    lines = len(ran.stderr.strip().splitlines())
    return "taken" if ran.returncode == 0 else "right" if lines == 1 else f"unnamed: {lines} lines, {ran.stderr[:150]}"


def described(value: Any) -> str:
    """The value in a few words."""
    array = f"array {value.shape} of {value.dtype}" if isinstance(value, np.ndarray) else ""
    return array or f"{type(value).__name__} {value!r:.40}"


def survey(minutes: float, start: int) -> tuple[Counter[str], dict[str, str]]:
    """How many answers there were of each kind, and of each bad kind at each place an example."""
    table, end = list(cases()), time.monotonic() + 60.0 * minutes
    counts, bad = Counter[str](), dict[str, str]()

    def note(place: str, value: str, result: str) -> None:
        kind = result.partition(":")[0]
        counts[kind] += 1
        if kind not in ("right", "taken"):
            bad.setdefault(f"{kind} {place}", f"{value}: {result}")

    one = st.tuples(st.sampled_from(table), MALFORMED)
    line = st.tuples(st.sampled_from(COMMANDS), WORDS)
    only: dict[str, Any] = {
        "database": None,
        "deadline": None,
        "phases": [Phase.generate],
        "suppress_health_check": list(HealthCheck),
    }
    for turn in range(start, sys.maxsize):
        if time.monotonic() > end:
            break

        @seed(turn)
        @settings(max_examples=300, **only)
        @given(one)
        def functions(drawn: tuple[Spoiled, Any]) -> None:
            case, value = drawn
            if time.monotonic() < end:
                note(case.name, described(value), answer(case, value))

        @seed(turn)
        @settings(max_examples=5, **only)
        @given(line)
        def commands(drawn: tuple[tuple[str, ...], str]) -> None:
            if time.monotonic() < end:
                note(" ".join(("mlp-xp", *drawn[0])), repr(drawn[1]), answer_of_the_command(*drawn))

        functions()
        commands()
    return counts, bad


def main() -> None:
    """Draw, ask, print and save what was bad."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="a JSON file for the result")
    options = parser.parse_args()
    counts, bad = survey(options.minutes, options.seed)
    for place, example in sorted(bad.items()):
        print(f"{place}: {example}")
    print(dict(counts))
    if options.save:
        result = {"seed": options.seed, "minutes": options.minutes, "answers": counts, "bad": bad}
        options.save.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    refused = counts["right"] + counts["unnamed"]
    sys.exit(int(counts["silent"] + counts["crash"] > 0 or 100 * counts["unnamed"] > refused))


if __name__ == "__main__":
    main()
