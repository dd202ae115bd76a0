"""``mlp-xp tune``: its options, most of which are those of ``train``. Next: ``_tuning`` does the work."""

import time
from typing import Any

import click

from mlp_xp.cli import train
from mlp_xp.cli._help import Command, FileName, Option, command_of
from mlp_xp.cli._options import Number, Whole

_OWN: dict[str, Any] = {"cls": Option, "group": "The search"}
_NOT_TAKEN = {
    "cv", "refit", "check_gradients", "checkpoint", "resume", "output", "picture", "save_config", "dry_run", "show",
    "importance", "compile",
}  # fmt: skip
"""Options of ``train`` that a search has no use for."""


@command_of(
    "tune houses.csv --target price",
    "tune houses.csv --tries 50 --seconds 600 -o best.toml",
    "tune houses.csv --hidden 64,64 --max-iter 100",
)
@click.option("--tries", **_OWN, type=Whole(1), default=20, help="Settings to try, the defaults among them.")
@click.option("--seconds", **_OWN, type=Number(0, min_open=True), help="Time after which no try begins.")
@click.option("--cv", **_OWN, type=Whole(2), metavar="K", default=3, help="Folds that score a try.")
@click.option(
    "--output",
    "-o",
    **_OWN,
    type=FileName(".toml"),
    help="The .toml file of the best settings; by default named after the data.",
)
@click.pass_context
def command(context: click.Context, /, **values: Any) -> int:
    """Search the settings of a network for DATA, and write the best as TOML: mlp-xp train --config takes them.

    Widths, learning rate, penalty, dropout and batch size are drawn at random, unless they are given, and scored by
    cross-validation on the rows that `train` does not test on. Other options are those of `train`.

    DATA is {data}.
    """
    began = time.perf_counter()  # loading libraries takes much of a short run
    from mlp_xp.cli._tuning import tune  # imported here: --help must stay fast

    return tune(train.command, train.chosen_of, values, train.given_of(context), began)


assert isinstance(command, Command)
_own = list(command.params)
command.params = [each for each in train.command.params if each.name not in _NOT_TAKEN]
command.params[1:1] = _own  # after DATA
