"""The options that several commands share, and what their texts mean."""

from __future__ import annotations

import click

from mlp_xp import optim
from mlp_xp._arguments import Activation
from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.cli._help import Names
from mlp_xp.losses import CRITERIA
from mlp_xp.ops import ACTIVATIONS

ACTIVATION = f"One, or one per hidden layer, comma separated: {', '.join(ACTIVATIONS)}."
OPTIMIZER = f"One of {', '.join(optim.OPTIMIZERS)}."
DTYPE = f"One of {', '.join(DTYPES)}."
DEVICE = "One that `mlp-xp backends` lists; by default the library's own choice."
seed_option = click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Of all that is random.")
ACTIVATION_NAMES, CRITERION_NAMES, DTYPE_NAMES = Names(ACTIVATIONS, several=True), Names(CRITERIA), Names(DTYPES)
BACKEND_NAMES, OPTIMIZER_NAMES = Names(BACKENDS), Names(optim.OPTIMIZERS)
SHOW_DEFAULTS = {"show_default": True}


def activation_names(text: str) -> Activation:
    names = [name.strip() for name in text.split(",")]
    return names if len(names) > 1 else names[0]
