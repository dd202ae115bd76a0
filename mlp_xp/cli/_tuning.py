"""What ``mlp-xp tune`` does: look -> try settings, each by cross-validation -> rank -> write the best as TOML.

Settings are drawn by scikit-learn. A try is what ``train`` does, on folds of the rows that ``train`` does not test on:
the test of a later ``train`` with the best settings is on rows that decided nothing.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from mlp_xp._lib.files import write_whole
from mlp_xp._lib.wording import count_of
from mlp_xp.backends import fastest, load
from mlp_xp.cli._fit import fit
from mlp_xp.cli._model import Model, place_of, stem_of
from mlp_xp.cli._options import estimator_settings, reading_of
from mlp_xp.cli._output import Screen, Table, claimed, decimals, in_a_line, to_stderr, with_suffix
from mlp_xp.cli._prepare import Data, in_folds, look, prepare, wanted_of, with_preset
from mlp_xp.cli._process import Status
from mlp_xp.cli._run import Files, Run, as_toml, command_line
from mlp_xp.cli._scores import in_parts
from mlp_xp.cli._training import check_together, estimator_of
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.ranks import ALONE

ChosenOf: TypeAlias = Callable[[dict[str, Any], set[str]], dict[str, Any]]

_SHORT = {"hidden_layer_sizes": "hidden", "learning_rate_init": "lr", "batch_size": "batch"}
"""Names of settings where there is little room; the others are short."""

_OWN = ("output", "cv")  # options that ``train`` has too, with another meaning
_SHOWN = 10  # tries in the table


class Search(NamedTuple):
    """What a search may do: so many tries in so many seconds, each on so many folds; ``given`` is not searched."""

    tries: int
    seconds: float | None
    folds: int
    given: frozenset[str]


class Try(NamedTuple):
    """Settings that were tried, and how good they were.

    settings: the options that were searched.
    scores: name -> the score of each fold, (folds,); the tries are ranked by the first.
    seconds: how long a fold took.
    error: why there are no scores.
    """

    settings: dict[str, Any]
    scores: dict[str, NDArray[Any]]
    seconds: float
    error: str = ""

    @property
    def rank_key(self) -> float:
        """The lower the better."""
        if self.error:
            return float("inf")
        name, values = next(iter(self.scores.items()))
        return float(values.mean()) * (1.0 if name == "log-loss" else -1.0)

    def __str__(self) -> str:
        if self.error:
            return self.error
        return ", ".join(f"{name} {_with_spread(name, values)}" for name, values in self.scores.items())

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        if self.error:
            return {"settings": self.settings, "error": self.error}
        scores = {name: {"mean": float(each.mean()), "spread": _spread(each)} for name, each in self.scores.items()}
        return {"settings": self.settings, "scores": scores, "seconds": self.seconds}


def tune(command: click.Command, chosen_of: ChosenOf, options: dict[str, Any], given: set[str], began: float) -> Status:
    """Search settings of ``command``, write the best, and return the exit status.

    Args:
        command: ``mlp-xp train``.
        chosen_of: gives those of its options that decide the result.
        options: of ``mlp-xp tune``, by their names.
        given: names of those that the user gave; they are not searched.
        began: when the command began, by ``time.perf_counter``.
    """
    path = with_suffix(options["output"] or f"{stem_of(options['data'])}.toml", ".toml", option="--output")
    search = Search(options["tries"], options["seconds"], options["cv"], frozenset(given))
    screen, options = Screen(options["as_json"], options["quiet"]), _as_of(command, options)
    check_together(options, ALONE)
    with claimed(path, force=options["force"], inputs=(options["data"],)):
        options, data, place = _prepared(screen, options, search)
        tries: list[Try] = []
        interrupted = False
        try:
            for one in _tried(screen, options, search, data, place, began):
                tries.append(one)
        except KeyboardInterrupt:
            interrupted = True
        if all(each.error for each in tries):
            if interrupted:
                raise KeyboardInterrupt
            raise ValueError(tries[0].error)
        best = min(tries, key=lambda each: each.rank_key)
        settings = chosen_of({**options, **best.settings}, {*given, *best.settings})
        return _report(screen, command, settings, path, tries, interrupted, began)


def _as_of(command: click.Command, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of ``train``, as those of ``tune`` say; what ``tune`` has of its own has another meaning there."""
    usual = command.make_context("train", [str(options["data"])]).params
    return {**usual, **{name: value for name, value in options.items() if name in usual and name not in _OWN}}


def _prepared(screen: Screen, options: dict[str, Any], search: Search) -> tuple[dict[str, Any], Data, Any]:
    """The options with those of the preset that fits the data, the data in folds, and where networks are computed."""
    dtype, place = options["dtype"], place_of(options)
    with screen.said_if_long(f"reading {options['data']} takes long"):
        found = look(options["data"], wanted_of(options), reading_of(options))
        options, preset = with_preset(found, options, search.given)
        data, folds = prepare(found, options), search.folds
    labels = [] if data.classes is None else data.classes.tolist()
    estimator_settings(options, data.recipe.task, labels, search.given)  # refuses those of the other task at once
    split = in_folds(data, folds, options)
    for note in (*found.notes, *preset, *data.notes):
        screen.say(f"note: {note}")
    rows = len(data.rows.y) - len(data.splits[0].tested)
    kept = f", {len(data.test.y):,} are kept for the test of `mlp-xp train`" if len(data.test.y) else ""
    screen.say(f"{stem_of(options['data'])}: {rows:,} rows in {folds} folds{kept}")
    if place is None:
        choice = fastest((data.recipe.width, 100, data.outputs), min(200, rows), dtype)
        screen.say(f"{choice.backend} computes: {choice.reason}")
        place = load(choice.backend, dtype, choice.device)
    return options, split, place


# --- tries -------------------------------------------------------------------------------------------------------


def _candidates(options: dict[str, Any], search: Search, rows: int) -> Iterator[dict[str, Any]]:
    """Settings to try: those that train by default, then random ones.

    Raises:
        ValueError: where nothing is left to search.
    """
    from scipy.stats import loguniform
    from sklearn.model_selection import ParameterSampler

    batches = [str(size) for size in (32, 64, 128, 256) if size <= rows // 4]
    space: dict[str, Any] = {
        "hidden_layer_sizes": ["32", "64", "128", "256", "64,64", "128,128", "256,256", "128,64,32"],
        "learning_rate_init": loguniform(3e-4, 2e-2),
        "alpha": loguniform(1e-6, 1e-1),
        "dropout": [0.0, 0.1, 0.2, 0.35],
        "batch_size": batches or [options["batch_size"]],
    }
    if options["solver"] in FULL_BATCH:  # which have neither rates nor batches
        space = {name: space[name] for name in ("hidden_layer_sizes", "alpha")}
    space = {name: values for name, values in space.items() if name not in search.given}
    if not space:
        raise ValueError("nothing is left to search: of widths, rate, penalty, dropout and batch size leave one out")
    yield {name: options[name] for name in space}
    tries = search.tries - 1
    if all(isinstance(values, list) for values in space.values()):
        tries = min(tries, prod(map(len, space.values())))
    for drawn in ParameterSampler(space, tries, random_state=options["seed"]):
        yield {name: float(f"{drawn[name]:.2g}") if isinstance(drawn[name], float) else drawn[name] for name in space}


def _tried(
    screen: Screen, options: dict[str, Any], search: Search, data: Data, place: Any, began: float
) -> Iterator[Try]:
    """Each try, as soon as it is scored; a terminal shows the best so far."""
    best: Try | None = None
    with screen.status("trying the defaults") as tell:
        for number, settings in enumerate(_candidates(options, search, len(data.splits[0].trained)), 1):
            if number > 1 and search.seconds and time.perf_counter() - began > search.seconds:
                screen.say(
                    f"note: {number - 1} of {count_of(search.tries, 'try', 'tries')} in {search.seconds:g} seconds"
                )
                return
            shown = f"try {number}/{search.tries}"
            tell(f"{shown}: {escape(_in_words(settings))}" + (f"; best so far: {best}" if best else ""))
            one = _try(options, settings, data, place, began)
            screen.record({"try": number, **one.as_record()})
            if not screen.is_terminal:
                screen.say(f"{shown}: {one}; {_in_words(settings)}")
            if not one.error and (best is None or one.rank_key < best.rank_key):
                best = one
            yield one


def _try(options: dict[str, Any], settings: dict[str, Any], data: Data, place: Any, began: float) -> Try:
    """Fit as ``train`` would with these settings, once for each fold, and score the fold.

    Raises:
        KeyboardInterrupt: for Ctrl-C.
    """
    silent, nowhere = Screen(quiet=True), Files(Path(), None, None, None)
    run = Run({**options, **settings, "check_gradients": False}, nowhere, {}, "", silent, began, ALONE)
    run.data, start = data, time.perf_counter()
    try:
        estimator = estimator_of(run, data.recipe)
        run.model = Model(estimator, place, data.recipe, {})
        fit(run)
        scores = [_scores(each.model, data, number) for number, each in enumerate(run.fits)]
    except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        return Try(settings, {}, 0.0, in_a_line(error))
    seconds = (time.perf_counter() - start) / len(run.fits)
    return Try(settings, {name: np.asarray([each[name] for each in scores]) for name in scores[0]}, seconds)


def _scores(model: Model, data: Data, fold: int) -> dict[str, float]:
    """Log-loss and accuracy, or R^2 and root mean square error, on the rows that a fold tests."""
    from sklearn import metrics

    X, y = data.tested_by(fold)
    if not model.is_classifier:
        predicted = in_parts(model.predict, X)
        return {"R^2": metrics.r2_score(y, predicted), "RMSE": metrics.root_mean_squared_error(y, predicted)}
    proba = in_parts(model.predict_proba, X).astype(np.float64)
    proba /= proba.sum(axis=1, keepdims=True)  # 1 but for the rounding of float32
    right = y == model.classes[proba.argmax(axis=1)]
    known = np.isin(y, model.classes)  # a rare class may be in one fold alone: no network of others can know it
    loss = metrics.log_loss(y[known], proba[known], labels=model.classes) if known.any() else float("nan")
    return {"log-loss": loss, "accuracy": float(right.mean())}


# --- report ------------------------------------------------------------------------------------------------------


def _report(
    screen: Screen, command: click.Command, settings: dict[str, Any], path: Path, tries: list[Try], interrupted: bool,
    began: float,
) -> Status:  # fmt: skip
    """Write the best settings, show the tries, and say what to do next; the exit status."""
    ranked = sorted(tries, key=lambda each: each.rank_key)
    best, default = ranked[0], tries[0]
    write_whole(path, as_toml(settings).encode())
    screen.record({
        "final": True, "best": best.as_record(), "tries": len(tries), "interrupted": interrupted, "settings": str(path),
        "seconds": time.perf_counter() - began, "command": command_line(command, settings),
    })  # fmt: skip
    screen.show(_table(ranked, default))
    screen.say(f"best: {best}; {_in_words(best.settings)}")
    if best is not default and not default.error and _is_within_spread(best, default):
        screen.say("note: the defaults are as good, within the spread from fold to fold")
    screen.say(f"wrote {path}")
    screen.say(f"next: {shlex.join(('mlp-xp', 'train', '--config', str(path)))}")
    if not interrupted:
        return Status.OK
    to_stderr(f"interrupted after {count_of(len(tries), 'try', 'tries')}: the best settings so far are in {path}")
    return Status.INTERRUPTED


def _table(ranked: list[Try], default: Try) -> Table:
    names, scored = list(ranked[0].settings), list(ranked[0].scores)
    columns = ("rank", *(_SHORT.get(name, name) for name in names), *scored, "s a fold")
    rows = []
    for rank, each in enumerate(ranked, 1):
        if rank > _SHOWN and each is not default:
            continue
        label = f"{rank}, the defaults" if each is default else str(rank)
        values = [_with_spread(name, each.scores[name]) if each.scores else "failed" for name in scored]
        cells = (label, *(f"{each.settings[name]}" for name in names), *values, f"{each.seconds:.2f}")
        rows.append(tuple(map(escape, cells)))
    return Table(
        f"the best of {count_of(len(ranked), 'try', 'tries')}, by {scored[0]}", columns, rows, range(1, len(columns))
    )


def _in_words(settings: Mapping[str, Any]) -> str:
    """``hidden 64,64, lr 0.001``."""
    return ", ".join(f"{_SHORT.get(name, name)} {value}" for name, value in settings.items())


def _with_spread(name: str, values: NDArray[Any]) -> str:
    if name == "RMSE":  # in units of the target, so of any size
        return f"{values.mean():.4g} ± {_spread(values):.2g}"
    if name == "accuracy":
        return f"{values.mean():.2%} ± {_spread(values):.2%}"
    return f"{decimals(values.mean())} ± {decimals(_spread(values))}"


def _spread(values: NDArray[Any]) -> float:
    """The standard deviation from fold to fold."""
    return float(values.std(ddof=1))


def _is_within_spread(best: Try, other: Try) -> bool:
    """Whether two tries differ, fold by fold, by less than the standard error of that difference times two."""
    gaps = next(iter(best.scores.values())) - next(iter(other.scores.values()))
    return bool(abs(gaps.mean()) < 2.0 * _spread(gaps) / np.sqrt(len(gaps)))
