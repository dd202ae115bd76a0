"""The options that several commands share, and those of ``train`` that are parameters of an estimator."""

import math
import re
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mlp_xp._lib.arguments import one_of
from mlp_xp.backends import BACKENDS
from mlp_xp.cli._help import DataName, Names, Option, name_option
from mlp_xp.ops import activations_of
from mlp_xp.parameters import ClassifierParameters, Numbers, Parameter, RegressorParameters, entries_of

if TYPE_CHECKING:
    from mlp_xp.data import Reading

COMPUTING = "Computing"  # the heading of options that do not change the result but for rounding
DEVICE = "A device that `mlp-xp backends` lists; by default the library's own choice."

AUTO, USUAL = "auto", "medium"  # the preset that is chosen by the number of rows, and what is known before
PRESET_TEXTS = {
    AUTO: "small, medium or large, by the number of rows",
    "small": "five networks, each of which holds out a fifth of the rows to tell when to stop",
    USUAL: "a network that stops early, in batches of 32 rows",
    "large": "a network that stops early, in batches of 200 rows",
    "best": "as small, with two wider layers and dropout, in seven times as long as medium or more",
}


class Whole(click.IntRange):
    """A whole number; with ``infinite`` also inf, for no limit. A file of settings may hold any number."""

    def __init__(self, low: int, high: int | None = None, infinite: bool = False) -> None:
        super().__init__(low, high)
        self.infinite = infinite

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        if self.infinite and value in (math.inf, "inf"):
            return math.inf
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            self.fail(f"{value!r} is not a whole number", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A finite number in a range; a file of settings may hold no true or false for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            number = float(super().convert(value, param, ctx))
        except OverflowError:  # an int of 400 digits
            number = math.inf
        if isinstance(value, bool) or not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


seed_option = click.option("--seed", type=Whole(0, 2**31 - 1), default=0, help="Seed of all random numbers.")
backend_option = name_option("--backend", BACKENDS, "numpy", cls=Option, group=COMPUTING)
device_option = click.option("--device", cls=Option, group=COMPUTING, help=DEVICE)
force_option = click.option("--force", is_flag=True, help="Overwrite existing files.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one record a line, and nothing else.")


def activation_names(text: str) -> str | list[str]:
    """``"relu"`` -> ``"relu"``; ``"relu,tanh"`` -> ``["relu", "tanh"]``."""
    names = [name.strip() for name in text.split(",")]
    return names if len(names) > 1 else names[0]


class Listed(Names):
    """A text with commas between its parts; a list or a table in a file of settings becomes such a text.

    names: those of the parts that a shell completes.
    """

    name = "text"

    def __init__(self, *names: str) -> None:
        super().__init__(names, several=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        if isinstance(value, dict):
            return ",".join(f"{key}={each}" for key, each in value.items())
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class OneOf(Names):
    """One of a few names; an error offers the nearest of them."""

    def __init__(self, *names: str) -> None:
        super().__init__(names)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What the help shows."""
        return f"[{'|'.join(self.names)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        if value not in self.names:
            name = f"--{str(param.name).replace('_', '-')}" if param else "it"
            raise ValueError(f"{name} must be {one_of(self.names, value)}")
        return str(value)


# --- how text is read --------------------------------------------------------------------------------------------

_SEPARATORS = {"tab": "\t", "\\t": "\t", "blank": " ", "space": " "}


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``command`` with the options that say how a text file is read; ``reading_of`` reads them."""
    for flags, more in (
        (("--header/--no-header",), {"help": "Whether the first line names the columns.", "default": None}),
        (("--na",), {"help": "A text that stands for a missing value; can be repeated.", "multiple": True}),
        (("--encoding",), {"help": "The encoding, such as latin-1."}),
        (("--decimal",), {"help": "The decimal mark, . or , (comma)."}),
        (("--sep",), {"help": "What stands between fields: a character, tab or blank."}),
    ):
        options: dict[str, Any] = {"cls": Option, "group": "Reading text (by default found by looking)", **more}
        command = click.option(*flags, **options)(command)
    return command


def reading_of(values: Mapping[str, Any]) -> "Reading":
    """How text is read, from the values of ``reading_options``; what they leave open is found by looking."""
    from mlp_xp.data import Reading  # imported here: --help must stay fast

    separator = _SEPARATORS.get(values["sep"], values["sep"])
    return Reading(separator, values["decimal"], values["encoding"], values["header"], tuple(values["na"]))


class ColumnName(click.types.StringParamType):
    """The name of a column; a shell completes those of the data that is named before, and ``others``."""

    name = "column"

    def __init__(self, *others: str) -> None:
        self.others = others

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What the help shows."""
        return "COLUMN"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin with ``incomplete``; none where no file is named yet, or it can't be read."""
        try:
            names = (*_columns_named(ctx), *self.others)
        except (LookupError, StopIteration, ValueError, TypeError, OSError, ImportError):
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and name.isprintable()]


_SMALL = 2**24  # bytes that are read while somebody waits for a name


def _columns_named(ctx: click.Context) -> tuple[str, ...]:
    """The columns of the file that a command line names, of which a large one must be text in UTF-8."""
    from mlp_xp.data import Reading, open_data  # imported here: --help must stay fast

    arguments = [each for each in ctx.command.params if isinstance(each, click.Argument)]
    place = next(place for place, each in enumerate(arguments) if isinstance(each.type, DataName))
    # click parses no argument where the last option has no value yet, as --target has, but --target= has
    name = ctx.args[place] if ctx.args else str(ctx.params[str(arguments[place].name)])
    file = Path(name if Path(name).exists() else name.partition("::")[0])
    if not file.is_file():  # but built in, in a folder or from a server
        return ()
    large = file.stat().st_size > _SMALL
    if large and file.suffix.lower() in (".json", ".jsonl", ".ndjson", ".xlsx", ".xlsm", ".arff", ".npy"):
        return ()
    # what is given is not looked for, in all of the file
    known = Reading(decimal=".", encoding="utf-8" if large else None)
    return open_data(name, reading_of(ctx.params).over(known)).columns or ()


# --- the parameters of an estimator ------------------------------------------------------------------------------

_OWNERS = {"classification": ClassifierParameters, "regression": RegressorParameters}
TASKS = tuple(_OWNERS)

SETTINGS = {
    name: entry._replace(default=Listed()(entry.default)) if "array-like" in entry.allowed else entry
    for owner in _OWNERS.values()
    for name, entry in entries_of(owner).items()
    if entry.spelled is not None
}
"""The parameters that are options of ``train``; a default is written as on the command line."""


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``command`` with the options of ``SETTINGS``."""
    for name, entry in reversed(SETTINGS.items()):
        kind, flag = _kind(entry), name.replace("_", "-")
        flags = [f"--{each}" for each in (f"{flag}/--no-{flag}" if kind is bool else flag, entry.also) if each]
        tasks = [task for task, owner in _OWNERS.items() if name in entries_of(owner)]
        text = " ".join(filter(None, (entry.text, entry.spelled, f"({tasks[0]})" if len(tasks) == 1 else "")))
        command = click.option(
            *flags, name, cls=Option, group="Network and learning", type=kind, default=entry.default, help=text
        )(command)
    return command


def _kind(entry: Parameter) -> Any:
    """The type of an option, in click's terms; bool for a flag."""
    match [each for each in entry.allowed if each not in (None, callable, math.inf)]:
        case [Numbers(kind=kind, low=low, high=high, ends=ends)]:
            if kind is int:
                return Whole(low, infinite=math.inf in entry.allowed)
            return Number(low, None if high == math.inf else high, ends[0] == "(", ends[1] == ")")
        case [tuple() as names]:
            return OneOf(*names)
        case [type() as kind]:
            return kind
    return Listed(*(name for each in entry.allowed if type(each) is tuple for name in each))


def estimator_settings(
    values: dict[str, Any], task: str, labels: list[Any], given: Container[str] = ()
) -> dict[str, Any]:
    """The parameters of the estimator for ``task``, from the options, some of them given; ``labels`` are the classes.

    Raises:
        ValueError: for an option of the other task, or a text that has another form than the option's.
    """
    taken = entries_of(_OWNERS[task])
    for name, entry in SETTINGS.items():
        if name not in taken and (name in given or values[name] != entry.default):
            (other,) = {*TASKS} - {task}
            raise ValueError(f"--{name.replace('_', '-')} belongs to a {other}, and this is a {task}: --task decides")
    chosen = {name: values[name] for name in SETTINGS if name in taken}
    chosen["hidden_layer_sizes"] = _widths(values["hidden_layer_sizes"])
    chosen["activation"] = activation_names(values["activation"])
    activations_of(chosen["activation"], len(chosen["hidden_layer_sizes"]))  # raises unless these are activations
    if (size := str(values["batch_size"])) != "auto":
        if not size.isdigit() or int(size) < 1:
            raise ValueError(f"--batch-size must be auto or a positive whole number, got {size!r}")
        chosen["batch_size"] = int(size)
    if "quantile" in chosen:
        levels = numbers_in("quantile", values["quantile"])
        chosen["quantile"] = levels[0] if len(levels) == 1 else levels
    if chosen.get("class_weight") not in (None, "balanced"):
        chosen["class_weight"] = _class_weights(values["class_weight"], labels)
    return chosen


_OF_SKLEARN = re.compile(r"The '(\w+)' parameter of \w+ must be (.*)\. Got (.*) instead\.")


def in_options(text: str) -> str:
    """A sentence about parameters of an estimator, in the names of the options.

    A parameter that is also a word, such as dropout, is taken for one only with its value.

    >>> in_options("folds needs early_stopping=True; increase max_iter")
    'folds needs --early-stopping; increase --max-iter'
    >>> in_options("The 'alpha' parameter of MLPClassifier must be a float in the range [0.0, inf). Got -3.0 instead.")
    '--alpha must be a float in the range [0.0, inf), got -3.0'
    """
    if refused := _OF_SKLEARN.fullmatch(text):
        name, allowed, value = refused.groups()
        return f"--{name.replace('_', '-')} must be {allowed}, got {value}"

    def option(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if name not in SETTINGS or not (value or "_" in name):
            return found[0]
        flag = name.replace("_", "-")
        return {None: f"--{flag}", "True": f"--{flag}", "False": f"--no-{flag}"}.get(value, f"--{flag} {value}")

    return re.sub(r"\b(?P<name>[a-z]\w*)(?:=(?P<value>[\w.'-]*\w))?", option, text)


def numbers_in(name: str, text: str | None) -> tuple[float, ...]:
    """``"0.05, 0.95"`` -> (0.05, 0.95); nothing for None."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise ValueError(f"--{name} must be numbers, comma separated, got {text!r}") from None


def _widths(text: str) -> tuple[int, ...]:
    """``"128,64"`` -> (128, 64); ``""`` and ``"0"`` -> ()."""
    if text.strip() in ("", "0"):
        return ()
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise ValueError(f"--hidden must be positive whole numbers, comma separated, or 0 for no layer, got {text!r}")
    return widths


def _class_weights(text: str, labels: list[Any]) -> dict[Any, float]:
    known = {str(label): label for label in labels}
    weights: dict[Any, float] = {}
    for pair in text.split(","):
        label, equals, weight = pair.rpartition("=")
        if not equals:
            raise ValueError(f"--class-weight must be balanced or CLASS=WEIGHT, comma separated, got {text!r}")
        if label.strip() not in known:
            raise ValueError(f"a class of --class-weight must be {one_of(known, label.strip())}")
        try:
            weights[known[label.strip()]] = float(weight)
        except ValueError:
            raise ValueError(f"--class-weight must give {label} a number, got {weight!r}") from None
    return weights
