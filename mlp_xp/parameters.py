"""The parameters of ``MLPClassifier`` and ``MLPRegressor``, each written once.

An entry states the default, the allowed values, one line of help and the spelling on the command line. From it follow
``__init__``, the checks and the docstrings of the estimators, and the options of ``mlp-xp train``: a new parameter is
one entry here and the code that uses it. The table is plain data, so that ``--help`` need not import scikit-learn.

Before: ``ops`` names the activations. Next: ``estimators`` and ``cli`` read the table.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from functools import wraps
from inspect import cleandoc
from textwrap import fill, indent
from typing import Any, ClassVar, NamedTuple, dataclass_transform

from mlp_xp._lib.arguments import check_whole, did_you_mean
from mlp_xp.ops import ACTIVATIONS


class Numbers(NamedTuple):
    """The numbers of type ``kind`` from ``low`` to ``high``; ``ends`` says which of these two are allowed."""

    kind: type
    low: int
    high: float = math.inf
    ends: str = "[)"


class Parameter(NamedTuple):
    """An entry of the table.

    text: one line of help, for the docstring and for the command.
    allowed: each a tuple of names, ``Numbers``, a type, a value, ``callable``, or a word of scikit-learn's for a kind.
    default: the value when none is given.
    details: what the docstring adds to ``text``.
    also: the second name of the command's option.
    spelled: how the command's option is written, where that needs words; None where there is no option.
    kw_only: whether ``__init__`` takes it by name only.
    """

    text: str
    allowed: tuple[Any, ...]
    default: Any
    details: str = ""
    also: str = ""
    spelled: str | None = ""
    kw_only: bool = True


def parameter(text: str, *allowed: Any, **options: Any) -> Any:
    """An entry of the table; see ``Parameter``."""
    return Parameter(text, allowed, **options)


@dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(parameter,))
class Parameters:
    """A class with entries in its body. Its ``__init__`` takes them, and those of its bases, and stores them.

    ``{parameters}`` in the docstring of a subclass becomes their documentation.
    """

    _entries: ClassVar[Mapping[str, Parameter]] = {}
    _written: ClassVar[Callable[..., None]] = object.__init__

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._entries = {name: value for name, value in vars(cls).items() if isinstance(value, Parameter)}
        for name, entry in cls._entries.items():
            setattr(cls, name, entry.default)  # also what an object has whose pickle is older than the parameter
        if cls.__init__ is cls._written:  # else a subclass has one of its own
            cls._written = cls.__init__ = _initializer(cls)  # type: ignore[method-assign]
        text = cleandoc(vars(cls).get("__doc__") or "")  # since Python 3.13 the compiler has taken the indent away
        cls.__doc__ = text.replace("{parameters}", documentation(cls)) or None


def entries_of(owner: type[Parameters]) -> dict[str, Parameter]:
    """The parameters of a class, by name, in the order in which ``__init__`` takes them."""
    return {name: entry for base in reversed(owner.__mro__) for name, entry in vars(base).get("_entries", {}).items()}


def _initializer(owner: type[Parameters]) -> Callable[..., None]:
    """``__init__``, as dataclasses write it.

    The class itself must be no dataclass: other libraries know such an object by its fields alone. Dask would give two
    estimators with the same parameters one token, whatever they have learned.
    """
    types = {name: kind for base in owner.__mro__ for name, kind in inspect.get_annotations(base).items()}
    fields = [
        (name, types[name], field(default=entry.default, kw_only=entry.kw_only))
        for name, entry in entries_of(owner).items()
    ]
    written: Any = vars(make_dataclass(owner.__name__, fields))["__init__"]
    written.__module__, written.__qualname__ = owner.__module__, f"{owner.__qualname__}.__init__"
    known = entries_of(owner)
    also = {entry.also: name for name, entry in known.items()}  # what other libraries call it

    @wraps(written)
    def init(self: Any, *args: Any, **options: Any) -> None:
        for name in options.keys() - known.keys():
            meant = f"; did you mean {also[name]!r}?" if name in also else did_you_mean(name, known)
            raise TypeError(f"{init.__qualname__}() got an unexpected keyword argument {name!r}{meant}")
        written(self, *args, **options)

    return init


def documentation(owner: type[Parameters]) -> str:
    """The parameters of a class in numpydoc's form."""
    lines = []
    for name, entry in entries_of(owner).items():
        kinds = sorted((_described(each) for each in entry.allowed), key=lambda kind: kind == "None")
        allowed = " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
        lines.append(f"{name} : {allowed}, default={entry.default!r}")
        lines.append(indent(fill(f"{entry.text} {entry.details}", 108), "    "))
    return "\n".join(lines)


def _described(allowed: Any) -> str:
    """``int in [1, inf)``, ``{'adam', 'sgd'}``, ``callable``, ..."""
    if isinstance(allowed, Numbers):
        return f"{allowed.kind.__name__} in {allowed.ends[0]}{allowed.low}, {allowed.high}{allowed.ends[1]}"
    if isinstance(allowed, tuple):
        return f"{{{', '.join(map(repr, allowed))}}}"
    words = {"random_state": "int, RandomState instance", "verbose": "int or bool"}
    return words.get(allowed, getattr(allowed, "__name__", str(allowed)))


# --- the table ---------------------------------------------------------------------------------------------------

FULL_BATCH = ("lbfgs", "newton-cg")
"""The solvers that take all rows in each iteration."""

_AT_LEAST_0, _POSITIVE, _WHOLE = Numbers(float, 0), Numbers(float, 0, ends="()"), Numbers(int, 1)
_BELOW_1, _FRACTION = Numbers(float, 0, 1), Numbers(float, 0, 1, "[]")


class SharedParameters(Parameters):
    """What both estimators take."""

    hidden_layer_sizes: Any = parameter(
        "Widths of the hidden layers.", "array-like", _WHOLE, default=(100,), kw_only=False, also="hidden",
        details="A number is one layer, ``()`` none.", spelled="Comma separated; 0 for none.",
    )  # fmt: skip
    activation: Any = parameter(
        "Activation of all hidden layers, or one for each.", (*ACTIVATIONS, "logistic"), list, tuple, callable,
        default="relu", kw_only=False, spelled=f"Comma separated: {', '.join(ACTIVATIONS)}.",
        details="A name, or a differentiable op as in ``mlp_xp.ops``. ``'logistic'`` is ``'sigmoid'``.",
    )  # fmt: skip
    solver: str = parameter(
        "Optimizer.",
        ("adam", "adamw", "sgd", "rmsprop", *FULL_BATCH),
        default="adam",
        also="optimizer",
        details="``'lbfgs'`` and ``'newton-cg'`` take all rows in each iteration, for small data: the latter, by "
        "products with the Hessian, where the former needs hundreds of iterations.",
    )  # fmt: skip
    alpha: float = parameter("Strength of the penalty on squared weights.", _AT_LEAST_0, default=0.0001)
    batch_size: Any = parameter("Rows in a step; auto: at most 200.", ("auto",), _WHOLE, default="auto")
    learning_rate: Any = parameter(
        "How the learning rate changes (invscaling and adaptive: sgd only).",
        ("constant", "cosine", "invscaling", "adaptive"), callable, default="constant", also="schedule",
        details="``'cosine'`` falls to 0 at ``max_iter``, which ``partial_fit`` counts over all its calls. A callable "
        "is a schedule as in ``mlp_xp.schedules``.",
    )  # fmt: skip
    learning_rate_init: float = parameter("Learning rate at the start.", _POSITIVE, default=0.001, also="lr")
    power_t: float = parameter("Exponent of invscaling.", _AT_LEAST_0, default=0.5)
    max_iter: int = parameter("Largest number of passes over the training rows.", _WHOLE, default=200, also="epochs")
    shuffle: bool = parameter("Take the rows in a new order in each epoch.", bool, default=True)
    random_state: Any = parameter(
        "Seed of the initial weights, the order of the rows, the validation rows and dropout.", "random_state", None,
        default=None, spelled=None,
    )  # fmt: skip
    tol: float = parameter("Smallest improvement that counts.", _AT_LEAST_0, default=0.0001)
    verbose: Any = parameter("Print the loss of each epoch.", "verbose", default=False, spelled=None)
    warm_start: bool = parameter(
        "Whether ``fit`` starts from what the last ``fit`` learned.", bool, default=False, spelled=None
    )
    momentum: float = parameter("Share of the last update in the next one (sgd).", _FRACTION, default=0.9)
    nesterovs_momentum: bool = parameter("Use Nesterov's momentum (sgd).", bool, default=True)
    early_stopping: bool = parameter(
        "Watch the score on the validation rows, not the training loss, and keep the best.", bool, default=False
    )
    validation_fraction: float = parameter("Share of the training rows held out for validation.", _BELOW_1, default=0.1)
    folds: bool = parameter(
        "Each network of the ensemble holds out a part of its own of the rows (early_stopping).", bool, default=False,
        details="The rows are dealt into as many parts as there are networks, those of each class alike. A network "
        "learns nothing of its part and stops by it, so that the ensemble learns from every row. "
        "``validation_fraction`` is not used. ``folds_`` says which network holds out a row.",
    )  # fmt: skip
    beta_1: float = parameter("Decay rate of the mean of gradients (adam, adamw).", _BELOW_1, default=0.9)
    beta_2: float = parameter("Decay rate of the mean of squared gradients (adam, adamw).", _BELOW_1, default=0.999)
    epsilon: float = parameter(
        "Added to the denominator of the update (adam, adamw, rmsprop).", _POSITIVE, default=1e-8
    )
    n_iter_no_change: float = parameter(
        "Epochs without improvement after which training stops.", _WHOLE, math.inf, default=10, also="patience"
    )
    max_fun: int = parameter("Largest number of evaluations of the loss (lbfgs).", _WHOLE, default=15000)
    dropout: float = parameter("Share of hidden units dropped in each step.", _BELOW_1, default=0.0)
    input_dropout: float = parameter("Share of the inputs dropped in each step.", _BELOW_1, default=0.0)
    ensemble: int = parameter(
        "How many networks learn together, from other initial weights; their predictions are averaged.", _WHOLE,
        default=1, details="They share batches, order and dropout, and each ends where it would alone. With several, "
        "arrays of ``coefs_`` and ``intercepts_`` have a leading axis, and losses and scores are means over the "
        "networks.",
    )  # fmt: skip
    standardise: Any = parameter(
        "Learn from X, and from the y of a regressor, with mean 0 and standard deviation 1.", bool, ("together",),
        default=False, spelled=None,
        details="Both are learned in the first fit, from the training rows by their weights, and kept in ``scaling_``; "
        "``predict`` takes and returns what y and X are in. Losses and weights are those of standardised numbers. A "
        "column of X that holds only 0 and 1, as those of categories do, stays as it is. "
        "``'together'`` takes one mean and one deviation for all columns, as for pixels. A sparse X is divided, not "
        "centred. The y of Poisson, and of a ``criterion`` of your own, stays as it is.",
    )  # fmt: skip
    weight_decay: float = parameter("Decay of the weights apart from the gradient (adamw).", _AT_LEAST_0, default=0.01)
    warmup_steps: int = parameter("Steps in which the learning rate rises from 0.", Numbers(int, 0), default=0)
    accumulate: int = parameter(
        "How many batches make one step, for batches larger than a device (not lbfgs).", _WHOLE, default=1,
        details="The step is, to rounding, that of one batch with all their rows.",
    )  # fmt: skip
    clip_norm: float | None = parameter(
        "Norm to which larger gradients are scaled down.", None, _POSITIVE, default=None
    )
    max_norm: float | None = parameter(
        "Norm to which the incoming weights of a hidden unit are scaled down after each step.", None, _POSITIVE,
        default=None,
    )  # fmt: skip
    criterion: Any = parameter(
        "Loss of your own, ``criterion(logits, targets, weights) -> (loss, pullback)``.", None, callable,
        default=None, spelled=None,
    )  # fmt: skip
    scoring: Any = parameter(
        "What the validation rows are judged by, in place of accuracy or R^2: loss, or a scorer of scikit-learn.", None,
        str, callable, default=None,
        details="``'loss'`` is the loss that is learned, without penalties; as a score, which rises, it is negative.",
    )  # fmt: skip
    check_gradients: bool = parameter(
        "Check the gradients on some rows before training.", bool, default=False, spelled=None,
        details="``gradient_report_`` is the report. Where it fails, ``fit`` raises.",
    )  # fmt: skip
    progress: bool = parameter("Show a progress bar.", bool, default=False, spelled=None)
    compile: Any = parameter(
        "Compile the training step, by what the array library offers; that takes seconds.", None, bool, callable,
        default=None, spelled=None, details="``jax.jit`` or ``torch.compile``; where there is none, or it fails, a "
        "warning says why. Or a compiler of your own, called once in each ``fit``. A saved model does not have it.",
    )  # fmt: skip


class ClassifierParameters(SharedParameters):
    """What ``MLPClassifier`` takes."""

    class_weight: Any = parameter(
        "Weights of the classes.", None, dict, ("balanced",), default=None, spelled="balanced, or CLASS=WEIGHT, comma "
        "separated.", details="A dict class -> weight; ``'balanced'`` weighs a class by the inverse of its frequency.",
    )  # fmt: skip
    label_smoothing: float = parameter("Share of each target that goes to all classes.", _BELOW_1, default=0.0)


class _Loss(Parameters):
    loss: str = parameter(
        "Loss to minimise.", ("squared_error", "poisson", "absolute_error", "huber", "quantile", "gaussian"),
        default="squared_error", kw_only=False,
    )  # fmt: skip


class RegressorParameters(SharedParameters, _Loss):  # ``loss`` comes first: the last base goes before the others
    """What ``MLPRegressor`` takes."""

    quantile: Any = parameter(
        "Level of the quantile, or several levels in ascending order (quantile).", Numbers(float, 0, 1, "()"),
        "array-like", default=0.5, spelled="Comma separated.",
    )  # fmt: skip
    delta: float = parameter(
        "Error beyond which the loss is a straight line, standardised where y is (huber).", _POSITIVE, default=1.0
    )


# --- settings that were chosen together --------------------------------------------------------------------------

_EARLY = {"standardise": True, "early_stopping": True, "scoring": "loss", "batch_size": 32}
_PATIENT = {**_EARLY, "n_iter_no_change": 40, "max_iter": 400}
PRESETS: dict[str, dict[str, Any]] = {
    "small": {**_PATIENT, "ensemble": 5, "folds": True},
    "medium": _PATIENT,
    "large": {**_PATIENT, "batch_size": 200},
    "best": {
        **_EARLY, "n_iter_no_change": 16, "max_iter": 200, "ensemble": 5, "folds": True,
        "hidden_layer_sizes": (256, 256), "dropout": 0.15,
    },
}  # fmt: skip
"""Name -> parameters of both estimators that were chosen together, on real tables (``scripts/presets.py``).

small: five networks, each of which stops early by a part of its own of the rows.
medium: one network that stops early by the loss on validation rows.
large: the same in larger batches.
best: five wider networks with dropout, each of which stops by a part of its own of the rows.
"""

_ROWS_OF_FOLDS = 4 * PRESETS["small"]["ensemble"]  # a part of less says nothing
_SMALL, _LARGE = 1_000, 20_000


def preset_for(rows: int) -> str:
    """The name of the preset for so many rows to learn from: small, medium or large.

    Of fewer than 1,000 rows, fewer than 100 would tell when to stop, which is a lottery. On 37 tables of up to 530 rows
    small ranked before medium and scikit-learn's network (1.5, 2.2 and 3.0 on average), on 14 of up to 3,000 rows too
    (1.4, 2.1 and 2.3), and five networks of so few rows are soon trained. From 20,000 rows on, batches of 200 cost
    nearly nothing in score and less than half of the time.

    >>> [preset_for(rows) for rows in (100, 5_000, 100_000)]
    ['small', 'medium', 'large']
    """
    rows = check_whole("rows", rows, 0)
    if _ROWS_OF_FOLDS <= rows < _SMALL:
        return "small"
    return "large" if rows >= _LARGE else "medium"
