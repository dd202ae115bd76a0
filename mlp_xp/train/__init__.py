"""The training loop."""

from mlp_xp.train.loop import Diverged, Epoch, Interrupted, Record, check_values, is_sparse, judge, rows_of, train

__all__ = ["Diverged", "Epoch", "Interrupted", "Record", "check_values", "is_sparse", "judge", "rows_of", "train"]
