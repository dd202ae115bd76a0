"""The settings of a training run: read from a TOML file, written to one, and as the command line that repeats it."""

import json
import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

import click

from mlp_xp._lib.arguments import one_of
from mlp_xp._lib.version import __version__

NOT_SAVED = ("config", "save_config", "quiet", "as_json", "show", "force", "resume")
"""Options that do not change the result."""

_MOST_LISTED = 8  # in an error


def read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
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
    known = {str(p.name) for p in context.command.params} - set(NOT_SAVED)
    for name in found:
        if name not in known:
            raise ValueError(f"{path}: a setting must be {one_of(known, name, most=_MOST_LISTED)}")
    context.default_map = {**(context.default_map or {}), **found}
    return path


def as_toml(settings: Mapping[str, Any]) -> str:
    """One line a setting, without those that are None; JSON's texts, numbers and lists are TOML's too."""
    lines = [f"# mlp-xp {__version__} train --config THIS_FILE"]
    for name, value in settings.items():
        if value is not None:
            lines.append(f"{name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}")
    return "\n".join(lines) + "\n"


def command_line(command: click.Command, settings: Mapping[str, Any]) -> str:
    """The command line of ``mlp-xp train`` with these settings, without those that have their default."""
    words = ["mlp-xp", "train", settings["data"]]
    for parameter in command.params:
        name = str(parameter.name)
        value = settings.get(name)
        if name != "data" and value not in (None, ()) and value != parameter.default:
            if isinstance(value, bool):
                words += (parameter.opts if value else parameter.secondary_opts)[:1]
            else:
                for each in value if isinstance(value, tuple) else (value,):
                    words += [parameter.opts[0], str(each)]
    return shlex.join(words)
