"""What ``mlp-xp train`` does: choose -> fit -> test -> write -> report, five steps over one record, a ``Run``.

``_choose`` and ``_fit`` hold the first two steps; the last three are here.
"""

from __future__ import annotations

import sys
from typing import Any

import click
import numpy as np

from mlp_xp._lib.files import write_whole
from mlp_xp._lib.version import __version__
from mlp_xp.backends import installed
from mlp_xp.cli._choose import choose
from mlp_xp.cli._fit import fit
from mlp_xp.cli._options import ROWS
from mlp_xp.cli._output import claimed
from mlp_xp.cli._run import Run, Stopwatch, result_files
from mlp_xp.cli._scores import score, score_table
from mlp_xp.cli._screen import Screen, to_stderr
from mlp_xp.cli._settings import NOT_SAVED, as_toml, command_line
from mlp_xp.cli._status import Status
from mlp_xp.estimators import files as estimator_files


def train(command: click.Command, options: dict[str, Any], began: float) -> Status:
    """Train as the options of ``command`` say, write the results, and return the exit status.

    Args:
        command: ``mlp-xp train``.
        options: their values by name.
        began: when the command began, by ``time.perf_counter``.
    """
    files = result_files(options)
    settings = {name: value for name, value in options.items() if name not in NOT_SAVED}
    screen = Screen(options["as_json"], options["quiet"])
    run = Run(options, files, as_toml(settings), command_line(command, settings), screen, Stopwatch(began))
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


def test(run: Run) -> None:
    """Predict the test rows, and show how good the predictions are."""
    model, (X, y) = run.model, run.data.test
    run.predicted = np.concatenate([model.predict(X[low : low + ROWS]) for low in range(0, len(X), ROWS)])
    run.score = score(y, run.predicted, model.is_classifier, run.options["seed"])
    run.watch.lap("testing")
    run.screen.show(score_table(model, y, run.predicted, "test set"))
    run.screen.say(f"test {run.score}")


def write(run: Run) -> None:
    """Write the model, the picture of the run and its settings."""
    notes = {
        "recipe": run.data.recipe.as_notes(), "data": run.data.about, "command": run.command,
        "versions": _versions(run.backend), "backend": run.backend, "interrupted": run.interrupted,
        "test": run.score._asdict(),
    }  # fmt: skip
    estimator_files.save(run.model.estimator, run.files.model, notes)
    if run.files.picture is not None and run.model.estimator._history:
        from mlp_xp.cli._picture import draw  # imported here: matplotlib takes a third of a second

        draw(run)
        run.pictured = True
    if run.files.config is not None:
        write_whole(run.files.config, run.settings.encode())
    run.watch.lap("saving and drawing")


def _versions(backend: str) -> dict[str, str]:
    found = {"mlp_xp": __version__, "python": sys.version.partition(" ")[0], "numpy": np.__version__}
    return found | {backend: installed(backend).version or ""}


def report(run: Run) -> Status:
    """Show what was written, how long it took, and how to do it again; the exit status."""
    epochs, total, memory = len(run.model.estimator._history), run.watch.total(), _peak_memory()
    slowest, seconds = run.watch.slowest()
    picture = {"picture": str(run.files.picture)} if run.pictured else {}
    run.screen.record({
        "final": True, "task": run.data.recipe.task, "epochs": epochs, "interrupted": run.interrupted,
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
    best = min(run.model.estimator._history, key=lambda record: record.watched).number
    go_on = f"; go on with: {run.command} --resume --force" if run.files.checkpoint else ""
    to_stderr(
        f"interrupted after epoch {epochs}: the best model so far, of epoch {best}, is in {run.files.model}{go_on}"
    )
    return Status.INTERRUPTED


def _peak_memory() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
