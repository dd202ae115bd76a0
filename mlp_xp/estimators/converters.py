"""The estimators for skl2onnx, which puts a whole pipeline down as ONNX: scaler, encoder and network in one file.

There is no second exporter: the graph that ``to_onnx`` makes of an estimator becomes a function of skl2onnx's model.

Before: ``export`` makes the graph. Needs skl2onnx: ``pip install skl2onnx``.
"""

from typing import Any

from sklearn.base import is_classifier

from mlp_xp._lib.files import import_optional
from mlp_xp.estimators.classifier import MLPClassifier
from mlp_xp.estimators.regressor import MLPRegressor

_DOMAIN = "mlp_xp"  # of the function in the model

_LABELS = {"b": "Boolean", "i": "Int64", "u": "Int64", "f": "Double", "U": "String", "T": "String", "O": "String"}
"""Kind of the dtype of classes -> skl2onnx's type of their names."""


def register_converters() -> None:
    """Let skl2onnx convert ``MLPClassifier`` and ``MLPRegressor``, alone and within pipelines.

    Call it once before ``skl2onnx.to_onnx``. A classifier has the outputs label and probabilities, in skl2onnx's order,
    and takes its options ``zipmap`` and ``output_class_labels``; a regressor has (n, k) numbers, those of
    ``predict``.

    Raises
    ------
    ModuleNotFoundError
        Without skl2onnx.

    Examples
    --------
    >>> from mlp_xp.estimators import register_converters
    >>> register_converters()  # doctest: +SKIP
    >>> model = skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False})  # doctest: +SKIP
    """
    (skl2onnx,) = import_optional("this needs skl2onnx: pip install skl2onnx", "skl2onnx")
    options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [False]}
    for kind in (MLPClassifier, MLPRegressor):
        chosen = options if kind is MLPClassifier else None
        skl2onnx.update_registered_converter(kind, f"{_DOMAIN}{kind.__name__}", _shapes, _convert, options=chosen)


def _shapes(operator: Any) -> None:
    """Declare the types and the shapes of the outputs."""
    from skl2onnx.common import data_types

    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    if len(operator.inputs) != 1:
        raise ValueError(f"{type(model).__name__} takes one input of all features, got {len(operator.inputs)}")
    number = type(data_types.guess_tensor_type(operator.inputs[0].type))  # as skl2onnx has it: doubles for doubles
    if not is_classifier(model):
        operator.outputs[0].set_type(number([rows, _targets(model)]))
        return
    known = model._known()
    label = getattr(data_types, f"{'Int64' if known.multilabel else _LABELS[known.classes.dtype.kind]}TensorType")
    count = len(known.classes)
    operator.outputs[0].set_type(label([rows, count] if known.multilabel else [rows]))
    operator.outputs[1].set_type(number([rows, count]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the graph of the estimator as a function, and a call of it."""
    from skl2onnx.common._apply_operation import apply_cast, apply_reshape
    from skl2onnx.common.data_types import guess_proto_type

    model = operator.raw_operator
    made = model.to_onnx()
    graph, opset = made.graph, max(each.version for each in made.opset_import if each.domain == "")
    if container.target_opset_any_domain("") < opset:
        raise ValueError(f"target_opset must be at least {opset}, got {container.target_opset_any_domain('')}")
    container.node_domain_version_pair_sets.add(("", opset))  # a function is computed by the operators of its caller
    (entry,) = graph.input
    name = scope.get_unique_operator_name(type(model).__name__)
    container.make_local_function(_DOMAIN, name, _function(graph, opset))

    rows = scope.get_unique_variable_name("X")
    apply_cast(scope, operator.inputs[0].full_name, rows, container, to=entry.type.tensor_type.elem_type)
    results = {output.name: scope.get_unique_variable_name(output.name) for output in graph.output}
    container.add_node(name, [rows], list(results.values()), op_domain=_DOMAIN, op_version=1)
    if is_classifier(model):
        wanted = [results["label"], results["probabilities"]]
    else:
        wanted = [scope.get_unique_variable_name("columns")]  # skl2onnx has a column also for a single number
        apply_reshape(scope, results["output"], wanted[0], container, desired_shape=(-1, _targets(model)))
    for output, result in zip(operator.outputs, wanted, strict=True):
        apply_cast(scope, result, output.full_name, container, to=guess_proto_type(output.type))


def _targets(model: Any) -> int:
    """How many numbers a regressor predicts for a row; standard deviations and quantiles are not among them."""
    return int(model.n_outputs_) // int(model._share())


def _function(graph: Any, opset: int) -> Any:
    """The graph in a container of skl2onnx's, for a function of the model."""
    from skl2onnx.common._container import ModelComponentContainer

    class Function(ModelComponentContainer):
        def ensure_topological_order(self) -> None:
            """Leave the nodes as they are: theirs is the order, and skl2onnx overlooks what a subgraph reads."""

    container = Function(opset)
    container.inputs, container.outputs = list(graph.input), list(graph.output)
    container.nodes, container.initializers = list(graph.node), list(graph.initializer)
    container.node_domain_version_pair_sets.add(("", opset))
    return container
