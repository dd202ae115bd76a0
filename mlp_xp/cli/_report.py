"""What ``mlp-xp train`` says at its end: how training went, how good the model is, what was written.

Before: ``_training`` has written the model; nothing that fails here can lose it.
"""

import sys
from typing import Any

import numpy as np

from mlp_xp._lib.wording import count_of
from mlp_xp.cli._importance import importance_table
from mlp_xp.cli._output import in_a_line, to_stderr
from mlp_xp.cli._process import Status
from mlp_xp.cli._run import Run
from mlp_xp.cli._score_tables import score_table
from mlp_xp.cli._scores import Judged, lines_of


def report(run: Run) -> Status:
    """Say how training went, how good the model is, what was written, and how to do it again; the exit status."""
    history, total, memory = run.model.estimator._history, run.total, _peak_memory()
    slowest, seconds = max(run.seconds.items(), key=lambda pair: pair[1])
    picture = {"picture": str(run.files.picture)} if run.pictured else {}
    more: dict[str, Any] = {"folds": [each.as_record() for each in run.folds]} if len(run.folds) > 1 else {}
    if found := run.importance:
        more["importance"] = {"score": found.score, "columns": found.as_records()}
    run.screen.record({
        "final": True, "task": run.data.recipe.task, "epochs": len(history), "best_epoch": run.fits[0].epochs,
        "interrupted": bool(run.interrupted), "refitted": run.refitted and run.refitted._asdict(), **more,
        "test": run.judged.as_record(), "notes": run.notes, "model": str(run.files.model), **picture, "seconds": total,
        "slowest": slowest, "slowest_seconds": seconds, "peak_memory": memory, "command": run.command,
    })  # fmt: skip
    say = run.screen.say
    for note in run.notes:
        say(f"note: {note}")
    _say_scores(run)
    if run.refitted:
        say(_refitted(run))
    say(f"{total:.1f} s in all, {seconds:.1f} s of them {slowest}"
        f"{f', at most {memory / 1e6:,.0f} MB of memory' if memory else ''}")  # fmt: skip
    say(f"wrote {' and '.join([str(run.files.model), *picture.values()])}")
    say(f"again: {run.command}")
    return _status(run)


def _say_scores(run: Run) -> None:
    """The table of the test rows, and how good the predictions are; of a cross-validation also in each fold."""
    folds, say = len(run.folds) if len(run.folds) > 1 else 0, run.screen.say
    where = f"all rows, each in the fold that tests it, of {folds}" if folds else "test set"
    run.screen.show(score_table(run.model, run.data.test.y, run.predicted, where))
    if run.importance:
        run.screen.show(importance_table(run.importance, f"fold {folds}" if folds else where))
    if folds:
        _say_folds(run)
        say(f"{folds}-fold cross-validation, mean and spread over the folds: {_over_folds(run.folds)}")
    for line in lines_of(run.judged, "all folds together:" if folds else "test"):
        say(line)


def _say_folds(run: Run) -> None:
    """How good the predictions are in each fold that was fitted."""
    for number, each in enumerate(run.folds, 1):
        run.screen.say(f"fold {number} of {len(run.data.splits)}: {each.headline}")


def report_folds(run: Run, ended: Exception | KeyboardInterrupt) -> Status:
    """Say how good a cross-validation was in the folds that were fitted before it ended so; the exit status.

    There is no model to save: that is fitted to all rows, after the last fold.
    """
    done, count = len(run.folds), len(run.data.splits)
    run.screen.record({
        "final": True, "task": run.data.recipe.task, "interrupted": isinstance(ended, KeyboardInterrupt), "model": None,
        "notes": run.notes, "folds": [each.as_record() for each in run.folds], "command": run.command,
    })  # fmt: skip
    _say_folds(run)
    if done > 1:
        run.screen.say(f"mean and spread over {done} of {count} folds: {_over_folds(run.folds)}")
    when = f"in fold {done + 1} of {count}" if done < count else "in the fit to all rows"
    lost = "no model was saved, for it is fitted to all rows after the last fold"
    if isinstance(ended, KeyboardInterrupt):
        to_stderr(f"interrupted {when}: {lost}")
        return Status.INTERRUPTED
    to_stderr(f"error: {when}: {in_a_line(ended)}; {lost}")
    return Status.BAD_INPUT


def _over_folds(folds: list[Judged]) -> str:
    """``accuracy 0.9733 ± 0.0115, log-loss 0.0912 ± 0.0301``: the mean and the standard deviation of each number."""
    scores = [{each.headline.name: each.headline.value, **each.others} for each in folds]
    names = [name for name in scores[0] if all(np.isfinite(each.get(name, np.nan)) for each in scores)]
    values = {name: np.asarray([each[name] for each in scores]) for name in names}
    return ", ".join(f"{name} {each.mean():.4g} ± {each.std(ddof=1):.2g}" for name, each in values.items())


def _refitted(run: Run) -> str:
    """``refitted on all 600 rows for 37 epochs; the test score is that of the model before``."""
    assert run.refitted is not None
    rows, epochs = run.refitted
    long = f" for {count_of(epochs, 'epoch')}" if epochs else ""
    whose = "the models of the folds" if len(run.folds) > 1 else "the model before"
    return f"refitted on all {rows:,} rows{long}; the test score is that of {whose}"


def _status(run: Run) -> Status:
    """The exit status; what it stands for is a line on stderr."""
    if run.failed:
        to_stderr(f"error: {run.failed}; the model is in {run.files.model}")
    if not run.interrupted:
        return Status.BAD_INPUT if run.failed else Status.OK
    done, go_on = len(run.model.estimator._history), ""
    if run.files.checkpoint:
        go_on = f"; go on with: {run.command} --resume --force"
    saved = f"the best model so far, of epoch {run.fits[0].epochs}, is in {run.files.model}"
    when = f"after epoch {done}"
    if run.interrupted == "the refit":
        saved, when = f"the model that was tested is in {run.files.model}", "while fitting to all rows"
    to_stderr(f"interrupted {when}: {saved}{go_on}")
    return Status.INTERRUPTED


def _peak_memory() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
