"""Names of older versions. Each still works, with a ``DeprecationWarning`` that gives the new name."""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

MODULES = {
    "mlp_xp.recipe": "mlp_xp.data.recipe",
    "mlp_xp.tables": "mlp_xp.data.tables",
    "mlp_xp.gradcheck.adapters": "mlp_xp.gradcheck.forms",
    "mlp_xp.gradcheck.diagnosis": "mlp_xp.gradcheck.explain",
    "mlp_xp.gradcheck.differences": "mlp_xp.gradcheck.entries",
    "mlp_xp.gradcheck.directional": "mlp_xp.gradcheck.slopes",
    "mlp_xp.gradcheck.locate": "mlp_xp.gradcheck.entries",
    "mlp_xp.gradcheck.noise": "mlp_xp.gradcheck.slopes",
    "mlp_xp.gradcheck.probes": "mlp_xp.gradcheck.evidence",
    "mlp_xp.gradcheck.problem": "mlp_xp.gradcheck.local",
    "mlp_xp.gradcheck.sizes": "mlp_xp.gradcheck.arrays",
    "mlp_xp.gradcheck.tree": "mlp_xp.gradcheck.forms",
    "mlp_xp.gradcheck.verdict": "mlp_xp.gradcheck.judge",
    "mlp_xp.gradcheck.weak": "mlp_xp.gradcheck.blind_spots",
}
"""Import path of a module in version 0.1.0 -> the module that has its contents now."""


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``module``. ``names``: old name -> new name, as ``module.name``."""

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name}", names[name])
        home, _, new = names[name].rpartition(".")
        return getattr(import_module(home), new)

    return __getattr__


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)


class _Moved:
    """Import old module names: each is an empty module whose attributes are looked up in the new module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that has moved, else None."""
        return ModuleSpec(fullname, cast(Any, self)) if fullname in MODULES else None

    def create_module(self, spec: ModuleSpec) -> None:
        """None: an empty module, as Python makes it."""

    def exec_module(self, module: ModuleType) -> None:
        """Look up the attributes of ``module`` in the new module."""
        new = MODULES[module.__name__]
        _warn(module.__name__, new)
        vars(module)["__getattr__"] = lambda name: getattr(import_module(new), name)


def install() -> None:
    """Make old module names importable."""
    sys.meta_path.append(_Moved())
