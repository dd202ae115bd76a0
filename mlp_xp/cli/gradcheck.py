"""``mlp-xp gradcheck``: check somebody's gradient, or every one of this library's own.

Next: ``_problem`` finds theirs; ``_checks`` has ours, and those of a saved model.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import Any, Literal

import click

from mlp_xp.backends import BACKENDS
from mlp_xp.cli._help import Command, Names, Option, Problem
from mlp_xp.cli._options import DEVICE, DTYPE, DTYPE_NAMES, SHOW_DEFAULTS, WRONG, seed_option
from mlp_xp.cli._screen import open_console

_OWN: dict[str, Any] = {"cls": Option, "group": "Without PROBLEM"}


@click.command(
    "gradcheck",
    cls=Command,
    context_settings=SHOW_DEFAULTS,
    example=(
        "gradcheck",
        "gradcheck --backend all --dtype float32",
        "gradcheck my_layer.py:problem --full",
        "gradcheck model.safetensors table.csv",
    ),
)
@click.argument("problem", type=Problem(), required=False, metavar="[FILE.py:NAME | MODEL DATA]")
@click.argument("data", metavar="", required=False)
@click.option("--full", is_flag=True, help="Compare every entry with a difference of its own as well: slower.")
@click.option("--allow-inconclusive", is_flag=True, help="Exit with 0 where nothing can be said, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option(
    "--backend", **_OWN, type=Names(("all", *BACKENDS)), default="numpy", help=f"all, or one of {', '.join(BACKENDS)}."
)
@click.option("--device", **_OWN, help=DEVICE)
@click.option("--dtype", **_OWN, type=DTYPE_NAMES, default="float64", help=DTYPE)
@seed_option
@click.pass_context
def command(
    context: click.Context, problem: str | None, data: str | None, full: bool, allow_inconclusive: bool, as_json: bool,
    backend: str, device: str | None, dtype: str, seed: int,
) -> int:  # fmt: skip
    """Check a gradient of yours, or of a saved model, or without PROBLEM all of this library's own.

    PROBLEM is FILE.py:NAME, and NAME in that file is one of

    \b
      (f, grad, params)              f(*params) -> number, grad(*params) -> tuple
      {"f": f, "grad": grad, ...}    the arguments of mlp_xp.gradcheck
      {"op": op, "args": args, ...}  those of mlp_xp.check_pullback
      a function without arguments   that returns one of these

    Or it is a model.safetensors, whose gradients are checked on the first rows of DATA.

    The exit status is 0 when all pass, 1 when one is wrong or can't be resolved, 2 where nothing could be checked.
    """
    from mlp_xp.cli import _checks  # what it takes is heavy, and `--help` does without

    mode: Literal["auto", "full"] = "full" if full else "auto"
    if data is not None and not (problem or "").endswith(".safetensors"):
        raise ValueError(f"DATA, {data}, goes with a model, a .safetensors file, got {problem}")
    if problem is None:
        reports = _checks.check_own(_checks.places_of(backend, dtype, device), dtype, seed, mode, as_json)
    elif problem.endswith(".safetensors"):
        reports = [_checks.check_model(problem, data, backend, device, seed, mode)]
        click.echo(reports[0].json()) if as_json else open_console().print(reports[0])
    else:
        given = {name for name in context.params if context.get_parameter_source(name) is _COMMAND_LINE}
        for name in ("backend", "device", "dtype"):
            if name in given:
                raise ValueError(f"--{name} can't go with PROBLEM, which brings its own arrays")
        from mlp_xp.cli._problem import check_problem

        options = {"seed": seed} if "seed" in given else {}
        with redirect_stdout(sys.stderr) if as_json else nullcontext():  # what their code prints is no JSON
            report = check_problem(problem, **options, **({"mode": mode} if full else {}))
        if as_json:
            click.echo(report.json())
        else:
            open_console().print(report)
        reports = [report]
    allowed = ("pass", "inconclusive") if allow_inconclusive else ("pass",)
    return 0 if all(report.verdict in allowed for report in reports) else WRONG


_COMMAND_LINE = click.core.ParameterSource.COMMANDLINE
