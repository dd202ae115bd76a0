"""``mlp-xp gradcheck``: check a user's own gradient, those of a saved model, or every one of this library.

Next: ``_problem`` finds a user's gradient in a file; ``_checks`` has the other two.
"""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from typing import Any

import click
from click.core import ParameterSource

from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.cli._help import DataName, FileName, Names, Option, command_of, name_option
from mlp_xp.cli._options import DEVICE, seed_option
from mlp_xp.cli._output import Screen
from mlp_xp.cli._process import Status

_OWN: dict[str, Any] = {"cls": Option, "group": "Without PROBLEM"}


@command_of(
    "gradcheck",
    "gradcheck --backend all --dtype float32",
    "gradcheck my_layer.py:problem --full",
    "gradcheck model.safetensors table.csv",
)
@click.argument("problem", type=FileName(".py", ".safetensors"), required=False, metavar="[FILE.py:NAME | MODEL DATA]")
@click.argument("data", type=DataName(), metavar="", required=False)
@click.option("--full", is_flag=True, help="Compare every entry with its own finite difference too: slower.")
@click.option("--allow-inconclusive", is_flag=True, help="Exit with 0 for gradients that can't be resolved, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option(
    "--backend", **_OWN, type=Names(("all", *BACKENDS)), default="numpy", help=f"all, or one of {', '.join(BACKENDS)}."
)
@click.option("--device", **_OWN, help=DEVICE)
@name_option("--dtype", DTYPES, "float64", **_OWN)
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
      {"op": ..., "jvp": ..., ...}   those of mlp_xp.check_jvp
      a function without arguments   that returns one of these

    Or it is a model.safetensors, whose gradients are checked on the first rows of DATA.

    The exit status is 0 when all pass, 1 when one is wrong or can't be resolved, 2 where nothing could be checked.
    """
    if data is not None and not (problem or "").endswith(".safetensors"):
        raise ValueError(f"DATA, {data}, goes with a model, a .safetensors file, got {problem}")
    how: dict[str, Any] = {"seed": seed, "mode": "full" if full else "auto"}
    screen = Screen(as_json)
    # imported here: --help must stay fast
    if problem is None:
        from mlp_xp.cli._checks import check_own, places_of

        reports = check_own(screen, places_of(backend, dtype, device), dtype, **how)
    else:
        if problem.endswith(".safetensors"):
            from mlp_xp.cli._checks import check_model
            from mlp_xp.cli._model import open_model

            if data is None:
                raise ValueError(
                    f"{problem} is checked on rows such as it was trained on: mlp-xp gradcheck {problem} DATA"
                )
            with screen.said_if_long(f"checking {problem} takes long"):
                report = check_model(open_model(problem, backend, device), data, **how)
        else:
            from mlp_xp.cli._problem import check_problem

            own = _overridden(context, how)
            # what the user's code prints is not JSON
            with (
                screen.said_if_long(f"checking {problem} takes long"),
                redirect_stdout(sys.stderr) if as_json else nullcontext(),
            ):
                report = check_problem(problem, **own)
        screen.record(json.loads(report.json()))
        screen.show(report)
        reports = [report]
    allowed = ("pass", "inconclusive") if allow_inconclusive else ("pass",)
    return Status.OK if all(report.verdict in allowed for report in reports) else Status.WRONG_GRADIENT


def _overridden(context: click.Context, how: dict[str, Any]) -> dict[str, Any]:
    """The options in ``how`` that are given and so override those of the problem."""
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    for name in ("backend", "device", "dtype"):
        if name in given:
            raise ValueError(f"--{name} can't go with PROBLEM, which brings its own arrays")
    return {name: how[name] for flag, name in {"seed": "seed", "full": "mode"}.items() if flag in given}
