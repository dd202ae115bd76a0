"""``mlp-xp export``: a model as ONNX, for onnxruntime and other programs that read ONNX."""

import click

from mlp_xp.cli._help import command_of
from mlp_xp.cli._options import force_option
from mlp_xp.cli._output import claimed, with_suffix
from mlp_xp.cli._screen import Screen


@command_of("export houses.safetensors houses.onnx")
@click.argument("model")
@click.argument("output")
@force_option
def command(model: str, output: str, force: bool) -> None:
    """Write MODEL to OUTPUT, an .onnx file that takes the columns as they are: its weights contain the scales.

    It computes in float64, since a scale in the weights would cost float32 its last digits. For example: mlp-xp export
    houses.safetensors houses.onnx
    """
    # imported here: --help must stay fast
    from mlp_xp.cli._model import open_model
    from mlp_xp.export import to_onnx

    path = with_suffix(output, ".onnx")
    with claimed(path, force=force):
        opened = open_model(model)
        estimator = opened.estimator
        to_onnx(
            path, *opened.raw_params(), classes=estimator._names_of_classes(), activation=estimator.activation,
            criterion=estimator._criterion(),
        )  # fmt: skip
    names = opened.recipe.names
    listed = f": {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}" if names else ""
    Screen().say(f"wrote {path}, whose input X is (N, {opened.recipe.width}) in float64{listed}")
