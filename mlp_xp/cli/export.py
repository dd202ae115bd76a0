"""``mlp-xp export``: a model for onnxruntime, and whatever else reads ONNX."""

from __future__ import annotations

import click

from mlp_xp.cli._help import Command
from mlp_xp.cli._options import SHOW_DEFAULTS, force_option
from mlp_xp.cli._output import claimed, with_suffix


@click.command("export", cls=Command, context_settings=SHOW_DEFAULTS, example="export houses.safetensors houses.onnx")
@click.argument("model")
@click.argument("output")
@force_option
def command(model: str, output: str, force: bool) -> None:
    """Write MODEL to OUTPUT, an .onnx file, whose input is the columns as they are: the scales are in its weights.

    It computes in float64, since a scale in the weights would cost float32 its last digits. For example: mlp-xp export
    houses.safetensors houses.onnx
    """
    # what it takes is heavy, and `--help` does without
    from mlp_xp.cli._model import open_model
    from mlp_xp.export import to_onnx

    path = with_suffix(output, ".onnx")
    with claimed(path, force=force):
        opened = open_model(model)
        estimator = opened.estimator
        to_onnx(
            path, *opened.raw_params(), classes=estimator._names_of_classes(), activation=estimator._activations(),
            criterion=estimator._criterion(),
        )  # fmt: skip
    names = opened.recipe.names
    listed = f": {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}" if names else ""
    click.echo(f"wrote {path}, whose input X is (N, {opened.recipe.width}) in float64{listed}")
