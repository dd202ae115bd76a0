"""``mlp-xp completion``: the script that makes a shell complete the command."""

import click
from click.shell_completion import get_completion_class

from mlp_xp.cli._help import command_of
from mlp_xp.cli._screen import Screen


@command_of(
    "completion bash >> ~/.bashrc",
    "completion zsh >> ~/.zshrc",
    "completion fish > ~/.config/fish/completions/mlp-xp.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and names, in every shell started afterwards.

    For the running shell alone: eval "$(mlp-xp completion bash)".
    """
    complete = get_completion_class(shell)
    assert complete is not None  # click has these three
    script = complete(context.find_root().command, {}, "mlp-xp", "_MLP_XP_COMPLETE")
    Screen().say(script.source_template % script.source_vars())  # source() would ask bash for its version
