"""``Run``, the record of a training run: what was asked, then what the steps of ``_training`` find out, one by one."""

import json
import math
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import click
from numpy.typing import NDArray

from mlp_xp._lib.version import __version__
from mlp_xp.cli._importance import Importance
from mlp_xp.cli._model import Model, stem_of
from mlp_xp.cli._output import Screen, with_suffix
from mlp_xp.cli._prepare import Data, Look
from mlp_xp.cli._scores import Judged, Score
from mlp_xp.ranks import Ranks
from mlp_xp.train import Epoch


class Files(NamedTuple):
    """Where the results of a run go; None where one is not wanted."""

    model: Path
    picture: Path | None
    config: Path | None
    checkpoint: Path | None


def result_files(options: dict[str, Any]) -> Files:
    """The files that the options name; by default the model is called as the data, the picture as the model.

    Raises:
        ValueError: for a name with another suffix, and where no checkpoint is named to resume from.
    """
    model = with_suffix(
        options["output"] or f"{stem_of(options['data'])}.safetensors", ".safetensors", option="--output"
    )
    drawn = options["picture"] or model.with_suffix(".png")
    picture = None if drawn == "none" else with_suffix(drawn, ".png", option="--picture")
    config = _given(options, "save_config", ".toml")
    checkpoint = _given(options, "checkpoint", ".safetensors")
    if options["resume"] and checkpoint is None:
        raise ValueError("--resume needs a --checkpoint to continue from, got none")
    return Files(model, picture, config, checkpoint)


def _given(options: dict[str, Any], name: str, suffix: str) -> Path | None:
    """The file that an option names, None where it was not given."""
    option = f"--{name.replace('_', '-')}"
    return None if options[name] is None else with_suffix(options[name], suffix, option=option)


def as_toml(settings: Mapping[str, Any]) -> str:
    """One line a setting."""
    lines = [f"# mlp-xp {__version__} train --config THIS_FILE"]
    lines += [f"{name} = {_in_toml(value)}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def _in_toml(value: Any) -> str:
    """A text, a number, a flag, or several texts; JSON's are TOML's too, but for inf and one character."""
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return "inf" if value == math.inf else text.replace("\x7f", "\\u007f")


def command_line(command: click.Command, settings: Mapping[str, Any]) -> str:
    """The command line of ``mlp-xp train`` with these settings, as a shell takes it."""
    words = []
    for parameter in command.params:
        name = str(parameter.name)
        if name not in settings or name == "data":
            continue
        value = settings[name]
        if isinstance(value, bool):
            words += (parameter.opts if value else parameter.secondary_opts)[:1]
        else:
            for each in map(str, value if isinstance(value, tuple) else (value,)):
                option = parameter.opts[0]
                # what begins with a dash would be taken for an option
                words += [f"{option}={each}"] if each.startswith("-") else [option, each]
    data = str(settings["data"])
    if data.startswith("-") and data != "-":
        return shlex.join(["mlp-xp", "train", *words, "--", data])
    return shlex.join(["mlp-xp", "train", data, *words])


class Fit(NamedTuple):
    """A network that was fitted to rows of which others were held out.

    model: the estimator with the best parameters that it had, and what its rows taught the recipe.
    epochs: after how many epochs it had them; of an ensemble the mean over the members.
    """

    model: Model
    epochs: int


class Refit(NamedTuple):
    """A fit to all rows, for as many epochs as were best before; 0 for a solver without epochs."""

    rows: int
    epochs: int


@dataclass
class Run:
    """A training run.

    Asked:
    options: of the command, by their names.
    files: where the results go.
    settings: the options that were given and decide the result.
    command: the command line that does the same.
    screen: where it is shown.
    began: when the command began, by ``time.perf_counter``.
    ranks: the processes that train together, as torchrun or mpirun started them; each learns from its share of the
        rows, and rank 0 speaks and writes.

    Chosen:
    look: the data before it is read as numbers.
    backend: the array library.
    data: rows to train, to validate and to test on.
    sizes: (d_in, d_h, ..., d_out) of the network.
    model: the estimator, where it computes, and how it reads data; what is judged and drawn.
    network: the architecture and the solver, to show.

    Learned:
    fits: one, or one for each fold of a cross-validation.
    epoch: where the training stands after its last epoch; None before the first, and for a solver without epochs.
    interrupted: what Ctrl-C ended: "the training", "the refit", or nothing.
    notes: sentences about how training went.

    Judged:
    judged: how good the predictions for the test rows are.
    folds: the same for each fold of a cross-validation, else once.
    predicted: labels or numbers for the test rows.
    score: the headline of ``judged``.
    importance: which columns matter, where that was asked for.

    Refitted:
    saved: the model that is written.
    refitted: what it learned from, where that is not what ``model`` did.
    pictured: whether the picture was drawn.

    Always:
    seconds: how long each part took.
    failed: why something that was asked for could not be written.
    """

    options: dict[str, Any]
    files: Files
    settings: Mapping[str, Any]
    command: str
    screen: Screen
    began: float
    ranks: Ranks

    look: Look = field(init=False)
    backend: str = field(init=False)
    data: Data = field(init=False)
    sizes: tuple[int, ...] = field(init=False)
    model: Model = field(init=False)
    network: str = field(init=False)

    fits: list[Fit] = field(default_factory=list)
    epoch: Epoch | None = None
    interrupted: str = ""
    notes: list[str] = field(default_factory=list)

    predicted: NDArray[Any] = field(init=False)
    score: Score = field(init=False)
    judged: Judged = field(init=False)
    folds: list[Judged] = field(default_factory=list)
    importance: Importance | None = None

    saved: Model = field(init=False)
    refitted: Refit | None = None
    pictured: bool = False

    seconds: dict[str, float] = field(default_factory=dict)
    failed: str = ""

    @property
    def name(self) -> str:
        """The name of the data, without folder and suffix."""
        return stem_of(self.options["data"])

    @property
    def total(self) -> float:
        """Seconds since the command began."""
        return time.perf_counter() - self.began

    def lap(self, part: str) -> float:
        """Count the seconds that no other part took as those of ``part``; returns them."""
        self.seconds[part] = self.total - sum(self.seconds.values())
        return self.seconds[part]
