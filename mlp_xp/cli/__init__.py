"""The ``mlp-xp`` command: train a network and use it, check gradients, count what a step costs, list the backends.

Each command is a module of its own name, imported when it is run; ``main`` turns every error into one line. Only the
functions that need NumPy, rich, matplotlib or scikit-learn import them, so that ``--help`` stays fast.

This is the top of the house: it calls the other modules and shows their results.
"""

import sys
from collections.abc import Sequence

try:
    import click
except ModuleNotFoundError:
    print("error: the command needs click: pip install 'mlp_xp[cli]'", file=sys.stderr)
    raise SystemExit(2) from None

from mlp_xp._lib.version import __version__
from mlp_xp.cli import _help
from mlp_xp.cli._output import in_a_line, to_stderr
from mlp_xp.cli._process import Status, on_screen, terminable

_ISSUES = "https://github.com/mlp-xp/mlp_xp/issues"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (those of the process when None) and return its exit status.

    0 when all went well, 1 when a gradient is wrong, 2 for bad input, which is one line on stderr, 70 for a fault of
    this library, 130 for Ctrl-C, 143 for SIGTERM.
    """
    with on_screen() as lost, terminable() as terminated:
        status = _status_of(list(sys.argv[1:] if arguments is None else arguments))
        if status == Status.INTERRUPTED and terminated():
            status = Status.TERMINATED
        if status == Status.OK and (reason := lost()):
            to_stderr(f"error: standard output can't be written: {reason}")
            status = Status.BAD_INPUT
        return status


def _status_of(arguments: list[str]) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows is no option
    debug = "--debug" in arguments[:end]
    try:
        words = [*(word for word in arguments[:end] if word != "--debug"), *arguments[end:]]
        return commands.main(words, prog_name="mlp-xp", standalone_mode=False) or Status.OK
    except (click.Abort, KeyboardInterrupt):
        to_stderr("interrupted")
        return Status.INTERRUPTED
    except click.ClickException as error:
        message = _help.sentence(error)
    except ModuleNotFoundError as error:
        message = str(error)
        if "pip install" not in message:  # ``import_optional`` names the extra by itself
            message = f"the command needs {(error.name or 'more').partition('.')[0]}: pip install 'mlp_xp[cli]'"
    # array libraries raise RuntimeError and MemoryError when a device fails or is full
    except (ValueError, TypeError, OSError, ArithmeticError, RuntimeError, MemoryError) as error:
        message = in_a_line(error)
        _trace(error, debug)
    except Exception as error:  # that nobody has foreseen
        _trace(error, debug)
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        to_stderr(f"error: {' '.join(said.split())}; this is a fault of mlp-xp: please say at {_ISSUES} what "
                  "--debug prints beside the same command")  # fmt: skip
        return Status.FAULT
    to_stderr(f"error: {' '.join(message.split())}")
    return Status.BAD_INPUT


def _trace(error: Exception, debug: bool) -> None:
    """Print where an error came from, where that was asked for."""
    if debug:
        import traceback  # imported here: --help must stay fast

        to_stderr("".join(traceback.format_exception(error)).rstrip())


_MODULES = {
    "train": "Train on a table, on images, or on data that is built in.",
    "tune": "Search settings for a table, and write the best.",
    "predict": "Predict the rows of a table with a saved model.",
    "evaluate": "Score a saved model on rows whose target is known.",
    "inspect": "Show a saved model: network, training, data, versions.",
    "export": "Write a saved model as ONNX.",
    "gradcheck": "Check a gradient of yours, or all of this library's own.",
    "cost": "Count the operations and the memory of a training step.",
    "backends": "List the array libraries, and time a training step on each.",
    "completion": "Print the script that makes a shell complete this command.",
}
"""Name of a command, which is that of its module -> one line of help."""


@click.group(cls=_help.Group, modules=_MODULES, examples=("train houses.csv --target price",))
@click.version_option(__version__)
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error came from.")  # see _status_of
@click.pass_context
def commands(context: click.Context) -> None:
    """A multilayer perceptron with hand-derived gradients, on any array library.

    `mlp-xp COMMAND --help` has the options of a command and an example. The exit status is 0 when all went well, 1 when
    a gradient is wrong or can't be resolved, 2 for bad input, which is one line on stderr, 70 for a fault of mlp-xp,
    130 for Ctrl-C and 143 for SIGTERM.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
