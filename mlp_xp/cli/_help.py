"""How the commands show their help, complete what is typed, and say which name was probably meant.

A command takes ``cls=Command`` and ``example=``; an option of one of its groups takes ``cls=Option`` and ``group=``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Option(click.Option):
    """An option under a heading of the help, such as "Network"."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **{"show_default": True, **kwargs})
        self.group = group


class Command(click.Command):
    """A command whose help has its options under headings, in the order in which they are given, and ends in examples.

    example: one command line, or several, without ``mlp-xp``.
    """

    def __init__(self, *args: Any, example: str | Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = (example,) if isinstance(example, str) else tuple(example)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            # the usage line and the text speak of arguments
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        if "Options" in groups:  # what belongs to no group, --help among it, comes last
            groups["Options"] = groups.pop("Options")
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}mlp-xp {example}\n")
        super().format_epilog(context, formatter)


class Group(click.Group):
    """Commands that are imported when they are run: name -> one line of help; each is a module of ``mlp_xp.cli``."""

    def __init__(self, *args: Any, modules: dict[str, str], example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.modules, self.example = modules, example

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
            meant = _meant(name, self.modules) or f"; the commands are {', '.join(self.modules)}"
            raise click.UsageError(f"No such command {name!r}{meant}", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.modules.items()))

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write(f"{'':{formatter.current_indent}}mlp-xp {self.example}\n")

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [CompletionItem(name, help=text) for name, text in self.modules.items() if name.startswith(incomplete)]
        return items + click.Command.shell_complete(self, context, incomplete)


def sentence(error: click.ClickException) -> str:
    """The message of an error, with the option that was probably meant."""
    if isinstance(error, click.NoSuchOption):
        known = [option for p in error.ctx.command.params for option in p.opts] if error.ctx else []
        return f"No such option '{error.option_name}'{_meant(error.option_name, [*known, '--help'])}"
    return error.format_message().removesuffix(".")


def _meant(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


class Names(click.types.StringParamType):
    """Names that a shell completes. What is none of them is refused by the library, in a sentence of its own.

    several: they may be given comma separated.
    """

    name = "name"

    def __init__(self, names: Iterable[str] | Callable[[], Iterable[str]], several: bool = False) -> None:
        self.names, self.several = names, several

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = self.names() if callable(self.names) else self.names
        before, comma, last = incomplete.rpartition(",") if self.several else ("", "", incomplete)
        return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(last)]


class Problem(click.types.StringParamType):
    """``FILE.py:NAME``, of which a shell completes the file."""

    name = "problem"

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]
