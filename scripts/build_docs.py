"""Build the API reference from the docstrings: ``python scripts/build_docs.py [FOLDER]``, build/docs by default.

pdoc renders every public module. A warning of pdoc's is an error here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import typing
import warnings
from pathlib import Path
from types import ModuleType

import pdoc
import pdoc.render

import mlp_xp

NUMPYDOC = ("mlp_xp.estimators",)  # the other modules' docstrings are in Google's form
IN_DETAIL = ("mlp_xp.data.",)  # packages whose modules have pages; the page of another package has all its public names


def public_modules() -> list[ModuleType]:
    """The package and its public modules, imported, each listed by its parent as pdoc wants it."""
    modules = [mlp_xp]
    for found in pkgutil.walk_packages(mlp_xp.__path__, "mlp_xp."):
        parent, _, name = found.name.rpartition(".")
        if "._" not in found.name and (parent == "mlp_xp" or found.name.startswith(IN_DETAIL)):
            modules.append(importlib.import_module(found.name))
            exported = sys.modules[parent].__all__
            if name not in exported:
                exported.append(name)
    return modules


def prepare(cls: type) -> None:
    """Make a class of named fields readable for pdoc: types instead of strings, and a list of its fields."""
    if "_fields" in vars(cls):  # a NamedTuple: pdoc can't evaluate the strings in __new__
        hints = typing.get_type_hints(cls)
        cls.__new__.__annotations__.update({name: hints[name] for name in vars(cls)["_fields"]})
        for name in vars(cls)["_fields"]:
            vars(cls)[name].__doc__ = ""  # "Alias for field number 0"
    cls.__doc__ = with_attributes(inspect.getdoc(cls) or "")


def with_attributes(doc: str) -> str:
    """A paragraph of lines ``name: text`` as Google's section of attributes."""
    paragraph = re.compile(r"(?:\A|(?<=\n\n))((?:\w+(?:, \w+)*: .+\n?(?: +.+\n?)*)+)(?=\n|\Z)")
    return paragraph.sub(lambda found: "Attributes:\n" + re.sub("^", "    ", found[1].rstrip(), flags=re.M) + "\n", doc)


def main(folder: Path) -> None:
    """Write the reference to ``folder``."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Cannot determine where")  # a TypedDict knows its bases from Python 3.12 on
    modules = public_modules()
    for name in NUMPYDOC:
        vars(sys.modules[name])["__docformat__"] = "numpy"
    for module in modules:
        for cls in {value for value in vars(module).values() if isinstance(value, type)}:
            if cls.__module__.startswith("mlp_xp"):
                prepare(cls)
    version = f"mlp_xp {mlp_xp.__version__}"
    pdoc.render.configure(docformat="google", include_undocumented=False, footer_text=version)
    pdoc.pdoc("mlp_xp", "!mlp_xp.cli.", output_directory=folder)  # mlp-xp --help is the reference of the command
    print(f"{len(modules)} modules in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs"))
