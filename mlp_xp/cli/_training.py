"""What ``mlp-xp train`` does: choose -> fit -> judge -> refit -> write -> report, six steps over one record, a ``Run``.

``train`` is the story; ``_fit`` has fit and refit, ``_report`` the last step, the others follow here. The model is
written before anything is said about it: what can't be printed loses nothing.
"""

import sys
from contextlib import ExitStack
from copy import copy
from typing import Any

import click
import numpy as np

from mlp_xp._lib.files import write_whole
from mlp_xp._lib.version import __version__
from mlp_xp._lib.wording import count_of
from mlp_xp.backends import NARROW_DTYPES, fastest, installed, load
from mlp_xp.cli import _memory
from mlp_xp.cli._ending import own_records
from mlp_xp.cli._fit import all_or_none, fit, refit
from mlp_xp.cli._importance import importance
from mlp_xp.cli._model import Model, kept_in, place_of
from mlp_xp.cli._options import USUAL, estimator_settings, reading_of
from mlp_xp.cli._output import Screen, claimed, decimals, in_a_line, network
from mlp_xp.cli._prepare import Look, look, prepare, wanted_of, watches, with_preset
from mlp_xp.cli._process import Status
from mlp_xp.cli._report import report, report_folds
from mlp_xp.cli._run import Run, as_toml, command_line, result_files
from mlp_xp.cli._scores import Said, judged, parts_of, said_of
from mlp_xp.cli._survey import show_columns, show_cost
from mlp_xp.data.recipe import Recipe
from mlp_xp.estimators import MLPClassifier, MLPRegressor
from mlp_xp.estimators import files as estimator_files
from mlp_xp.parameters import FULL_BATCH, PRESETS
from mlp_xp.ranks import Ranks, started


def train(command: click.Command, options: dict[str, Any], settings: dict[str, Any], began: float) -> Status:
    """Train as the options of ``command`` say, write the results, and return the exit status.

    Args:
        command: ``mlp-xp train``.
        options: their values by name.
        settings: those of them that were given and decide the result.
        began: when the command began, by ``time.perf_counter``.
    """
    ranks = started()
    check_together(options, ranks)
    speaks = ranks.rank == 0  # the others say and write nothing but what they fail of
    screen = Screen(speaks and options["as_json"], not speaks or options["quiet"])
    run = Run(options, result_files(options), settings, command_line(command, settings), screen, began, ranks)
    if options["dry_run"]:
        with all_or_none(run):
            return look_only(run)
    with ExitStack() as claims:
        with all_or_none(run):
            for claim in _claims(run) if speaks else ():
                claims.enter_context(claim)
            for note in (*_look(run).notes, *_take_preset(run)):
                screen.say(f"note: {note}")
        try:
            if not _fitted(run):
                return Status.WRONG_GRADIENT
            with all_or_none(run):
                if speaks:
                    with screen.said_if_long("judging the model takes long"):
                        judge(run)
            refit(run)
        except (KeyboardInterrupt, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            if not (options["cv"] and run.fits):
                raise
            _judge_folds(run)
            return report_folds(run, error)
        if not speaks:
            return Status.OK
        write(run)
        return report(run)


def _claims(run: Run) -> tuple[Any, ...]:
    """The files that the run writes, as nobody else may while it does."""
    files, force, read = run.files, run.options["force"], (run.options["data"],)
    return (
        claimed(files.model, files.picture, files.config, force=force, inputs=read),
        claimed(files.checkpoint, force=force or run.options["resume"], inputs=read),
    )


def _fitted(run: Run) -> bool:
    """Fit the network that the options describe; whether its gradients are right: else nothing is trained."""
    if run.options["numbers"] == "auto":
        return _fit_either(run)
    with all_or_none(run):
        choose(run)
    return fit(run)


def look_only(run: Run) -> Status:
    """Show what each column is taken for, the network, and what it costs to train; nothing is trained or written."""
    columns = show_columns(run.screen, _look(run))
    for note in _take_preset(run):
        run.screen.say(f"note: {note}")
    choose(run)
    cost = show_cost(run)
    run.screen.record({**columns, **cost})
    return Status.OK


def _look(run: Run) -> Look:
    """Look at the data that the options of ``run`` name."""
    with run.screen.said_if_long(f"reading {run.options['data']} takes long"):
        run.look = look(run.options["data"], wanted_of(run.options), reading_of(run.options), run.ranks)
    return run.look


def _take_preset(run: Run) -> list[str]:
    """Take the preset that fits the number of rows, where none was chosen; a sentence where that is worth one."""
    if run.ranks.size > 1:  # each preset of its own has folds, which take all rows
        return []
    run.options, notes = with_preset(run.look, run.options, run.settings)
    return notes


def check_together(options: dict[str, Any], ranks: Ranks) -> None:
    """Raise for options that exclude each other, and those that several ranks do not take."""
    if ranks.size > 1 and (options["backend"] == "auto" or options["numbers"] == "auto"):
        name = "--backend" if options["backend"] == "auto" else "--numbers"
        raise ValueError(f"{name} auto is chosen by one process, and there are {ranks.size}: name one that all take")
    if ranks.size > 1 and options["data"] == "-":  # which Open MPI 5 never ends
        raise ValueError(f"DATA must be a file where there are {ranks.size} processes, got - for standard input")
    several = "--cv fits several networks" if options["cv"] else "--numbers auto fits two networks"
    if options["checkpoint"] and (options["cv"] or options["numbers"] == "auto"):
        raise ValueError(f"{several}, and --checkpoint keeps the state of one; leave one of them out")
    if options["cv"] and not options["refit"]:
        raise ValueError("--cv saves a model that is fitted to all rows, so --no-refit does not go with it")
    if options["numbers"] == "auto" and not (watches(options) or options.get("folds")):
        raise ValueError("--numbers auto is decided by rows held out for validation: it needs --early-stopping")
    _check_settings(options)


def _check_settings(options: dict[str, Any]) -> None:
    """Raise for settings of the network that exclude each other, those of a preset among them."""
    preset = PRESETS.get(options["preset"], {})

    def named(*texts: str) -> str:
        """``--dropout 0.15 and --folds, which --preset best sets,``."""
        names = [text.split()[0].removeprefix("--") for text in texts]
        ours = all(name in preset and options[name] == preset[name] for name in names)
        said = " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
        return f"{said}, which --preset {options['preset']} sets," if ours else said

    folds, many = options["folds"], options["ensemble"]
    has = {f"--ensemble {many}": many > 1 and "--ensemble 1", "--folds": folds and "--no-folds"}
    for flag in ("dropout", "input-dropout"):
        rate = options[flag.replace("-", "_")]
        has[f"--{flag} {rate:g}"] = rate and f"--{flag} 0"
    cures = [cure for cure in has.values() if cure]
    if options["solver"] in FULL_BATCH and cures:
        alone = f"--solver {options['solver']} lowers one loss that is the same in every step"
        taken = named(*(text for text, cure in has.items() if cure))
        raise ValueError(f"{alone}, without {taken.rstrip(',')}: it needs {' '.join(cures)}")
    if folds and many < 2:
        raise ValueError(f"{named('--folds')} needs --ensemble 2 or more, got {many}; --no-folds goes without")
    if folds and not options["early_stopping"]:
        raise ValueError(f"{named('--folds')} needs --early-stopping, by the rows held out; --no-folds goes without")


# --- choose ------------------------------------------------------------------------------------------------------

_TIMED_ROWS = 200  # in a step, at most: the estimators' own batch


def choose(run: Run) -> None:
    """Choose data, network and backend, and say what was chosen: ``backend, data, sizes, model, network`` of ``run``.

    Raises:
        ValueError: for data, settings or a backend that can't be used, and for a network larger than the memory.
    """
    options, say = run.options, run.screen.say
    run.backend, dtype = options["backend"], options["dtype"]
    # a backend that can't be used is refused before the data is read as numbers
    place = place_of(options)
    with run.screen.said_if_long(f"reading {options['data']} as numbers takes long"):
        run.data = prepare(run.look, options, run.ranks)
    fewest, many = min(len(split.trained) for split in run.data.splits), options["ensemble"]
    if options["folds"] and fewest < 2 * many:
        few = count_of(fewest, "row")
        raise ValueError(
            f"{run.look.source.where}: --folds deals at least 2 rows to each of {many} networks, and there are {few} "
            f"to train on: --preset {USUAL} needs fewer"
        )
    n, recipe = len(run.data.splits[0].trained), run.data.recipe_of(0)
    estimator = estimator_of(run, recipe)
    run.lap("loading libraries and data")
    if place is None:
        choice = fastest(run.sizes, min(_TIMED_ROWS, n), dtype)
        run.backend = choice.backend
        place = load(choice.backend, dtype, choice.device)
        say(f"{choice.backend} computes: {choice.reason}")
        run.lap("choosing the backend")
    run.model = Model(estimator, place, recipe, {})
    run.network = f"{network(run.sizes, estimator.activation, estimator.ensemble)}, {estimator.solver}"
    task = run.data.recipe.task
    say(f"{run.name}: {run.data.counts}")
    say(task if options["task"] else f"{task}, since {run.data.reason}; --task decides otherwise")
    for note in run.data.notes:
        say(f"note: {note}")
    say(f"network {run.network}, on {run.backend} in {dtype}")


def estimator_of(run: Run, recipe: Recipe) -> Any:
    """The estimator that the options describe, for the data of ``run`` as ``recipe`` reads it; ``run.sizes`` is set.

    It stops early where it has rows to watch.

    Raises:
        ValueError: for settings that it refuses, and for a network larger than the memory.
    """
    options, data = run.options, run.data
    kind, labels = (MLPRegressor, []) if data.classes is None else (MLPClassifier, data.classes.tolist())
    settings = estimator_settings(options, data.recipe.task, labels, run.settings)
    if options["solver"] in FULL_BATCH and options["dtype"] in NARROW_DTYPES:
        reason = f"{options['solver']} looks for a minimum more exactly than 16 bits can tell"
        raise ValueError(f"--dtype {options['dtype']} needs a stochastic solver: {reason}")
    together = "together" if data.recipe.image_shape else True
    if options["solver"] not in FULL_BATCH and not options.get("folds"):
        settings["early_stopping"] = bool(len(data.splits[0].validated))
    estimator = kind(
        **settings, random_state=options["seed"], check_gradients=options["check_gradients"],
        standardise=options["standardise"] and together, compile=options["compile"] or None,
    )  # fmt: skip
    share = estimator._planned_criterion(data.outputs).outputs_per_target
    run.sizes = (recipe.width, *estimator.hidden_layer_sizes, data.outputs * share)
    batch = _memory.rows_of_step(estimator, len(data.splits[0].trained))
    _memory.check_network(run.sizes, estimator.solver, kept_in(options["dtype"]), estimator.ensemble, batch)
    return estimator


def _fit_either(run: Run) -> bool:
    """Fit with numbers as they are and with numbers in pieces; ``run`` goes on with the lower validation loss.

    After Ctrl-C it goes on with what is fitted by then.

    Raises:
        KeyboardInterrupt: for Ctrl-C where nothing is fitted, and in a cross-validation.
    """
    tried: dict[str, Run] = {}
    for numbers in ("plain", "piecewise"):
        one = copy(run)
        one.options = {**run.options, "numbers": numbers}
        one.fits, one.notes, one.seconds, one.epoch = [], [], dict(run.seconds), None
        one.screen.say(f"numbers {numbers}:")
        _look(one)
        choose(one)
        try:
            if not fit(one):
                return False
        except KeyboardInterrupt:
            one = tried.get("plain", one)
            vars(run).update(vars(one))
            if run.options["cv"] or not run.fits:
                raise
            run.interrupted = "the training"
            run.notes.append(f"numbers plain: Ctrl-C came before numbers {numbers} were tried")
            return True
        tried[numbers] = one
        run.seconds |= one.seconds
        if one.interrupted and len(tried) == 1:
            vars(run).update(vars(one))
            return True
    losses = {numbers: _validation_loss(one) for numbers, one in tried.items()}
    chosen = min(losses, key=lambda numbers: losses[numbers])
    vars(run).update({**vars(tried[chosen]), "seconds": run.seconds, "interrupted": one.interrupted})
    other = max(losses, key=lambda numbers: numbers != chosen)
    run.notes.append(
        f"numbers {chosen}: validation loss {decimals(losses[chosen])}, {decimals(losses[other])} with numbers {other}"
    )
    return True


def _validation_loss(run: Run) -> float:
    """The mean over all networks of the loss on rows held out, after the epoch that each has kept."""
    estimators = [each.model.estimator for each in run.fits]
    kept = [
        min(records, key=estimator._watch) for estimator in estimators for records in own_records(estimator._history)
    ]
    return float(np.mean([np.nan if record.val_loss is None else record.val_loss for record in kept]))


# --- judge, write ------------------------------------------------------------------------------------------------


def judge(run: Run) -> None:
    """Predict the rows that were held out, and judge the predictions."""
    seed, data, said = run.options["seed"], run.data, _judge_folds(run)
    run.judged = run.folds[0]
    if len(said) > 1:
        parts: Any = zip(*said, strict=True)  # of each array one for each fold
        together = Said._make([None if part[0] is None else np.concatenate(part) for part in parts])
        run.judged = judged(run.model, data.test.y, together, data.rows.y, seed)
    run.predicted, run.score = run.judged.predicted, run.judged.headline
    run.lap("testing")


def _judge_folds(run: Run) -> list[Said]:
    """Judge each fit by the rows that were held out from it; what it says of them."""
    data, said, run.folds = run.data, [], []
    for number, each in enumerate(run.fits):
        X, y = data.tested_by(number)
        said.append(said_of(each.model, parts_of(X)))
        split = data.splits[number]
        known = data.rows.y[np.concatenate([split.trained, split.validated])]
        run.folds.append(judged(each.model, y, said[-1], known, run.options["seed"]))
    return said


def write(run: Run) -> None:
    """Write the model, the settings of the run, and its picture; what fails after the model loses nothing but itself.

    Raises:
        ValueError: the model can't be written.
    """
    versions = {"mlp_xp": __version__, "python": sys.version.partition(" ")[0], "numpy": np.__version__}
    refitted = run.refitted and run.refitted._asdict()
    notes = {
        "recipe": run.saved.recipe.as_notes(), "data": {**run.data.about, "refitted": refitted},
        "command": run.command,
        "versions": versions | {run.backend: installed(run.backend).version or ""}, "backend": run.backend,
        "interrupted": bool(run.interrupted), "test": run.judged.as_record(),
    }  # fmt: skip
    if len(run.folds) > 1:
        notes["folds"] = [each.as_record() for each in run.folds]
    estimator_files.save(run.saved.estimator, run.files.model, notes)
    try:
        if run.files.config is not None:
            write_whole(run.files.config, as_toml(run.settings).encode())
        if run.options["importance"]:
            tested, last = run.data.tested_by(len(run.fits) - 1), run.fits[-1].model
            with run.screen.said_if_long("--importance takes long"):
                run.importance = importance(last, tested.X, tested.y, run.folds[-1], run.options["seed"])
        if run.files.picture is not None and run.model.estimator._history:
            from mlp_xp.cli._picture import draw  # imported here: matplotlib takes a third of a second

            draw(run, run.files.picture)
            run.pictured = True
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        run.failed = in_a_line(error)
    run.lap("saving and drawing")
