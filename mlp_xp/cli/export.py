"""``mlp-xp export``: a model as ONNX, for onnxruntime and other programs that read ONNX."""

from typing import Any

import click

from mlp_xp._lib.wording import listed
from mlp_xp.cli._help import MODEL, FileName, command_of
from mlp_xp.cli._options import force_option
from mlp_xp.cli._output import Screen, claimed, with_suffix


@command_of("export houses.safetensors houses.onnx", doing="writing {output}")
@click.argument("model", type=MODEL)
@click.argument("output", type=FileName(".onnx"))
@force_option
def command(model: str, output: str, force: bool) -> None:
    """Write MODEL to OUTPUT, an .onnx file that takes the columns as they are and computes in float64.

    For example: mlp-xp export houses.safetensors houses.onnx
    """
    # imported here: --help must stay fast
    import numpy as np

    from mlp_xp._lib.namespace import to_host
    from mlp_xp.cli._model import open_model
    from mlp_xp.export import model_of

    path = with_suffix(output, ".onnx", option="OUTPUT")
    with claimed(path, force=force, inputs=(model,)):
        opened = open_model(model)
        constants: list[Any] = [to_host(each).astype(np.float64) for each in opened.estimator._constants()]
        model_of(path, tuple(constants), opened.estimator._computed)
    names = opened.recipe.names
    columns = f": {listed(names, 8)}" if names else ""
    Screen().say(f"wrote {path}, whose input X is (N, {opened.recipe.width}) in float64{columns}")
