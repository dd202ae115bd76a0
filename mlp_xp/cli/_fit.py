"""The second step of ``mlp-xp train``: fit the estimator, check its gradients first, and show each epoch."""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any

from mlp_xp.cli._progress import shown
from mlp_xp.cli._run import Run
from mlp_xp.train import Epoch

_INTERRUPTED = "interrupted by user"  # the warning with which ``fit`` ends after Ctrl-C


def fit(run: Run) -> bool:
    """Train the estimator of ``run``; whether its gradients are right, without which nothing is trained.

    After Ctrl-C the estimator keeps the best parameters so far.

    Raises:
        ValueError: for what the estimator refuses.
        KeyboardInterrupt: for Ctrl-C before the end of the first epoch.
    """
    estimator, data = run.model.estimator, run.data
    last: deque[Epoch] = deque(maxlen=1)
    with warnings.catch_warnings(record=True) as caught, shown(run, lambda: _say_checked(run)) as show:
        warnings.simplefilter("always")
        if run.options["compile"]:  # a compiler warns about its own code, which no user can change
            warnings.filterwarnings("ignore", module=r"torch\b")
        held = data.validation and (run.model.place.put(data.validation.X), data.validation.y)
        try:
            estimator.fit(
                run.model.place.put(data.training.X), data.training.y, eval_set=held, callbacks=(last.append, show),
                checkpoint=run.files.checkpoint, resume=run.options["resume"],
            )  # fmt: skip
        except ValueError as error:
            report = getattr(estimator, "gradient_report_", None)
            if report is not None and report.verdict == "fail":
                run.screen.insist(f"{report}\nnothing was trained")
                return False
            # the prefix is for users of scikit-learn, who know this sentence
            raise ValueError(str(error).removeprefix("Solver produced non-finite parameter weights: ")) from None
    warned = list(dict.fromkeys(str(warning.message) for warning in caught))
    run.interrupted = any(_INTERRUPTED in text for text in warned)
    if run.interrupted:
        if not last:
            raise KeyboardInterrupt
        estimator._learned(last[0].best)
    _time_check(run)
    for text in warned:
        if _INTERRUPTED not in text:
            run.screen.say(f"note: {_in_words_of_the_command(text, estimator)}")
    return True


def _say_checked(run: Run) -> None:
    """``checked in float64: pass, relative errors above 1.2e-09 would have been seen (87 evaluations)``."""
    if not run.options["check_gradients"]:
        return
    report = run.model.estimator.gradient_report_
    resolution = max(row.resolution for row in report.tensors)
    why = next((f"; {row.name}: {row.diagnosis}" for row in report.tensors if row.diagnosis), "")
    run.screen.say(
        f"gradients on some rows, checked in {report.reference}: {report.verdict}, relative errors above "
        f"{resolution:.1e} would have been seen ({report.evaluations:,} evaluations){why}"
    )


def _time_check(run: Run) -> None:
    """Count the seconds of ``fit`` before its first epoch as those of the check."""
    seconds, history = run.watch.lap("training"), run.model.estimator._history
    checking = max(seconds - history[-1].seconds, 0.0) if history else 0.0
    run.watch.move("training", "checking the gradients", checking)


def _in_words_of_the_command(warning: str, estimator: Any) -> str:
    if "Maximum iterations" in warning:
        return f"stopped after {estimator.max_iter} epochs, and was still improving: --max-iter gives it more"
    return " ".join(warning.split())
