"""Which array libraries are usable here, why others are not, and which is fastest.

usable      is a library installed, does it compute, and where: a namespace, a dtype and a device by their names
timing      how long a training step takes on each, in a process of its own
"""

from mlp_xp._lib.moved import renamed
from mlp_xp._lib.namespace import Placement, to_host
from mlp_xp.backends.timing import Choice, Timing, choose, fastest, measure
from mlp_xp.backends.usable import BACKENDS, DTYPES, NARROW_DTYPES, Backend, compiler, installed, load, probe

__all__ = [
    "BACKENDS", "DTYPES", "NARROW_DTYPES", "Backend", "Choice", "Placement", "Timing", "choose", "compiler", "fastest",
    "installed", "load", "measure", "probe", "to_host",
]  # fmt: skip

__getattr__ = renamed(__name__, {"Place": "mlp_xp.backends.Placement"})
