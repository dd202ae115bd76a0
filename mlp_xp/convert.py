"""Networks of scikit-learn and PyTorch as parameters and options of this library, and back.

One rule holds for all: what comes out computes what went in, to rounding. ``params, options = from_...(model)`` are
such that ``mx.forward(X, *params, **options)`` gives the model's outputs, and ``to_...(*params, **options)`` gives a
model whose outputs are those of ``mx.forward``. Nothing is shared: training one leaves the other as it is.

Before: ``mlp`` computes. Next: ``estimators`` make whole estimators of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np  # on the host: scikit-learn's arrays

from mlp_xp._lib.arguments import check_batch, check_one_network, check_params, described, one_of, params_on_host
from mlp_xp._lib.files import import_optional
from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array, Params
from mlp_xp.losses import CRITERIA, Criterion, criterion_named
from mlp_xp.mlp import PredictOptions
from mlp_xp.ops import ACTIVATIONS, Activation, activations_of

_SKLEARN = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
"""The activations of scikit-learn's networks: our name -> its name."""

_OUTPUTS = {
    "softmax_cross_entropy": "softmax", "sigmoid_cross_entropy": "logistic", "squared_error": "identity",
    "poisson": "exp",
}  # fmt: skip
"""Criterion -> what scikit-learn calls its outputs."""


# --- scikit-learn ------------------------------------------------------------------------------------------------


def from_sklearn(model: Any) -> tuple[Params, PredictOptions]:
    """The parameters and the options of a fitted ``sklearn.neural_network.MLPClassifier`` or ``MLPRegressor``.

    Args:
        model: fitted. Classes are its ``classes_``; of two classes there is one output, for the second.

    Returns:
        ``(W1, b1, W2, b2, ...)``, NumPy's in the model's dtype, and the options activation and criterion.

    Raises:
        TypeError: for anything else, or a network that was not fitted.

    >>> import numpy as np, mlp_xp as mx
    >>> from sklearn.neural_network import MLPRegressor
    >>> X = np.linspace(0.0, 1.0, 20)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).fit(X, X[:, 0])
    >>> params, options = mx.convert.from_sklearn(model)
    >>> bool(np.allclose(mx.predict(X, *params, **options)[:, 0], model.predict(X)))
    True
    """
    outputs = getattr(model, "out_activation_", None)
    if outputs not in _OUTPUTS.values() or not hasattr(model, "coefs_"):
        raise TypeError(f"model must be a fitted MLPClassifier or MLPRegressor, got {described(model)}")
    params = [np.array(each) for pair in zip(model.coefs_, model.intercepts_, strict=True) for each in pair]
    criterion = next(name for name, theirs in _OUTPUTS.items() if theirs == outputs)
    return tuple(params), PredictOptions(activation=model.activation, criterion=criterion)


def to_sklearn(*params: Array, classes: Sequence[Any] | None = None, **options: Unpack[PredictOptions]) -> Any:
    """A fitted ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn.

    Cross-entropies become a classifier: softmax of several classes, one sigmoid of two, several sigmoids of several
    labels. A softmax of two becomes the sigmoid of the difference, which is the same probability. Squared error and
    Poisson become a regressor.

    Args:
        params: W1, b1, W2, b2, ... of any library.
        classes: the name of each class, sorted, as ``classes_`` is; None for 0, 1, 2, ...
        options: activation, one that scikit-learn has for all layers, and criterion.

    Returns:
        The model, on the host. Its settings of training are scikit-learn's defaults.

    Raises:
        ValueError: for an activation or a criterion that scikit-learn's networks lack, several networks at once, and
            classes that do not fit.
        ModuleNotFoundError: without scikit-learn.

    >>> import numpy as np, mlp_xp as mx
    >>> model = mx.convert.to_sklearn(*mx.init_params((4, 8, 3)), classes=["a", "b", "c"], activation="relu")
    >>> model.predict(np.zeros((1, 4))).tolist()
    ['a']
    """
    (networks,) = import_optional("this needs scikit-learn: pip install 'mlp_xp[sklearn]'", "sklearn.neural_network")
    host, activations, criterion = _checked("scikit-learn", params, options)
    if len({each.name for each in activations}) > 1 or any(each.name not in _SKLEARN for each in activations):
        named = [each.name for each in activations]
        raise ValueError(f"activation must be one of {', '.join(_SKLEARN)} in all layers for scikit-learn, got {named}")
    if criterion.slopes is None:
        criterion = CRITERIA["squared_error"]  # whose outputs are the logits too
    if criterion.name not in _OUTPUTS:
        raise ValueError(f"criterion must be one that scikit-learn's networks have, {one_of(_OUTPUTS, criterion.name)}")
    hidden: dict[str, Any] = {"hidden_layer_sizes": tuple(W.shape[1] for W in host[:-2:2])}
    hidden |= {"activation": _SKLEARN[activations[0].name]} if activations else {}
    if criterion.probabilities:
        host, binarizer = _classes(host, classes, criterion)
        model = networks.MLPClassifier(**hidden)
        model._label_binarizer, model.classes_ = binarizer, binarizer.classes_
    else:
        if classes is not None:
            raise ValueError(f"classes belong to a cross-entropy, got criterion {criterion.name}")
        model = networks.MLPRegressor(loss=criterion.name, **hidden)
    model.coefs_, model.intercepts_ = [*host[::2]], [*host[1::2]]
    model.n_features_in_, model.n_outputs_ = host[0].shape[0], host[-1].shape[0]
    model.n_layers_, model.n_iter_, model.t_ = len(host) // 2 + 1, 0, 0
    several = model.n_outputs_ > 1
    softmax = criterion.name == "softmax_cross_entropy" and several
    model.out_activation_ = "softmax" if softmax else _OUTPUTS[criterion.name].replace("softmax", "logistic")
    return model


def _classes(params: Params, classes: Sequence[Any] | None, criterion: Criterion) -> tuple[Params, Any]:
    """The parameters as scikit-learn has them for these classes, and its binarizer of labels."""
    from sklearn.preprocessing import LabelBinarizer

    *rest, W, b = params
    softmax, d_out = criterion.name == "softmax_cross_entropy", b.shape[0]
    names: Any
    y: Any
    if softmax and d_out == 1:
        raise ValueError("scikit-learn's networks tell two classes apart, or more, got a softmax of one")
    if not softmax and d_out > 1:  # several labels
        names, y = np.arange(d_out), np.eye(d_out, dtype=int)
    else:
        names = y = np.arange(max(d_out, 2))
    if classes is not None:
        given = np.asarray(classes)
        if given.shape != names.shape or (y.ndim == 1 and not np.array_equal(np.unique(given), given)):
            raise ValueError(f"classes must be {len(names)} names in sorted order, got {given.tolist()}")
        y = y if y.ndim > 1 else given
    if softmax and d_out == 2:
        W, b = W[:, 1:] - W[:, :1], b[1:] - b[:1]
    return (*rest, W, b), LabelBinarizer().fit(y)


# --- PyTorch -----------------------------------------------------------------------------------------------------


def _torch() -> Any:
    return import_optional("this needs PyTorch: pip install 'mlp_xp[torch]'", "torch")[0]


# our name -> how PyTorch makes the same function
_MODULES: dict[str, Callable[[Any], Any]] = {
    "identity": lambda nn: nn.Identity(),
    "sigmoid": lambda nn: nn.Sigmoid(),
    "tanh": lambda nn: nn.Tanh(),
    "relu": lambda nn: nn.ReLU(),
    "leaky_relu": lambda nn: nn.LeakyReLU(0.01),
    "elu": lambda nn: nn.ELU(),
    "silu": lambda nn: nn.SiLU(),
    "softplus": lambda nn: nn.Softplus(threshold=100.0),  # from 20 on, the default, it would err by 2e-9
    "gelu": lambda nn: nn.GELU(),
}

# what of a module decides its function, other than the module's kind; ``threshold`` of Softplus is a matter of rounding
_CONSTANTS = ("negative_slope", "alpha", "beta", "approximate")


def from_torch(sequential: Any) -> tuple[Params, PredictOptions]:
    """The parameters and the options of a ``torch.nn.Sequential`` of ``Linear`` layers with activations between.

    A softmax or a sigmoid at its end makes the criterion a cross-entropy, without one the outputs are the logits, and
    the criterion squared error. Name another where you know what the logits are: ``options | {"criterion": ...}``.
    Dropout, which changes no prediction, and a ``Flatten`` before the first layer are left out: dropout is an option of
    training here, and rows are flat. PyTorch's ``Softplus`` is linear above its threshold, ours nowhere.

    Args:
        sequential: the model; a Sequential within it is a part of it.

    Returns:
        ``(W1, b1, W2, b2, ...)``, copies on the model's device and in its dtype, and the options activation and
        criterion.

    Raises:
        ValueError: for a layer that has no counterpart here; the sentence names it.
        TypeError: for anything but a Sequential.
        ModuleNotFoundError: without PyTorch.
    """
    torch = _torch()
    nn = torch.nn
    if not isinstance(sequential, nn.Sequential):
        raise TypeError(f"sequential must be a torch.nn.Sequential, got {type(sequential).__name__}")
    params: list[Array] = []
    names: list[str] = []  # the activation behind each layer, of the last one its outputs
    # a module that stands in two places, as one ReLU for all layers, counts in both
    for path, module in sequential.named_modules(remove_duplicate=False):
        if type(module) is nn.Sequential:
            continue  # what it holds comes next
        if type(module) is nn.Linear:
            weight, bias = module.weight.detach().T.clone(), module.bias
            params += [weight, torch.zeros_like(weight[0]) if bias is None else bias.detach().clone()]
            names.append("identity")
            continue
        left_out = isinstance(module, nn.Dropout | nn.Identity)
        if left_out or (type(module) is nn.Flatten and not params and module.start_dim == 1):
            continue
        name = _name_of(nn, module)
        if name is None or not params or names[-1] != "identity":
            must = "Linear layers with one activation after each, of those that mlp_xp has"
            raise ValueError(f"sequential must have {must}, got {module} as layer {path}")
        names[-1] = name
    outputs = {"softmax": "softmax_cross_entropy", "sigmoid": "sigmoid_cross_entropy", "identity": "squared_error"}
    if not params or names[-1] not in outputs or "softmax" in names[:-1]:
        must = "end with a Linear layer, and a Softmax or a Sigmoid at most after it"
        raise ValueError(f"sequential must {must}, got {names[-1] if names else 'no layer'}")
    hidden: Any = names[0] if len(set(names[:-1])) == 1 else names[:-1]
    return tuple(params), PredictOptions(activation=hidden, criterion=outputs[names[-1]])


def _name_of(nn: Any, module: Any) -> str | None:
    """Our name of a module of PyTorch's, None where we have no such function."""
    if isinstance(module, nn.Softmax):
        return "softmax" if module.dim in (1, -1) else None
    for name, make in _MODULES.items():
        ours = make(nn)
        if type(module) is type(ours) and all(
            getattr(module, constant, None) == getattr(ours, constant, None) for constant in _CONSTANTS
        ):
            return name
    return None


def to_torch(*params: Array, **options: Unpack[PredictOptions]) -> Any:
    """A ``torch.nn.Sequential`` whose outputs are those of ``forward``, ready to train there.

    Softmax and sigmoid stand at its end as modules. PyTorch's losses take logits: with ``criterion="squared_error"``
    the outputs are the logits.

    Args:
        params: W1, b1, W2, b2, ... of any library; tensors of PyTorch keep their device.
        options: activation and criterion.

    Returns:
        The model, in the dtype of the parameters.

    Raises:
        ValueError: for an op of your own, Poisson's exp, which PyTorch has no module for, several networks at once, and
            shapes that do not fit.
        ModuleNotFoundError: without PyTorch.
    """
    torch = _torch()
    nn = torch.nn
    host, activations, criterion = _checked("PyTorch", params, options)
    ends = {"softmax_cross_entropy": [nn.Softmax(dim=-1)], "sigmoid_cross_entropy": [nn.Sigmoid()]}
    if criterion.slopes is not None and criterion.name not in ends:
        cure = "criterion='squared_error' gives its logits"
        raise ValueError(f"PyTorch has no module for the outputs of criterion {criterion.name}; {cure}")
    modules: list[Any] = []
    for position in range(0, len(params), 2):
        modules.append(nn.Linear(*host[position].shape, device="meta"))  # there no random numbers are drawn
        for name, array, ours in zip(("weight", "bias"), host[position:], params[position:], strict=False):
            there = ours.detach().clone() if isinstance(ours, torch.Tensor) else torch.tensor(array)
            setattr(modules[-1], name, nn.Parameter(there.T.contiguous() if name == "weight" else there))
        if position // 2 < len(activations):
            modules.append(_MODULES[activations[position // 2].name](nn))
    return nn.Sequential(*modules, *ends.get(criterion.name, []))


# --- both --------------------------------------------------------------------------------------------------------


def _checked(library: str, params: Params, options: PredictOptions) -> tuple[Params, list[Activation], Criterion]:
    """One network on the host, its activations and its criterion, after all were checked."""
    host = tuple(np.array(param) for param in params_on_host(params))
    check_one_network(f"a model of {library}", host)
    row = np.zeros((1, *host[0].shape[:1]), dtype=host[0].dtype)
    check_batch(namespace(row), row)
    check_params(host, like=row)
    if unknown := set(options) - set(PredictOptions.__annotations__):
        raise TypeError(f"options are {one_of(PredictOptions.__annotations__, min(unknown))}")
    activations = activations_of(options.get("activation", "sigmoid"), len(params) // 2 - 1)
    for each in activations:
        if ACTIVATIONS.get(each.name) is not each:
            raise ValueError(f"{library} has no counterpart of an op of your own, got activation {each.name}")
    return host, activations, criterion_named(options.get("criterion", "softmax_cross_entropy"))
