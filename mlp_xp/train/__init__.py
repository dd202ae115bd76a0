"""Training: read the data, plan an epoch, run its steps, evaluate, record, stop.

source      rows that are read when they are asked for
dataset     the data: checked, divided, taken batch by batch
stream      data that comes in batches, one pass after the other
scale       the loss scale of float16
step        one step: gradients -> combine -> update
epoch       what is yielded and raised
members     what is done for each network of an ensemble
evaluate    the loss and the score on rows that were held out
compiling   what the array library offers to make a step faster; replaying: its launches as one
sharding    JAX: the rows of a batch divided among devices
settings    how a run goes
plan        an epoch before it begins: order, rates, seeds, batches
results     an epoch when its steps are made: losses, scores, records
divergence  why a loss is not finite
loop        train: the epochs
"""

from mlp_xp._lib.moved import renamed
from mlp_xp.train.dataset import Dataset, check_values, is_sparse, rows_of
from mlp_xp.train.epoch import Diverged, Epoch, Interrupted, Record
from mlp_xp.train.loop import run, train
from mlp_xp.train.settings import Settings
from mlp_xp.train.sharding import split
from mlp_xp.train.source import in_blocks
from mlp_xp.train.stream import Stream

__all__ = [
    "Dataset", "Diverged", "Epoch", "Interrupted", "Record", "Settings", "Stream", "check_values",
    "in_blocks", "is_sparse", "rows_of", "run", "split", "train",
]  # fmt: skip

__getattr__ = renamed(__name__, {"judge": "mlp_xp.train.evaluate.evaluate"})
