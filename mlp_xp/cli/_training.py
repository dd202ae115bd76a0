"""What ``mlp-xp train`` does: from a table of data to a trained, saved, checked and explained model.

The data's way: read, made numbers, split and standardised (``_prepare``) -> ``fit`` of an estimator, its gradients
checked, each epoch shown (``_progress``) -> judged on the test rows (``_scores``) -> a file, and a picture
(``_picture``).
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mlp_xp import __version__
from mlp_xp._lib.files import write_whole
from mlp_xp._lib.namespace import to_host
from mlp_xp.backends import compiler, fastest, installed, load
from mlp_xp.cli import _scores
from mlp_xp.cli._model import Model, stem_of
from mlp_xp.cli._options import ROWS, WRONG, estimator_settings
from mlp_xp.cli._output import claimed, with_suffix
from mlp_xp.cli._prepare import Prepared, prepare
from mlp_xp.cli._progress import shown
from mlp_xp.cli._screen import open_console
from mlp_xp.cli.train import NOT_KEPT
from mlp_xp.cost import step_cost
from mlp_xp.train import Epoch

_INTERRUPTED = 130  # exit status


def run(context: click.Context, values: dict[str, Any]) -> int:
    """Train by what was given; the exit status."""
    stem = stem_of(values["data"])
    output = with_suffix(values["output"] or f"{stem}.safetensors", ".safetensors")
    picture = None
    if values["picture"] != "none":
        picture = with_suffix(values["picture"] or output.with_suffix(".png"), ".png")
    config = None if values["save_config"] is None else with_suffix(values["save_config"], ".toml")
    checkpoint = None if values["checkpoint"] is None else with_suffix(values["checkpoint"], ".safetensors")
    if values["resume"] and (checkpoint is None or not checkpoint.exists()):
        raise ValueError(f"--resume needs a --checkpoint that is there, got {checkpoint or 'none'}")
    used = {name: values[name] for name in values if name not in NOT_KEPT}
    again = _repeated(context, used)
    with (
        claimed(output, picture, config, force=values["force"]),
        claimed(checkpoint, force=values["force"] or values["resume"]),
    ):
        status, estimator = _train(values, output, picture, again, checkpoint)
        if config is not None and estimator is not None:
            write_whole(config, _as_toml(used).encode())
    return status


def _train(
    values: dict[str, Any], output: Path, picture: Path | None, again: str, checkpoint: Path | None
) -> tuple[int, Any]:
    console = open_console()
    silent = values["quiet"] or values["as_json"]
    say: Callable[[str], None] = (lambda text: None) if silent else click.echo
    spent = _Stopwatch()

    chosen = values["backend"] == "auto"
    place = None if chosen else load(values["backend"], values["dtype"], values["device"])
    prepared = prepare(values)
    recipe, name = prepared.recipe, stem_of(values["data"])
    estimator = _estimator(values, recipe.task, np.unique(prepared.y))
    spent.lap("loading libraries and data")
    sizes = _sizes(estimator, prepared)
    _check_memory(sizes, estimator, values["dtype"])
    if place is None:
        choice = fastest(sizes, min(200, len(prepared.X)), values["dtype"])
        values["backend"], values["device"] = choice.backend, choice.device
        place = load(choice.backend, values["dtype"], choice.device)
        say(f"{choice.backend} computes: {choice.reason}")
        spent.lap("choosing the backend")
    if values["compile"]:
        estimator.set_params(compile=compiler(values["backend"]))
    say(f"{name}: {prepared.rows}")
    say(f"{recipe.task}, since {prepared.why}; --task decides otherwise" if values["task"] is None else recipe.task)
    for note in prepared.notes:
        say(note)
    say(f"network {_network(sizes, estimator)}, on {values['backend']} in {values['dtype']}")

    last: list[Epoch] = []

    def say_checked() -> None:
        if estimator.check_gradients:
            say(f"gradients on some rows, {_summary(estimator.gradient_report_)}")

    held = None if prepared.X_held is None else (place.put(prepared.X_held), prepared.y_held)
    with ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        if values["compile"]:  # a compiler warns of its own inside, which nobody here can change
            warnings.filterwarnings("ignore", module=r"torch\b")
        what = _score_name(estimator, recipe.task)
        show = stack.enter_context(
            shown(console, estimator.max_iter, len(prepared.X), what, say_checked, values["quiet"], values["as_json"])
        )

        def keep(epoch: Epoch) -> None:
            last[:] = [epoch]

        try:
            estimator.fit(place.put(prepared.X), prepared.y, eval_set=held, callbacks=(keep, show),
                          checkpoint=checkpoint, resume=values["resume"])  # fmt: skip
        except ValueError as error:
            report = getattr(estimator, "gradient_report_", None)
            if report is not None and report.verdict == "fail":
                click.echo(f"{report}\nnothing was trained", err=silent)
                return WRONG, None
            raise _in_the_commands_words(error) from None
    said = [str(warning.message) for warning in caught]
    interrupted = any("interrupted by user" in each for each in said)
    if interrupted and not last:
        raise KeyboardInterrupt
    history = estimator._history
    fit_seconds = spent.lap("training")
    spent.move("training", "checking the gradients", max(fit_seconds - history[-1].seconds, 0.0) if history else 0.0)
    if interrupted:
        estimator._learned(last[0].best)
    for note in _notes(said, estimator):
        say(note)

    notes: dict[str, Any] = {"recipe": recipe.as_notes(), "data": prepared.about, "command": again}
    notes |= {"versions": _versions(values["backend"]), "backend": values["backend"], "interrupted": interrupted}
    model = Model(str(output), estimator, place, recipe, {"notes": notes})
    final: dict[str, Any] = {"final": True, "task": recipe.task, "epochs": len(history), "interrupted": interrupted}
    predicted = None
    if len(prepared.y_test):
        predicted = _in_parts(model, prepared.X_test)
        found = _scores.score(prepared.y_test, predicted, model.is_classifier, values["seed"])
        notes["test"] = final["test"] = found._asdict()
        spent.lap("testing")
        if not silent:
            console.print(_table(model, prepared.y_test, predicted, "test set"))
        say(f"test {found}")
    _save(model, output)
    final["model"] = str(output)
    if picture is not None and predicted is not None and history:
        from mlp_xp import plots

        figure = _figure(model, prepared, predicted, name, sizes)
        plots.save(figure, picture)
        final["picture"] = str(picture)
        if values["show"]:
            from mlp_xp.cli._picture import preview

            preview(figure, console)
    spent.lap("saving and drawing")
    part, seconds = spent.slowest()
    final |= {"seconds": spent.total(), "slowest": part, "slowest_seconds": seconds, "peak_memory": _peak_memory()}
    final["command"] = again
    if values["as_json"]:
        click.echo(json.dumps(final))
    memory = f", at most {_peak_memory() / 1e6:,.0f} MB of memory" if _peak_memory() else ""
    say(f"{spent.total():.1f} s in all, {seconds:.1f} s of them {part}{memory}")
    say(f"wrote {' and '.join(str(each) for each in (output, picture if 'picture' in final else None) if each)}")
    say(f"again: {again}")
    if interrupted:
        best = min(history, key=lambda record: record.watched).number
        go_on = f"; go on with: {again} --resume --force" if checkpoint is not None else ""
        click.echo(
            f"interrupted after epoch {len(history)}: the best model so far, of epoch {best}, is in {output}{go_on}",
            err=True,
        )
        return _INTERRUPTED, estimator
    return 0, estimator


# --- the network -------------------------------------------------------------------------------------------------


def _estimator(values: dict[str, Any], task: str, labels: NDArray[Any]) -> Any:
    from mlp_xp.estimators import MLPClassifier, MLPRegressor

    chosen = estimator_settings(values, task, labels.tolist() if task == "classification" else [])
    kind = MLPClassifier if task == "classification" else MLPRegressor
    return kind(**chosen, random_state=values["seed"], check_gradients=values["check_gradients"])


def _sizes(estimator: Any, prepared: Prepared) -> tuple[int, ...]:
    outputs = len(np.unique(prepared.y)) if prepared.recipe.task == "classification" else 1
    return (prepared.X.shape[1], *estimator.hidden_layer_sizes, 1 if outputs == 2 else outputs)


def _check_memory(sizes: tuple[int, ...], estimator: Any, dtype: str) -> None:
    """Refuse what can't be held: parameters, their initial values in float64, gradients, and the optimizer's state."""
    optimizer = {"sgd": "momentum", "lbfgs": "adam"}.get(estimator.solver, estimator.solver)
    cost = step_cost(sizes, 1, dtype, optimizer=optimizer)
    needed = 2 * cost.parameter_bytes + 8 * cost.parameters + cost.optimizer_bytes
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no such question on Windows
        return
    if needed > there:
        raise ValueError(
            f"a network of {'-'.join(map(str, sizes))} must fit in memory: it takes {needed / 1e9:,.0f} GB to train, "
            f"this machine has {there / 1e9:,.0f} GB"
        )


def _network(sizes: tuple[int, ...], estimator: Any) -> str:
    activation = estimator.activation
    names = activation if isinstance(activation, str) else ", ".join(activation)
    return f"{'-'.join(map(str, sizes))}, {names if len(sizes) > 2 else 'no hidden layer'}, {estimator.solver}"


def _score_name(estimator: Any, task: str) -> str:
    return estimator.scoring or ("accuracy" if task == "classification" else "R^2")


def _summary(report: Any) -> str:
    """``checked in float64: pass, relative errors above 1.2e-09 would have been seen (87 evaluations)``."""
    resolution = max(row.resolution for row in report.tensors)
    why = [f"{row.name}: {row.diagnosis}" for row in report.tensors if row.diagnosis][:1]
    return (
        f"checked in {report.reference}: {report.verdict}, relative errors above {resolution:.1e} would have been seen "
        f"({report.evaluations:,} evaluations){''.join(f'; {reason}' for reason in why)}"
    )


def _in_the_commands_words(error: ValueError) -> ValueError:
    return ValueError(str(error).removeprefix("Solver produced non-finite parameter weights: "))


def _notes(warned: list[str], estimator: Any) -> list[str]:
    """What ``fit`` warned of, once each, in the words of this command."""
    notes = []
    for text in dict.fromkeys(warned):
        if "interrupted by user" in text:
            continue
        if "Maximum iterations" in text:
            text = f"stopped after {estimator.max_iter} epochs, and was still improving: --max-iter gives it more"
        notes.append(f"note: {' '.join(text.split())}")
    return notes


# --- afterwards --------------------------------------------------------------------------------------------------


def _in_parts(model: Model, X: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([model.predict(X[low : low + ROWS]) for low in range(0, len(X), ROWS)])


def _table(model: Model, y: NDArray[Any], predicted: NDArray[Any], where: str) -> Any:
    if model.is_classifier:
        return _scores.confusion_table(y, predicted, model.classes, where)
    return _scores.residual_table(y, predicted, where)


def _figure(model: Model, prepared: Prepared, predicted: NDArray[Any], name: str, sizes: tuple[int, ...]) -> Any:
    from mlp_xp.cli._picture import run_figure

    found = model.header["notes"]["test"]
    score = f"{found['value']:.1%}" if found["name"] == "accuracy" else f"{found['value']:.3f}"
    criterion = model.estimator._criterion()
    unit = {"squared_error": "mean squared error (standardised)" if model.recipe.mean else "mean squared error",
            "poisson": "Poisson deviance"}.get(criterion, "cross-entropy (nats)")  # fmt: skip
    return run_figure(
        f"{name}: {_network(sizes, model.estimator)}, test {found['name']} {score}", model.estimator._history,
        prepared.y_test, predicted, to_host(model.estimator.coefs_[0]),
        classes=model.classes if model.is_classifier else None, target=model.recipe.target or "target", loss=unit,
        inputs=model.recipe.names, image_shape=model.recipe.image_shape, hidden=len(sizes) > 2,
        per="standard deviation of input" if model.recipe.mean else "unit of input",
    )  # fmt: skip


def _save(model: Model, output: Path) -> None:
    from mlp_xp.estimators import files

    files.save(model.estimator, output, model.header["notes"])


def _versions(backend: str) -> dict[str, str]:
    found = {"mlp_xp": __version__, "python": sys.version.partition(" ")[0], "numpy": np.__version__}
    return found | {backend: installed(backend).version or ""}


def _peak_memory() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Stopwatch:
    """What took how long."""

    def __init__(self) -> None:
        self.began = self.before = time.perf_counter()
        self.parts: dict[str, float] = {}

    def lap(self, part: str) -> float:
        now = time.perf_counter()
        self.parts[part], self.before = now - self.before, now
        return self.parts[part]

    def move(self, part: str, other: str, seconds: float) -> None:
        self.parts[part] -= seconds
        self.parts[other] = seconds

    def slowest(self) -> tuple[str, float]:
        return max(self.parts.items(), key=lambda pair: pair[1])

    def total(self) -> float:
        return time.perf_counter() - self.began


# --- settings ----------------------------------------------------------------------------------------------------


def _repeated(context: click.Context, used: Mapping[str, Any]) -> str:
    """The command line that does the same."""
    words = ["mlp-xp", "train", used["data"]]
    for parameter in context.command.params:
        name = str(parameter.name)
        value = used.get(name)
        if name != "data" and value not in (None, ()) and value != parameter.default:
            if isinstance(value, bool):
                words += (parameter.opts if value else parameter.secondary_opts)[:1]
            else:
                for each in value if isinstance(value, tuple) else (value,):
                    words += [parameter.opts[0], str(each)]
    return shlex.join(words)


def _as_toml(used: Mapping[str, Any]) -> str:
    """One line a setting, those that are none left out; JSON's texts, numbers and lists are TOML's too."""
    lines = [f"# mlp-xp {__version__} train --config THIS_FILE"]
    for name, value in used.items():
        if value is not None:
            lines.append(f"{name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}")
    return "\n".join(lines) + "\n"
