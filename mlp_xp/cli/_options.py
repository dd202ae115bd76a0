"""The options that several commands share, what their texts mean, and those of ``train`` that an estimator takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mlp_xp import optim
from mlp_xp._lib.arguments import one_of
from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.cli._help import Names, Option
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
TASKS, MISSING = ("classification", "regression"), ("refuse", "drop", "fill")
ROWS = 2**14  # at a time, so that data larger than memory is no trouble
WRONG = 1  # the exit status when a gradient is

backend_option = click.option("--backend", type=BACKEND_NAMES, default="numpy", help=f"One of {', '.join(BACKENDS)}.")
device_option = click.option("--device", help=DEVICE)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one record a line, and nothing else.")


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # which in older versions takes no type


def activation_names(text: str) -> str | list[str]:
    names = [name.strip() for name in text.split(",")]
    return names if len(names) > 1 else names[0]


class Listed(_TextType):
    """Texts with commas between; a list in a file of settings becomes such a text."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        if isinstance(value, dict):
            return ",".join(f"{key}={each}" for key, each in value.items())
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class OneOf(Names):
    """One of a few names; the nearest is offered for another."""

    def __init__(self, *names: str) -> None:
        super().__init__(names)
        self.choices = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What the help shows."""
        return f"[{'|'.join(self.choices)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        if value not in self.choices:
            raise ValueError(f"{param.name if param else 'it'} must be {one_of(self.choices, value)}")
        return str(value)


# --- what an estimator takes -------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """An option of ``train`` that is a parameter of ``MLPClassifier`` or ``MLPRegressor``, by its name.

    kind: of its value, as click has it; None for yes or no.
    default: the estimators' own, written as on the command line.
    text: for the help.
    also: another name.
    task: the only one that it belongs to.
    """

    kind: Any
    default: Any
    text: str
    also: str | None = None
    task: str | None = None


_LISTED = Listed()
_LEARNING = "Network and learning"  # the heading in the help

SETTINGS = {
    "hidden_layer_sizes": Setting(
        _LISTED, "100", "Widths of the hidden layers, comma separated; 0 for none.", "hidden"
    ),
    "activation": Setting(_LISTED, "relu", ACTIVATION),
    "solver": Setting(OneOf("adam", "adamw", "sgd", "rmsprop", "lbfgs"), "adam", "The optimizer.", "optimizer"),
    "alpha": Setting(float, 0.0001, "Strength of the penalty on squared weights."),
    "batch_size": Setting(_LISTED, "auto", "Rows in a step; auto: at most 200."),
    "learning_rate": Setting(
        OneOf("constant", "cosine", "invscaling", "adaptive"), "constant", "How the learning rate goes on.", "schedule"
    ),
    "learning_rate_init": Setting(float, 0.001, "The learning rate at first.", "lr"),
    "power_t": Setting(float, 0.5, "The exponent of invscaling."),
    "max_iter": Setting(click.IntRange(1), 200, "Passes over the training rows, at most.", "epochs"),
    "shuffle": Setting(None, True, "Take the rows in another order each time."),
    "tol": Setting(float, 0.0001, "The least improvement that counts."),
    "momentum": Setting(float, 0.9, "Of sgd."),
    "nesterovs_momentum": Setting(None, True, "Whether momentum is Nesterov's."),
    "early_stopping": Setting(None, False, "Watch the validation score, not the loss, and keep the best."),
    "validation_fraction": Setting(float, 0.1, "The share of the training rows on which each epoch is judged."),
    "beta_1": Setting(float, 0.9, "Of adam and adamw."),
    "beta_2": Setting(float, 0.999, "Of adam and adamw."),
    "epsilon": Setting(float, 1e-8, "Of adam, adamw and rmsprop."),
    "n_iter_no_change": Setting(click.IntRange(1), 10, "Epochs without improvement, after which it stops.", "patience"),
    "max_fun": Setting(click.IntRange(1), 15000, "Of lbfgs: evaluations, at most."),
    "dropout": Setting(float, 0.0, "The share of hidden units dropped in each step."),
    "class_weight": Setting(_LISTED, None, "balanced, or CLASS=WEIGHT, comma separated.", None, "classification"),
    "label_smoothing": Setting(float, 0.0, "The share of a target that goes to all classes.", None, "classification"),
    "loss": Setting(OneOf("squared_error", "poisson"), "squared_error", "What is minimised.", None, "regression"),
    "weight_decay": Setting(float, 0.01, "Of adamw."),
    "warmup_steps": Setting(click.IntRange(0), 0, "Steps in which the learning rate rises from 0."),
    "clip_norm": Setting(float, None, "Gradients are scaled down to this norm."),
    "scoring": Setting(str, None, "A scorer of scikit-learn for the validation rows, in place of accuracy or R^2."),
}


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of ``SETTINGS``."""
    for name, setting in reversed(SETTINGS.items()):
        flag = name.replace("_", "-")
        if setting.kind is None:
            made = click.option(
                f"--{flag}/--no-{flag}", name, cls=Option, group=_LEARNING, default=setting.default, help=setting.text
            )
        else:
            names = [f"--{flag}", *([f"--{setting.also}"] if setting.also else []), name]
            task = f" ({setting.task})" if setting.task else ""
            made = click.option(
                *names, cls=Option, group=_LEARNING, type=setting.kind, default=setting.default,
                help=f"{setting.text}{task}",
            )  # fmt: skip
        command = made(command)
    return command


def estimator_settings(values: dict[str, Any], task: str, labels: list[Any]) -> dict[str, Any]:
    """The parameters of the estimator for ``task``, whose classes are ``labels``."""
    chosen: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        value = values[name]
        if setting.task not in (None, task):
            if value != setting.default:
                raise ValueError(f"{name} belongs to a {setting.task}, and this is a {task}")
            continue
        chosen[name] = value
    chosen["hidden_layer_sizes"] = _widths(values["hidden_layer_sizes"])
    names = activation_names(values["activation"])
    for each in [names] if isinstance(names, str) else names:
        if each != "logistic" and each not in ACTIVATIONS:
            raise ValueError(f"activation must be {one_of(ACTIVATIONS, each)}")
    hidden = len(chosen["hidden_layer_sizes"])
    if not isinstance(names, str) and len(names) != hidden:
        raise ValueError(f"activation must be one or one per hidden layer ({hidden}), got {len(names)}")
    chosen["activation"] = names
    if values["batch_size"] != "auto":
        chosen["batch_size"] = _whole("batch_size", values["batch_size"])
    if chosen.get("class_weight") not in (None, "balanced"):
        chosen["class_weight"] = _class_weights(values["class_weight"], labels)
    return chosen


def _widths(text: str) -> tuple[int, ...]:
    """``"128,64"`` -> (128, 64); ``""`` and ``"0"`` -> ()."""
    if text.strip() in ("", "0"):
        return ()
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise ValueError(
            f"hidden_layer_sizes must be positive whole numbers, comma separated, or 0 for no layer, got {text!r}"
        )
    return widths


def _whole(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{name} must be auto or a positive whole number, got {text!r}")
    return int(text)


def _class_weights(text: str, labels: list[Any]) -> dict[Any, float]:
    known = {str(label): label for label in labels}
    weights: dict[Any, float] = {}
    for pair in text.split(","):
        label, equals, weight = pair.rpartition("=")
        if not equals:
            raise ValueError(f"class_weight must be balanced or CLASS=WEIGHT, comma separated, got {text!r}")
        if label.strip() not in known:
            raise ValueError(f"a class of class_weight must be {one_of(known, label.strip())}")
        try:
            weights[known[label.strip()]] = float(weight)
        except ValueError:
            raise ValueError(f"class_weight must give {label} a number, got {weight!r}") from None
    return weights
