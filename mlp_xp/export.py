"""The network as an ONNX model, for onnxruntime and other programs that run such models.

There is no exporter here: ``forward`` runs on arrays of ndonnx, an array API library that records each operation. What
is exported is what is computed.

Before: ``mlp`` computes. Next: ``estimators`` and ``cli`` export what they trained.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np  # on the host alone: what the model holds

from mlp_xp._lib.arguments import check_callable, check_one_network, check_parameters, check_path, params_on_host
from mlp_xp._lib.files import import_optional, write_whole
from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array, Params
from mlp_xp._lib.version import __version__
from mlp_xp.mlp import Cache, PredictOptions, forward

if TYPE_CHECKING:
    from onnx import ModelProto


def to_onnx(
    path: str | Path | None,
    *params: Array,
    classes: Sequence[Any] | None = None,
    **options: Unpack[PredictOptions],
) -> "ModelProto":
    """The network as an ONNX model, written to ``path`` whole or not at all.

    The model's input ``X`` is (N, d_in), any number of rows, in the dtype of the parameters. For a cross-entropy its
    outputs are ``probabilities``, as from ``predict_proba``, and ``label``, as from ``predict``; otherwise ``output``,
    as from ``predict``, and ``outputs``, as from ``forward``, where a target has several of them.

    Args:
        path: the file; None writes none.
        params: W1, b1, W2, b2, ... of any library.
        classes: the name of each class, numbers or strings; ``label`` then holds names in place of class numbers.
        options: activation and criterion, see ``PredictOptions``.

    Returns:
        The model.

    Raises:
        ValueError: for a network that ONNX can't express, such as one with an op that leaves the array API; for
            several networks at once; for ``classes`` that do not fit; and as ``forward`` does.
        OSError: when it can't be written.
        ModuleNotFoundError: without ndonnx.

    >>> import mlp_xp as mx
    >>> model = mx.export.to_onnx(None, *mx.init_params((4, 8, 3)), classes=["a", "b", "c"])
    >>> [output.name for output in model.graph.output]
    ['probabilities', 'label']
    """
    host = params_on_host(params)
    check_one_network("an ONNX model", host)
    # wrong arguments are refused here, in the words of ``forward``; what fails later fails for ONNX alone
    row = np.zeros((1, *host[0].shape[:1]), dtype=host[0].dtype)
    _, cache = forward(row, *host, **options)
    criterion, names = cache.criterion, None if classes is None else _checked(classes, cache)

    def outputs(X: Array, *params: Array) -> dict[str, Array]:
        made, cache = forward(X, *params, **options)
        k = host[-1].shape[-1]
        if criterion.outputs_per_target > 1:
            return {"output": criterion.prediction(made, k), "outputs": made}
        if not criterion.probabilities:
            return {"output": made}
        xp = namespace(made)
        label = criterion.decision(xp, cache.logits, k)
        return {"probabilities": made, "label": label if names is None else xp.take(xp.asarray(names), label, axis=0)}

    return model_of(path, host, outputs)


def model_of(path: str | Path | None, params: Params, outputs: Callable[..., Mapping[str, Array]]) -> "ModelProto":
    """The ONNX model of a function, written to ``path`` whole or not at all.

    Args:
        path: the file; None writes none.
        params: W1, b1, W2, b2, ... of any library; W1 decides the width and the dtype of the input.
        outputs: ``outputs(X, *params) -> {name: array}``, by functions of the array API alone.

    Returns:
        The model, whose input is ``X`` (N, d_in).

    Raises:
        ValueError: for a function that ONNX can't express.
        TypeError: for an argument that is something else.
        OSError: when it can't be written.
        ModuleNotFoundError: without ndonnx.
    """
    if path is not None:
        check_path("path", path)
    with warnings.catch_warnings():
        # it would fold constants with onnxruntime; there is next to nothing to fold here
        warnings.filterwarnings("ignore", "onnxruntime is not installed")
        ndx, onnx = import_optional("an ONNX model is made with ndonnx: pip install 'mlp_xp[onnx]'", "ndonnx", "onnx")
    host = params_on_host(check_parameters("params", params))
    check_callable("outputs", outputs, "lambda X, *params: {'p': mx.predict_proba(X, *params)}")
    try:
        X = ndx.argument(shape=("N", host[0].shape[-2]), dtype=ndx.from_numpy_dtype(host[0].dtype))
        model: ModelProto = ndx.build({"X": X}, dict(outputs(X, *(ndx.asarray(p) for p in host))))
    except Exception as error:  # an op of the caller's own may raise anything
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        raise ValueError(f"this network can't be put down as ONNX: {reason}") from error
    model.producer_name, model.producer_version = "mlp_xp", __version__
    onnx.helper.set_model_props(model, {"mlp_xp": __version__})
    if path is not None:
        write_whole(path, model.SerializeToString())
    return model


def _checked(classes: Sequence[Any], cache: Cache) -> Any:
    """The names of the classes as an array of numbers or strings, one for each."""
    criterion, d_out = cache.criterion, cache.logits.shape[-1]
    if not criterion.probabilities or criterion.decision(namespace(cache.logits), cache.logits, d_out).ndim != 1:
        raise ValueError(f"classes name what a softmax or a single sigmoid tells apart, got {d_out} outputs of others")
    try:
        names = np.asarray(classes)
    except ValueError:  # lists of several lengths
        names = np.empty((), object)
    if names.ndim == 1 and names.dtype.kind == "O" and all(isinstance(name, str) for name in classes):
        names = names.astype(str)
    if names.dtype.kind not in "biufUT":
        raise TypeError(f"classes must be numbers or strings, got {names.dtype}")
    if names.shape != (max(d_out, 2),):
        raise ValueError(f"classes must have shape ({max(d_out, 2)},), one for each, got {names.shape}")
    return names
