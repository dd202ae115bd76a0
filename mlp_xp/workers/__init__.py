"""Workers: a Dask cluster trains one network by ranks inside its workers, on the partitions that they hold.

client  places partitions, starts a task on each worker, and starts again where one is lost
rank    what a worker does as a rank
"""

from mlp_xp.workers.client import dask_train

__all__ = ["dask_train"]
