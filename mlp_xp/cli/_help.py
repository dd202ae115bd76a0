"""How the commands show their help, complete what is typed, and say which name was probably meant.

``command_of`` makes a command; an option under a heading of the help takes ``cls=Option`` and ``group=``.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from mlp_xp.cli._output import Screen

_Function = TypeVar("_Function", bound=Callable[..., Any])


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Option(click.Option):
    """An option under a heading of the help, such as "Network"."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class Command(click.Command):
    """A command whose help groups its options under headings, in the order in which they are given, then has examples.

    examples: command lines without ``mlp-xp``.
    doing: what it does, which is said where that takes long: ``predicting {data}``, with the names of its parameters.
        "" where it says so itself, or never takes long.
    """

    def __init__(self, *args: Any, examples: Sequence[str], doing: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.doing = doing
        self.help = _docstring(self.callback).replace("{data}", DATA_KINDS)
        self.examples = examples

    def invoke(self, context: click.Context) -> Any:
        """Run it."""
        doing = self.doing.format(**context.params)
        with Screen().said_if_long(f"{doing} takes long" if doing else ""):
            return super().invoke(context)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            # arguments are explained by the usage line and the text
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        if "Options" in groups:  # options without a heading, --help among them, come last
            groups["Options"] = groups.pop("Options")
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for example in self.examples:  # as they are: a wrapped line could not be copied
                formatter.write(f"{'':{formatter.current_indent}}mlp-xp {example}\n")


DATA_KINDS = (
    "a table (text such as .csv, or .parquet, .arrow, .json, .xlsx, .sqlite, .arff; also packed), arrays (.npy, .npz, "
    ".h5, .zarr), a folder of IDX or Parquet files, a URL, openml:NAME, - for standard input, or one of digits, iris, "
    "wine, breast_cancer, diabetes"
)
"""What DATA may be, for people; ``data.KINDS`` has all of it, which --help has no time to import."""


def command_of(*examples: str, doing: str = "") -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command, which is called as the first word of its examples; its help shows the defaults.

    ``{data}`` in its docstring becomes what DATA may be; ``doing`` is as in ``Command``.
    """
    name = examples[0].split()[0]

    def made(function: Callable[..., Any]) -> click.Command:
        # its help option is made once: with these names, whichever group or test asks first
        settings = {**_CONTEXT, "show_default": True}
        return click.command(name, cls=Command, examples=examples, doing=doing, context_settings=settings)(function)

    return made


def _docstring(function: Callable[..., Any] | None) -> str:
    """The docstring of a function, also where ``python -OO`` has left it out: then as it stands in the source."""
    if function is None:
        return ""
    if function.__doc__ is not None:
        return inspect.cleandoc(function.__doc__)
    with suppress(OSError):  # there is no source
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        return ast.get_docstring(cast(ast.FunctionDef, tree)) or ""
    return ""


class Group(Command, click.Group):
    """Commands that are imported when they are run.

    modules: the name of a command, which is that of its module in ``mlp_xp.cli`` -> one line of help.
    """

    def __init__(self, *args: Any, modules: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, invoke_without_command=True, context_settings=_CONTEXT, **kwargs)
        self.modules = modules

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.modules:
            return None
        command: click.Command = import_module(f"mlp_xp.cli.{name}").command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = str(args[0])
        if name not in self.modules and not name.startswith("-") and not context.resilient_parsing:
            meant = _did_you_mean(name, self.modules) or f"; the commands are {', '.join(self.modules)}"
            raise click.UsageError(f"No such command {name!r}{meant}", context)
        return super().resolve_command(context, args)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(context, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(list(self.modules.items()))

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [CompletionItem(name, help=text) for name, text in self.modules.items() if name.startswith(incomplete)]
        return items + click.Command.shell_complete(self, context, incomplete)


def sentence(error: click.ClickException) -> str:
    """The message of an error, with what was expected and what came, and the option that was probably meant."""
    if isinstance(error, click.NoSuchOption):
        known = [option for p in error.ctx.command.params for option in p.opts] if error.ctx else []
        return f"No such option '{error.option_name}'{_did_you_mean(error.option_name, [*known, '--help'])}"
    if isinstance(error, click.BadParameter) and (of_number := about_number(error)):
        return of_number
    return error.format_message().removesuffix(".")


def about_number(error: click.BadParameter, name: str = "") -> str:
    """``--max-iter / --epochs must be a whole number of at least 1, got 0``; "" for an error about anything else.

    Args:
        error: what click raised.
        name: what the option is called where it was given, if not on the command line.
    """
    parameter, refused = error.param, _REFUSED.fullmatch(error.message.removesuffix("."))
    if parameter is None or refused is None:
        return ""
    within: Any = parameter.type
    kind = "a whole number" if isinstance(within, click.types.IntParamType) else "a number"
    low, high = getattr(within, "min", None), getattr(within, "max", None)
    at_least = "" if low is None else f"{'above' if within.min_open else 'of at least'} {low}"
    at_most = "" if high is None else f"{'below' if within.max_open else 'at most'} {high}"
    limits = " and ".join(filter(None, (at_least, at_most)))
    allowed = f"{kind} {limits}".rstrip()
    return f"{name or _named(parameter)} must be {allowed}, got {refused['value']}"


def _named(parameter: click.Parameter) -> str:
    """``--output / -o``, or ``SIZES``."""
    return " / ".join(parameter.opts) if isinstance(parameter, click.Option) else str(parameter.name).upper()


_REFUSED = re.compile(r"(?P<value>.*) is not (a valid (float|integer).*|a (whole )?number|in the range .*)")
"""Click's sentences about numbers, and those of ``_options``."""


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    from mlp_xp._lib.arguments import did_you_mean  # imported here: --help must stay fast

    return did_you_mean(name, known)


class Names(click.types.StringParamType):
    """Names that a shell completes. An unknown name is refused by the library, in its own sentence.

    several: whether they may be given comma separated.
    """

    name = "name"

    def __init__(self, names: Iterable[str], several: bool = False) -> None:
        self.names, self.several = names, several

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",") if self.several else ("", "", incomplete)
        return [CompletionItem(f"{before}{comma}{name}") for name in self.names if name.startswith(last)]


class FileName(click.types.StringParamType):
    """The name of a file that ends in one of ``suffixes``; a shell completes those, and folders."""

    name = "file"

    def __init__(self, *suffixes: str) -> None:
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; one that no file can have is refused."""
        name = str(super().convert(value, param, ctx))
        if param is not None and (not name or "\0" in name):
            raise ValueError(f"{_named(param)} must name a file, got {name!r}")
        return name

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem("|".join(self.suffixes), type="file")]


class DataName(FileName):
    """The name of data: a file of a kind that is read, a folder, or data that is built in."""

    name = "data"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from mlp_xp.data import BUILT_IN, TABLES  # imported here: --help must stay fast

        names = [CompletionItem(name) for name in BUILT_IN if name.startswith(incomplete)]
        return [*names, CompletionItem("|".join((*self.suffixes, *TABLES, ".npz")), type="file")]


MODEL = FileName(".safetensors")


def name_option(flag: str, names: Iterable[str], default: str, **more: Any) -> Callable[[_Function], _Function]:
    """An option whose value is one of ``names``, which its help lists."""
    names = tuple(names)
    return click.option(flag, type=Names(names), default=default, help=f"One of {', '.join(names)}.", **more)
