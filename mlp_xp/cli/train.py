"""``mlp-xp train``: its options, from the command line and a file of settings; what it does is in ``_training``."""

from __future__ import annotations

import tomllib
from typing import Any

import click

from mlp_xp._lib.arguments import one_of
from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.cli._help import Command, Names
from mlp_xp.cli._options import (
    MISSING,
    SHOW_DEFAULTS,
    TASKS,
    OneOf,
    device_option,
    force_option,
    json_option,
    seed_option,
    setting_options,
)

NOT_KEPT = ("config", "save_config", "quiet", "as_json", "show", "force", "resume")  # of a run, not of its result


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """What the file says becomes the defaults: what is given on the command line goes before it."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML: {error}") from None
    known = {p.name for p in context.command.params} - set(NOT_KEPT)
    for name in found:
        if name not in known:
            raise ValueError(f"{path}: a setting must be {one_of(_nearest(name, known), name)}")
    context.default_map = {**(context.default_map or {}), **found}
    return path


def _nearest(name: str, known: set[Any]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, known, n=4, cutoff=0.0)


@click.command(
    "train",
    cls=Command,
    context_settings=SHOW_DEFAULTS,
    example=(
        "train iris",
        "train houses.csv --target price --hidden 64,32 --epochs 50",
        "train mnist/ --backend torch --device cuda --early-stopping",
    ),
)
@click.argument("data", default="digits", required=False)
@click.option("--target", help="The column to learn; by default the last.")
@click.option("--task", type=OneOf(*TASKS), help="By default what the target looks like.")
@click.option("--drop", multiple=True, help="A column to leave out; can be repeated.")
@click.option("--category", multiple=True, help="A column of numbers to take for categories; can be repeated.")
@click.option("--missing", type=OneOf(*MISSING), default="refuse", help="What to do about a missing value.")
@click.option("--standardise/--no-standardise", default=True, help="Scale each column to mean 0 and deviation 1.")
@click.option("--test-fraction", type=click.FloatRange(0, 1, True, True), default=0.2, help="Of the rows, to judge on.")
@setting_options
@click.option(
    "--backend",
    type=Names(("auto", *BACKENDS)),
    default="numpy",
    help=f"One of {', '.join(BACKENDS)}; auto times a step on each that is installed and takes the fastest.",
)
@device_option
@click.option("--dtype", type=OneOf(*DTYPES), default="float32", help="In which it computes.")
@click.option("--compile", is_flag=True, help="Compile a step, with the backends jax and torch; it takes seconds.")
@seed_option
@click.option("--check-gradients/--no-check-gradients", default=True, help="Check them on some rows before training.")
@click.option("--checkpoint", help="A file that is to hold where training stands, written after every epoch.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint.")
@click.option("--output", "-o", help="The model, a .safetensors file; by default called as the data.")
@click.option("--picture", help="A .png file, by default called as the model; none for no picture.")
@click.option("--config", is_eager=True, callback=_read_config, help="A TOML file with such options, by their names.")
@click.option("--save-config", help="A TOML file to write what was used to.")
@click.option("--show", is_flag=True, help="Show the picture in the terminal as well.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@force_option
@click.pass_context
def command(context: click.Context, /, **values: Any) -> int:
    """Train a network on DATA, save it with all that it takes to use it, and draw what was learned.

    DATA is a .csv, .tsv, .parquet, .arrow or .npz file, a folder of IDX files, openml:NAME, or one of digits, iris,
    wine, breast_cancer, diabetes.
    """
    from mlp_xp.cli._training import run  # what it takes is heavy, and `--help` does without

    return run(context, values)
