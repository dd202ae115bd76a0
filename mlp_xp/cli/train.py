"""``mlp-xp train``: its options, from the command line or a file of settings. Next: ``_training`` does the work."""

import time
import tomllib
from typing import Any

import click

from mlp_xp._lib.arguments import one_of
from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.cli._help import Names, command_of
from mlp_xp.cli._options import (
    TASKS,
    OneOf,
    device_option,
    force_option,
    json_option,
    reading_options,
    seed_option,
    setting_options,
)

_NOT_SAVED = ("config", "save_config", "quiet", "as_json", "show", "force", "resume")
"""Options that do not change the result."""


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """Let the settings in the file be the defaults, which options on the command line override."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML: {error}") from None
    known = {str(p.name) for p in context.command.params} - set(_NOT_SAVED)
    for name in found:
        if name not in known:
            raise ValueError(f"{path}: a setting must be {one_of(known, name, most=8)}")
    context.default_map = {**(context.default_map or {}), **found}
    return path


@command_of(
    "train iris",
    "train houses.csv --target price --hidden 64,32 --epochs 50",
    "train mnist/ --backend torch --device cuda --early-stopping",
)
@click.argument("data", default="digits", required=False)
@click.option("--target", help="The column to learn; by default the last.")
@click.option("--task", type=OneOf(*TASKS), help="By default inferred from the target.")
@click.option("--drop", multiple=True, help="A column to leave out; can be repeated.")
@click.option("--category", multiple=True, help="A column of numbers that are categories; can be repeated.")
@click.option("--missing", type=OneOf("refuse", "drop", "fill"), default="refuse", help="Way to treat missing values.")
@reading_options
@click.option("--standardise/--no-standardise", default=True, help="Scale each column to mean 0 and deviation 1.")
@click.option("--test-fraction", type=click.FloatRange(0, 1, True, True), default=0.2, help="Share of test rows.")
@setting_options
@click.option(
    "--backend", type=Names(("auto", *BACKENDS)), default="numpy",
    help=f"One of {', '.join(BACKENDS)}; auto times a step on each that is installed and takes the fastest.",
)  # fmt: skip
@device_option
@click.option("--dtype", type=OneOf(*DTYPES), default="float32", help="Floating-point type of all computations.")
@click.option("--compile", is_flag=True, help="Compile the training step (backends jax and torch); that takes seconds.")
@seed_option
@click.option("--check-gradients/--no-check-gradients", default=True, help="Check the gradients before training.")
@click.option("--checkpoint", help="A .safetensors file for the state of the training, written after every epoch.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint.")
@click.option("--output", "-o", help="The .safetensors file of the model; by default named after the data.")
@click.option("--picture", help="A .png file, by default named after the model; none for no picture.")
@click.option("--config", is_eager=True, callback=_read_config, help="A TOML file of defaults for these options.")
@click.option("--save-config", help="A TOML file to write the options of this run to.")
@click.option("--show", is_flag=True, help="Show the picture in the terminal too.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@force_option
@click.pass_context
def command(context: click.Context, /, **values: Any) -> int:
    """Train a network on DATA, save it with all that is needed to use it, and draw what was learned.

    DATA is a .csv, .tsv, .parquet, .arrow or .npz file, a folder of IDX files, openml:NAME, or one of digits, iris,
    wine, breast_cancer, diabetes.
    """
    began = time.perf_counter()  # loading libraries takes much of a short run
    from mlp_xp.cli._training import train  # imported here: --help must stay fast

    settings = {name: value for name, value in values.items() if name not in _NOT_SAVED}
    return train(context.command, values, settings, began)
