"""What ``mlp-xp train`` does: choose -> fit -> test -> write -> report, five steps over one record, a ``Run``.

``train`` is the story; each step follows in a section of its own, with its helpers after it.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import numpy as np

from mlp_xp._lib.files import write_whole
from mlp_xp._lib.version import __version__
from mlp_xp.backends import compiler, fastest, installed, load
from mlp_xp.cli._model import Model
from mlp_xp.cli._options import ROWS, estimator_settings
from mlp_xp.cli._output import Screen, Status, claimed, network, to_stderr
from mlp_xp.cli._prepare import prepare
from mlp_xp.cli._run import Run, as_toml, command_line, result_files
from mlp_xp.cli._score_tables import score_table
from mlp_xp.cli._scores import score
from mlp_xp.cost import step_cost
from mlp_xp.estimators import MLPClassifier, MLPRegressor
from mlp_xp.estimators import files as estimator_files
from mlp_xp.estimators.base import WrongGradients
from mlp_xp.estimators.reporting import NOT_FINITE, progress_bar
from mlp_xp.train import Epoch, Record


def train(command: click.Command, options: dict[str, Any], settings: dict[str, Any], began: float) -> Status:
    """Train as the options of ``command`` say, write the results, and return the exit status.

    Args:
        command: ``mlp-xp train``.
        options: their values by name.
        settings: those of them that decide the result.
        began: when the command began, by ``time.perf_counter``.
    """
    files = result_files(options)
    screen = Screen(options["as_json"], options["quiet"])
    run = Run(options, files, as_toml(settings), command_line(command, settings), screen, began)
    with (
        claimed(files.model, files.picture, files.config, force=options["force"]),
        claimed(files.checkpoint, force=options["force"] or options["resume"]),
    ):
        choose(run)
        if not fit(run):
            return Status.WRONG_GRADIENT
        test(run)
        write(run)
        return report(run)


# --- choose ------------------------------------------------------------------------------------------------------

_TIMED_ROWS = 200  # in a step, at most: the estimators' own batch


def choose(run: Run) -> None:
    """Choose data, network and backend, and say what was chosen: ``backend, data, sizes, model, network`` of ``run``.

    Raises:
        ValueError: for data, settings or a backend that can't be used, and for a network larger than the memory.
    """
    options, say = run.options, run.screen.say
    run.backend, dtype = options["backend"], options["dtype"]
    # a backend that can't be used is refused before the data is read
    place = None if run.backend == "auto" else load(run.backend, dtype, options["device"])
    run.data = prepare(options)
    kind, labels = (MLPRegressor, []) if run.data.classes is None else (MLPClassifier, run.data.classes.tolist())
    settings = estimator_settings(options, run.data.recipe.task, labels)
    together = "together" if run.data.recipe.image_shape else True
    estimator = kind(
        **settings, random_state=options["seed"], check_gradients=options["check_gradients"],
        standardise=options["standardise"] and together,
    )  # fmt: skip
    run.lap("loading libraries and data")
    n, d_in = run.data.training.X.shape
    run.sizes = (d_in, *estimator.hidden_layer_sizes, run.data.outputs * estimator._outputs_per_target())
    _check_memory(run.sizes, estimator.solver, dtype, estimator.ensemble)
    if place is None:
        choice = fastest(run.sizes, min(_TIMED_ROWS, n), dtype)
        run.backend = choice.backend
        place = load(choice.backend, dtype, choice.device)
        say(f"{choice.backend} computes: {choice.reason}")
        run.lap("choosing the backend")
    if options["compile"]:
        estimator.set_params(compile=compiler(run.backend))
    run.model = Model(estimator, place, run.data.recipe, {})
    run.network = f"{network(run.sizes, estimator.activation, estimator.ensemble)}, {estimator.solver}"
    task = run.data.recipe.task
    say(f"{run.name}: {run.data.rows}")
    say(task if options["task"] else f"{task}, since {run.data.reason}; --task decides otherwise")
    for note in run.data.notes:
        say(note)
    say(f"network {run.network}, on {run.backend} in {dtype}")


def _check_memory(sizes: tuple[int, ...], solver: str, dtype: str, networks: int) -> None:
    """Raise unless parameters, their initial values in float64, gradients and the optimizer's state fit in memory."""
    cost = step_cost(
        sizes, 1, dtype, optimizer={"sgd": "momentum", "lbfgs": "adam", "newton-cg": "adam"}.get(solver, solver)
    )
    needed = networks * (2 * cost.parameter_bytes + 8 * cost.parameters + cost.optimizer_bytes)
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows does not say
        return
    if needed > there:
        raise ValueError(
            f"{f'{networks} networks' if networks > 1 else 'a network'} of {'-'.join(map(str, sizes))} must fit in "
            f"memory: it takes {needed / 1e9:,.0f} GB to train, this machine has {there / 1e9:,.0f} GB"
        )


# --- fit ---------------------------------------------------------------------------------------------------------

_INTERRUPTED = "interrupted by user"  # the warning with which ``fit`` ends after Ctrl-C


def fit(run: Run) -> bool:
    """Train the estimator of ``run``; whether its gradients are right, without which nothing is trained.

    After Ctrl-C the estimator keeps the best parameters so far.

    Raises:
        ValueError: for what the estimator refuses.
        KeyboardInterrupt: for Ctrl-C before the end of the first epoch.
    """
    estimator, data, put = run.model.estimator, run.data, run.model.place.put
    with warnings.catch_warnings(record=True) as caught, _shown(run) as show:
        warnings.simplefilter("always")
        if run.options["compile"]:  # a compiler warns about its own code, which no user can change
            warnings.filterwarnings("ignore", module=r"torch\b")
        held = data.validation and (put(data.validation.X), data.validation.y)
        try:
            estimator.fit(
                put(data.training.X), data.training.y, eval_set=held, callbacks=(show,),
                checkpoint=run.files.checkpoint, resume=run.options["resume"],
            )  # fmt: skip
        except WrongGradients as error:
            run.screen.insist(f"{error.report}\nnothing was trained")
            return False
        except ValueError as error:
            # the prefix is for users of scikit-learn, who know this sentence
            raise ValueError(str(error).removeprefix(f"{NOT_FINITE} Here ")) from None
    warned = dict.fromkeys(str(warning.message) for warning in caught)
    run.interrupted = any(_INTERRUPTED in text for text in warned)
    if run.interrupted:
        if run.epoch is None:
            raise KeyboardInterrupt
        estimator._learned(run.epoch.best)
    seconds, history = run.lap("training"), estimator._history
    checking = max(seconds - history[-1].seconds, 0.0) if history else 0.0
    run.seconds |= {"training": seconds - checking, "checking the gradients": checking}
    for text in warned:
        if "Maximum iterations" in text:
            text = f"stopped after {estimator.max_iter} epochs, and was still improving: --max-iter gives it more"
        if _INTERRUPTED not in text:
            run.screen.say(f"note: {' '.join(text.split())}")
    return True


@contextmanager
def _shown(run: Run) -> Iterator[Callable[[Epoch], None]]:
    """A callback of ``fit`` that shows each epoch: on a bar in a terminal, as a line elsewhere, and as JSON."""
    screen, epochs, rows = run.screen, run.model.estimator.max_iter, run.data.training.X.shape[0]
    console = screen.console if screen.is_terminal else None
    line = ""  # about the last epoch
    with progress_bar(console is not None, epochs, lambda _: line, console, "checking the gradients") as show_bar:

        def show(epoch: Epoch) -> None:
            nonlocal line
            if run.epoch is None and run.options["check_gradients"]:
                _say_checked(run)
            run.epoch, last = epoch, epoch.last
            before = epoch.history[-2].seconds if len(epoch.history) > 1 else 0.0
            speed = rows / max(last.seconds - before, 1e-9)
            line = _in_a_line(last, run.model.score_name, speed)
            screen.record({
                "epoch": last.number, "loss": last.loss, "validation_loss": last.val_loss,
                "validation_score": last.val_score, "learning_rate": last.lr, "seconds": last.seconds,
                "rows_per_second": round(speed),
            })  # fmt: skip
            show_bar(epoch)
            if console is None:
                screen.say(f"epoch {last.number}/{epochs}: {line}")

        yield show


def _say_checked(run: Run) -> None:
    """``checked in float64: pass, relative errors above 1.2e-09 would have been seen (87 evaluations)``."""
    checked = run.model.estimator.gradient_report_
    resolution = max(row.resolution for row in checked.tensors)
    why = next((f"; {row.name}: {row.diagnosis}" for row in checked.tensors if row.diagnosis), "")
    run.screen.say(
        f"gradients on some rows, checked in {checked.reference}: {checked.verdict}, relative errors above "
        f"{resolution:.1e} would have been seen ({checked.evaluations:,} evaluations){why}"
    )


def _in_a_line(last: Record, score_name: str, speed: float) -> str:
    """``loss 0.4321, validation accuracy 91.20%, 12,345 rows/s``."""
    scored = ""
    if last.val_score is not None:
        scored = f", validation {score_name} {last.val_score:{'.2%' if score_name == 'accuracy' else '.4f'}}"
    return f"loss {last.loss:.4f}{scored}, " + (
        f"{speed:,.0f} rows/s" if speed < 1e6 else f"{speed / 1e6:.1f} M rows/s"
    )


# --- test, write, report -----------------------------------------------------------------------------------------


def test(run: Run) -> None:
    """Predict the test rows, and show how good the predictions are."""
    model, (X, y) = run.model, run.data.test
    run.predicted = np.concatenate([model.predict(X[low : low + ROWS]) for low in range(0, len(X), ROWS)])
    run.score = score(y, run.predicted, model.is_classifier, run.options["seed"])
    run.lap("testing")
    run.screen.show(score_table(model, y, run.predicted, "test set"))
    run.screen.say(f"test {run.score}")


def write(run: Run) -> None:
    """Write the model, the picture of the run and its settings."""
    versions = {"mlp_xp": __version__, "python": sys.version.partition(" ")[0], "numpy": np.__version__}
    notes = {
        "recipe": run.data.recipe.as_notes(), "data": run.data.about, "command": run.command,
        "versions": versions | {run.backend: installed(run.backend).version or ""}, "backend": run.backend,
        "interrupted": run.interrupted, "test": run.score._asdict(),
    }  # fmt: skip
    estimator_files.save(run.model.estimator, run.files.model, notes)
    if run.files.picture is not None and run.model.estimator._history:
        from mlp_xp.cli._picture import draw  # imported here: matplotlib takes a third of a second

        draw(run, run.files.picture)
        run.pictured = True
    if run.files.config is not None:
        write_whole(run.files.config, run.settings.encode())
    run.lap("saving and drawing")


def report(run: Run) -> Status:
    """Show what was written, how long it took, and how to do it again; the exit status."""
    history, total, memory = run.model.estimator._history, run.total, _peak_memory()
    slowest, seconds = max(run.seconds.items(), key=lambda pair: pair[1])
    picture = {"picture": str(run.files.picture)} if run.pictured else {}
    run.screen.record({
        "final": True, "task": run.data.recipe.task, "epochs": len(history), "interrupted": run.interrupted,
        "test": run.score._asdict(), "model": str(run.files.model), **picture, "seconds": total, "slowest": slowest,
        "slowest_seconds": seconds, "peak_memory": memory, "command": run.command,
    })  # fmt: skip
    say = run.screen.say
    say(f"{total:.1f} s in all, {seconds:.1f} s of them {slowest}"
        f"{f', at most {memory / 1e6:,.0f} MB of memory' if memory else ''}")  # fmt: skip
    say(f"wrote {' and '.join([str(run.files.model), *picture.values()])}")
    say(f"again: {run.command}")
    if not run.interrupted:
        return Status.OK
    best = min(history, key=lambda record: record.watched).number
    go_on = f"; go on with: {run.command} --resume --force" if run.files.checkpoint else ""
    saved = f"the best model so far, of epoch {best}, is in {run.files.model}"
    to_stderr(f"interrupted after epoch {len(history)}: {saved}{go_on}")
    return Status.INTERRUPTED


def _peak_memory() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
