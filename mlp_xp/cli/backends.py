"""``mlp-xp backends``: which array libraries are usable here, and why not."""

from __future__ import annotations

import click

from mlp_xp.backends import BACKENDS, probe
from mlp_xp.cli._screen import make_table, open_console


@click.command("backends")
def command() -> None:
    """List the array libraries: version, devices, and whether a matrix product ran."""
    from rich.markup import escape

    rows = []
    for name in BACKENDS:
        found = probe(name)
        verdict = "[green]usable[/]" if found.usable else f"[yellow]{escape(found.reason or '')}[/]"
        rows.append((name, found.version or "-", ", ".join(found.devices) or "-", verdict))
    open_console().print(make_table("array libraries", ("name", "version", "devices", "usable here"), rows))
