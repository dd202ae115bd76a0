"""The fits of ``mlp-xp train``: to the rows that are not held out, then to all of them.

``fit`` learns once, or once for each fold; ``refit`` learns from all rows for as many epochs as were best.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any, cast

import numpy as np
from array_api_compat import is_numpy_namespace
from sklearn.base import clone
from threadpoolctl import threadpool_limits  # scikit-learn needs it too

from mlp_xp._lib.typing import Array
from mlp_xp._lib.wording import is_own
from mlp_xp.backends import NARROW_DTYPES
from mlp_xp.cli._ending import best_epochs, ending, scored
from mlp_xp.cli._memory import rows_of_step
from mlp_xp.cli._model import Model
from mlp_xp.cli._options import in_options
from mlp_xp.cli._output import decimals, in_a_line
from mlp_xp.cli._prepare import Split
from mlp_xp.cli._run import Fit, Refit, Run
from mlp_xp.estimators.base import WrongGradients
from mlp_xp.estimators.reporting import NOT_FINITE, progress_bar
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.ranks import together
from mlp_xp.train import Epoch, Record
from mlp_xp.train.source import is_source

_INTERRUPTED = "interrupted by user"  # the warning with which an estimator's ``fit`` ends after Ctrl-C
_DIVERGED = "Training stopped:"  # and that where its loss is no longer finite


def fit(run: Run) -> bool:
    """Fit the estimator of ``run`` to each split of its data; whether its gradients are right: else nothing is trained.

    After Ctrl-C the estimator keeps the best parameters so far.

    Raises:
        ValueError: for what the estimator refuses.
        KeyboardInterrupt: for Ctrl-C before the end of the first epoch, and in a cross-validation, whose finished folds
            are in ``run.fits``.
    """
    estimator, splits = run.model.estimator, run.data.splits
    for number, split in enumerate(splits):
        if number:
            estimator = clone(estimator).set_params(check_gradients=False)
        with all_or_none(run):
            run.model = Model(estimator, run.model.place, run.data.recipe_of(number), {})
        of_fold = f"fold {number + 1} of {len(splits)}, " if len(splits) > 1 else ""
        try:
            said = _fit_split(run, split, of_fold)
        except WrongGradients as error:
            run.screen.insist(f"{error.report}\nnothing was trained")
            return False
        run.notes += [f"{of_fold}{each}" for each in said]
        run.fits.append(Fit(run.model, round(float(np.mean(best_epochs(estimator))))))
    seconds, history = run.lap("training"), run.fits[0].model.estimator._history
    if len(splits) == 1:
        checking = max(seconds - history[-1].seconds, 0.0) if history else 0.0
        run.seconds |= {"training": seconds - checking, "checking the gradients": checking}
    return True


def _fit_split(run: Run, split: Split, of_fold: str) -> list[str]:
    """Fit the estimator of ``run.model`` to one split; sentences about how that went."""
    estimator, recipe = run.model.estimator, run.model.recipe
    training = run.data.filled(recipe, _own(run, split.trained))
    held = None
    if len(split.validated):
        validation = run.data.filled(recipe, _own(run, split.validated))
        held = _put(run, validation.X), validation.y
    rows, estimator._computes_in = len(split.trained), _narrow(run)
    kept = run.files.checkpoint
    resumes = run.options["resume"] and kept is not None and kept.exists()  # one command line starts and goes on
    with _warnings() as warned, _shown(run, rows, of_fold) as show, _threads(run, rows):
        try:
            estimator.fit(
                _put(run, training.X), training.y, eval_set=held, callbacks=(show,),
                checkpoint=kept, resume=resumes, ranks=run.ranks,
            )  # fmt: skip
        except WrongGradients:
            raise
        except ValueError as error:
            # the prefix is for users of scikit-learn, who know this sentence
            raise ValueError(in_options(str(error).removeprefix(f"{NOT_FINITE} Here "))) from None
    if any(_INTERRUPTED in text for text in warned):
        if run.epoch is None or of_fold:
            raise KeyboardInterrupt
        run.interrupted = "the training"
        estimator._learned(run.epoch.best)
    # of the first two ``ending`` and the report have sentences; that a batch has no more rows than there are is plain
    unsaid = ("Maximum iterations", _INTERRUPTED, "`batch_size`")
    said = [
        in_options(" ".join(text.split())).rstrip(".") for text in warned if not any(each in text for each in unsaid)
    ]
    diverged = next((text for text in said if text.startswith(_DIVERGED)), "")
    if diverged and max(best_epochs(estimator)) == 1:  # it has learned nothing that is worth a file
        raise ValueError(diverged.removeprefix(f"{_DIVERGED} "))
    return said + ([] if run.interrupted else ending(estimator, run.model.score_name, bool(diverged)))


def _put(run: Run, X: Any) -> Any:
    """Rows where the network computes; those of a source are put there when they are read."""
    return X if is_source(X) else run.model.place.put(X)


def _own(run: Run, rows: Any) -> Any:
    """Those of these rows that this rank learns from, or judges by."""
    return rows[run.ranks.rank :: run.ranks.size]


def all_or_none(run: Run) -> AbstractContextManager[None]:
    """Where the block raises on one rank, all ranks raise."""
    return together(run.ranks, cast(Array, np.zeros(1)))


def _narrow(run: Run) -> str:
    """The dtype of 16 bits in which the network is to compute; empty for none."""
    return str(run.options["dtype"]) if run.options["dtype"] in NARROW_DTYPES else ""


_SMALL_STEP = 3e7  # FLOP of a network
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


def _threads(run: Run, rows: int) -> Any:
    """One thread for NumPy's matrix products where a step is small, unless the environment says how many.

    A second thread saves an eighth of such a step while the machine is idle. The threads of BLAS wait for each other by
    spinning, so on a busy machine a step with two of them took 30 times as long as with one.
    """
    estimator, set_by_user = run.model.estimator, any(name in os.environ for name in _THREADS)
    weights = sum(d_in * d_out for d_in, d_out in pairwise(run.sizes))
    # of the products: forward, and backward by the weights and by the inputs
    flops = 6 * rows_of_step(estimator, rows) * weights
    xp: Any = run.model.place.xp
    if not is_numpy_namespace(xp) or set_by_user or flops > _SMALL_STEP:
        return nullcontext()
    return threadpool_limits(1, user_api="blas")


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """The texts of this library's own warnings in the block, each once; the list is full when the block has ended."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += dict.fromkeys(str(each.message) for each in caught if is_own(each.message))


# --- what is shown ----------------------------------------------------------------------------------------------------


@contextmanager
def _shown(run: Run, rows: int, of_fold: str) -> Iterator[Callable[[Epoch], None]]:
    """A callback of ``fit`` that shows each epoch: on a bar in a terminal, as a line elsewhere, and as JSON."""
    screen, epochs = run.screen, run.model.estimator.max_iter
    line = ""  # about the last epoch
    at_first = "checking the gradients" if run.model.estimator.check_gradients else of_fold.rstrip(", ")
    how = "; --no-check-gradients leaves it out" if run.model.estimator.check_gradients else ""
    waited = f"{at_first or 'the first epoch'} takes long{how}"
    with _bar(run, lambda _: line, at_first, waited) as (console, show_bar, wait):

        def show(epoch: Epoch) -> None:
            nonlocal line
            if run.epoch is None and run.model.estimator.check_gradients:
                _say_checked(run)
            run.epoch, last = epoch, epoch.last
            before = epoch.history[-2].seconds if len(epoch.history) > 1 else 0.0
            speed = rows / max(last.seconds - before, 1e-9)
            line = f"{of_fold}{_in_a_line(last, run.model, speed)}"
            screen.record({
                **({"fold": len(run.fits) + 1} if of_fold else {}), "epoch": last.number, "loss": last.loss,
                "validation_loss": last.val_loss, "validation_score": last.val_score, "learning_rate": last.lr,
                "seconds": last.seconds, "rows_per_second": round(speed),
            })  # fmt: skip
            show_bar(epoch)
            wait("")
            if console is None:
                screen.say(f"epoch {last.number}/{epochs}: {line}")

        yield show


@contextmanager
def _bar(run: Run, describe: Callable[[Record], str], at_first: str, waited: str) -> Iterator[Any]:
    """The console, where there is a terminal, and a callback that shows a bar there.

    Elsewhere ``waited`` is said where the block takes long; the function that changes it comes last.
    """
    console = run.screen.console if run.screen.is_terminal else None
    bar = progress_bar(console is not None, run.model.estimator.max_iter, describe, console, at_first)
    with bar as show_bar, run.screen.said_if_long("" if console else waited) as wait:
        yield console, show_bar, wait


def _say_checked(run: Run) -> None:
    """``checked in float64: pass, relative errors above 1.2e-09 would have been seen (87 evaluations)``."""
    checked = run.model.estimator.gradient_report_
    resolution = max(row.resolution for row in checked.tensors)
    why = next((f"; {row.name}: {row.diagnosis}" for row in checked.tensors if row.diagnosis), "")
    run.screen.say(
        f"gradients on some rows, checked in {checked.reference}: {checked.verdict}, relative errors above "
        f"{resolution:.1e} would have been seen ({checked.evaluations:,} evaluations){why}"
    )


def _in_a_line(last: Record, model: Model, speed: float) -> str:
    """``loss 0.4321, validation accuracy 91.20%, 12,345 rows/s``."""
    watched = scored(last, model.score_name)
    fast = f"{speed:,.0f} rows/s" if speed < 1e6 else f"{speed / 1e6:.1f} M rows/s"
    return ", ".join(filter(None, (f"loss {decimals(last.loss)}", watched, fast)))


# --- all rows ----------------------------------------------------------------------------------------------------


def refit(run: Run) -> None:
    """Fit a new network to all rows, which is then the model to save, with the settings and the seed of the first.

    It learns for as many epochs as were best before, at the same rates. Folds are watched again as they were: they lose
    no row. After Ctrl-C, or where this fit fails, the model that was judged is saved.

    Raises:
        KeyboardInterrupt, ValueError: where there is no such model, after a cross-validation.
    """
    run.saved, n = run.model, len(run.data.rows.y)
    several = len(run.fits) > 1
    if run.interrupted or not (several or (run.options["refit"] and len(run.data.splits[0].trained) < n)):
        return
    epochs = round(float(np.mean([each.epochs for each in run.fits])))
    estimator, settings = clone(run.model.estimator), run.model.estimator.get_params(deep=False)
    with all_or_none(run):
        recipe = run.data.recipe_of(None)
    ends = None if estimator.solver in FULL_BATCH or getattr(estimator, "folds", False) else epochs
    estimator.set_params(check_gradients=False, **_as_before(run.model.estimator, ends))
    try:
        with _warnings() as warned, _bar(run, lambda record: f"again, on all rows, loss {decimals(record.loss)}",
                                            "again, on all rows", "learning again, from all rows, takes long",
                                            ) as (_, show_bar, _):  # fmt: skip

            def after(epoch: Epoch) -> bool:
                show_bar(epoch)
                return ends is not None and epoch.last.number >= ends

            own = None if run.ranks.size == 1 else _own(run, np.arange(n))
            data, estimator._computes_in = run.data.filled(recipe, own), _narrow(run)
            with _threads(run, n):
                estimator.fit(_put(run, data.X), data.y, callbacks=(after,), ranks=run.ranks)
        if any(_INTERRUPTED in text for text in warned):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        if several:
            raise
        run.interrupted = "the refit"
    except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        if several:
            raise
        run.notes.append(f"the fit to all rows failed, so the model is the one that was tested: {in_a_line(error)}")
    else:
        estimator.set_params(**settings)
        run.saved, run.refitted = Model(estimator, run.model.place, recipe, {}), Refit(n, ends or 0)
    run.lap("fitting to all rows")


def _as_before(fitted: Any, epochs: int | None) -> dict[str, Any]:
    """Settings with which a network learns for so many epochs as the fitted one did; none where it ends by itself."""
    if epochs is None:
        return {}
    settings: dict[str, Any] = {"early_stopping": False, "n_iter_no_change": float("inf")}
    if fitted._adapts():  # a rate that fell when the validation score stalled falls at the same epochs
        rates = [record.lr for record in fitted._history]
        settings["learning_rate"] = lambda progress: rates[min(len(progress.losses), len(rates) - 1)]
    return settings
