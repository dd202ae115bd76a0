"""``mlp-xp train``: its options, from the command line or a file of settings. Next: ``_training`` does the work."""

import re
import time
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mlp_xp._lib.arguments import one_of, shortened
from mlp_xp.backends import BACKENDS, DTYPES, NARROW_DTYPES
from mlp_xp.cli._help import MODEL, DataName, FileName, Names, Option, about_number, command_of
from mlp_xp.cli._options import (
    AUTO,
    COMPUTING,
    PRESET_TEXTS,
    TASKS,
    USUAL,
    ColumnName,
    Number,
    OneOf,
    Whole,
    device_option,
    force_option,
    json_option,
    reading_options,
    seed_option,
    setting_options,
)
from mlp_xp.parameters import PRESETS, SharedParameters, entries_of

_NOT_SAVED = ("config", "save_config", "quiet", "as_json", "show", "force", "resume", "dry_run")
"""Options that do not change the result."""

_IN_FILE = "mlp_xp.settings_in_file"  # names of options, kept with a context


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """Let the settings in the file be the defaults, which options on the command line override."""
    if path is None:
        return None
    lines, found = _in_toml(path)
    known = _names_in_file(context.command)
    parameters = {str(parameter.name): parameter for parameter in context.command.params}
    settings = {}
    for name, value in found.items():
        if name not in known:
            raise ValueError(f"{path}: a setting must be {one_of({*known.values()}, name, most=8)}")
        parameter = parameters[known[name]]
        if getattr(parameter, "multiple", False) and isinstance(value, str):  # one column need not be a list
            value = [value]
        if getattr(parameter, "is_flag", False) and not isinstance(value, (bool, str)):
            raise ValueError(f"{path}: {name} must be true or false, got {shortened(value)}")
        try:
            parameter.type_cast_value(context, value)
        except (click.BadParameter, ValueError, TypeError) as error:
            where = next((f", line {number}" for number, line in lines if re.match(rf"[\s\"']*{name}\b", line)), "")
            said = about_number(error, name) if isinstance(error, click.BadParameter) else ""
            said = said or f"{name} can't be {value!r}: {getattr(error, 'message', str(error)).removesuffix('.')}"
            raise ValueError(f"{path}{where}: {said}") from None
        settings[known[name]] = value
    context.default_map = {**(context.default_map or {}), **settings}
    context.meta[_IN_FILE] = {*settings}
    return path


def _in_toml(path: str) -> tuple[list[tuple[int, str]], dict[str, Any]]:
    """The lines of a TOML file with their numbers, and the settings in it."""
    from mlp_xp._lib.files import unreadable  # imported here: --help must stay fast

    try:
        if not Path(path).is_file():  # a device gives bytes without end, and a pipe lets its reader wait
            raise unreadable(path, None, (".toml",))
        data = Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error, (".toml",)) from None
    lines = [*enumerate(data.decode("utf-8", "replace").splitlines(), 1)]
    try:
        return lines, tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {number}, must be text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:  # which says "(at line 3, column 8)" or "(at end of document)"
        found = re.search(r"at line (\d+)", str(error))
        number = min(int(found[1]) if found else len(lines), len(lines))
        line = lines[number - 1][1].strip() if lines else ""
    example = "NAME = VALUE, each name once, such as lr = 0.01 or hidden = [64, 32]"
    raise ValueError(f"{path}, line {number}, must be TOML, {example}, got {line!r}")


def _names_in_file(command: click.Command) -> dict[str, str]:
    """What a file of settings may call an option, its spellings on the command line included -> its name."""
    names: dict[str, str] = {}
    for parameter in command.params:
        if (name := str(parameter.name)) not in _NOT_SAVED:
            spellings = (each.lstrip("-") for each in parameter.opts if each.startswith("--"))
            names |= dict.fromkeys((name, *(s for each in spellings for s in (each, each.replace("-", "_")))), name)
    return names


def _use_preset(context: click.Context, parameter: click.Parameter, preset: str) -> str:
    """Let the settings of a preset be the defaults, which a file of settings and the command line override."""
    if preset != AUTO:  # which is chosen when the rows are counted
        context.default_map = {**settings_of(preset), **(context.default_map or {})}
    return preset


def settings_of(preset: str) -> dict[str, Any]:
    """The options that a preset sets."""
    types = {str(parameter.name): parameter.type for parameter in command.params}
    return {name: types[name].convert(value, None, None) for name, value in PRESETS[preset].items() if name in types}


def given_of(context: click.Context) -> set[str]:
    """The names of the options that the command line or a file of settings gives, and not a preset."""
    on_line = (name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE)
    return {*on_line, *context.meta.get(_IN_FILE, ())}


def chosen_of(values: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """Those of the options that were given and decide the result."""
    kept = {"data", *given, *(() if values["preset"] == AUTO else ("preset",))} - {*_NOT_SAVED}
    return {name: value for name, value in values.items() if name in kept and value not in (None, ())}


def _heading(group: str) -> Callable[..., Callable[[Any], Any]]:
    """``click.option`` for the options below this heading of the help."""
    return partial(click.option, cls=Option, group=group)


_data, _training = _heading("Data"), _heading("Training and test")
_computing, _files = _heading(COMPUTING), _heading("Files")


@command_of(
    "train iris",
    "train houses.csv --target price --hidden 64,32 --epochs 50",
    "train mnist/ --backend torch --device cuda --early-stopping",
)
@click.argument("data", type=DataName(), default="digits", required=False)
@_data("--target", type=ColumnName(), help="The column to learn; by default the last.")
@_data("--task", type=OneOf(*TASKS), help="By default inferred from the target.")
@_data("--drop", type=ColumnName(), multiple=True, help="A column to leave out; can be repeated.")
@_data("--category", type=ColumnName(), multiple=True, help="A column that holds categories; can be repeated.")
@_data(
    "--missing",
    type=OneOf("auto", "refuse", "drop", "fill"),
    default="auto",
    help="Way to treat missing values; auto: the median and a column that says so, categories a level of their own.",
)
@_data(
    "--unknown",
    type=OneOf("level", "refuse"),
    default="level",
    help="Way to treat categories of new data that the training did not have; level: one of their own.",
)
@_data(
    "--numbers",
    type=OneOf("plain", "piecewise", "auto"),
    default="plain",
    help="Way to encode numbers: as they are, in pieces, or what has the lower validation loss.",
)
@reading_options
@_data("--standardise/--no-standardise", default=True, help="Scale each column to mean 0 and deviation 1.")
@_training("--test-fraction", type=Number(0, 1, True, True), default=0.2, help="Share of test rows.")
@_training("--cv", type=Whole(2), metavar="K", help="Score by cross-validation in K folds of all rows.")
@_training(
    "--refit/--no-refit", default=True, help="After the test, fit again to all rows, for as many epochs as were best."
)
@_training(
    "--preset",
    type=OneOf(*PRESET_TEXTS),
    default=AUTO,
    is_eager=True,
    callback=_use_preset,
    help=f"Settings to start from; {'; '.join(f'{name}: {text}' for name, text in PRESET_TEXTS.items())}.",
)
@setting_options
@_computing(
    "--backend", type=Names(("auto", *BACKENDS)), default="numpy",
    help=f"One of {', '.join(BACKENDS)}; auto times a step on each that is installed and takes the fastest.",
)  # fmt: skip
@device_option
@_computing(
    "--dtype", type=OneOf(*DTYPES, *NARROW_DTYPES), default="float32",
    help="Floating-point type of all computations; with one of 16 bits the parameters are float32.",
)  # fmt: skip
@_computing("--compile", is_flag=True, help=entries_of(SharedParameters)["compile"].text)
@seed_option
@_training("--importance", is_flag=True, help="Show which columns matter: how much the score falls without each.")
@_training("--check-gradients/--no-check-gradients", default=True, help="Check the gradients before training.")
@_files(
    "--checkpoint", type=MODEL, help="A .safetensors file for the state of the training, written after every epoch."
)
@_files("--resume", is_flag=True, help="Continue from the checkpoint, if it is there.")
@_files("--output", "-o", type=MODEL, help="The .safetensors file of the model; by default named after the data.")
@_files("--picture", type=FileName(".png"), help="A .png file, by default named after the model; none for no picture.")
@_files(
    "--config", type=FileName(".toml"), is_eager=True, callback=_read_config,
    help="A TOML file of defaults for these options.",
)  # fmt: skip
@_files("--save-config", type=FileName(".toml"), help="A TOML file to write the options of this run to.")
@click.option("--dry-run", is_flag=True, help="Show columns, network and cost; nothing is trained or written.")
@_files("--show", is_flag=True, help="Show the picture in the terminal too.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@force_option
@click.pass_context
def command(context: click.Context, /, **values: Any) -> int:
    """Train a network on DATA, save it with all that is needed to use it, and draw what was learned.

    DATA is {data}.
    """
    began = time.perf_counter()  # loading libraries takes much of a short run
    from mlp_xp.cli._training import train  # imported here: --help must stay fast

    return train(context.command, values, chosen_of(values, given_of(context)), began)


for _parameter in command.params:  # the help shows what most runs take
    if _parameter.name in settings_of(USUAL):
        _parameter.default = settings_of(USUAL)[_parameter.name]
