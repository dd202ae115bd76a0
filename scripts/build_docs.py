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
from textwrap import dedent
from types import FunctionType, ModuleType
from typing import Any

import pdoc
import pdoc.render

import mlp_xp
from mlp_xp._lib.typing import Array, Namespace

IN_DETAIL = ("mlp_xp.data.",)  # packages whose modules have pages; the page of another package has all its public names


def public_modules() -> list[ModuleType]:
    """The package and its public modules, imported, each listed by its parent as pdoc wants it."""
    modules: list[ModuleType] = [mlp_xp]
    for found in pkgutil.walk_packages(mlp_xp.__path__, "mlp_xp."):
        parent, _, name = found.name.rpartition(".")
        if "._" not in found.name and (parent == "mlp_xp" or found.name.startswith(IN_DETAIL)):
            modules.append(importlib.import_module(found.name))
            exported = sys.modules[parent].__all__
            if name not in exported:
                exported.append(name)
    return modules


def prepare_class(cls: type) -> None:
    """Make a class readable: what it inherits, and of named fields the types instead of strings, and a list."""
    for base in cls.__mro__[1:]:
        for name, value in vars(base).items() if base.__module__.startswith("mlp_xp") else ():
            function = value.__func__ if isinstance(value, classmethod) else value
            if isinstance(function, FunctionType) and not name.startswith("_") and name not in vars(cls):
                prepare_function(function)
                setattr(cls, name, value)  # pdoc leaves out what is defined in a module without a page
    names = vars(cls).get("_fields", ())  # of a NamedTuple, whose __new__ has strings that pdoc can't evaluate
    for name, hint in typing.get_type_hints(cls).items() if names else ():
        cls.__new__.__annotations__[name] = hint
    for name in names:
        vars(cls)[name].__doc__ = ""  # "Alias for field number 0"
    cls.__doc__ = with_attributes(inspect.getdoc(cls) or "")


def with_attributes(doc: str) -> str:
    """A paragraph of lines ``name: text`` becomes Google's section of attributes."""
    paragraph = re.compile(r"(?:\A|(?<=\n\n))((?:\w+(?:, \w+)*: .+\n?(?: +.+\n?)*)+)(?=\n|\Z)")
    return paragraph.sub(lambda found: "Attributes:\n" + re.sub("^", "    ", found[1].rstrip(), flags=re.M) + "\n", doc)


def with_table(doc: str) -> str:
    """Lines ``module  what it is`` become a block, in which their columns stay."""
    lines = re.compile(r"(?:^ *\w+ {2,}\S.*(?:\n|\Z))+", re.M)
    return lines.sub(lambda found: f"```text\n{dedent(found[0]).rstrip()}\n```\n", doc)


class _Named:
    """A default value that is shown by a name."""

    def __init__(self, module: ModuleType) -> None:
        self.name = module.__name__

    def __repr__(self) -> str:
        return self.name


def prepare_function(function: FunctionType) -> None:
    """Show a module that is a default, ``xp=numpy``, by its name, not by its path on this machine."""
    defaults = function.__defaults__ or ()
    function.__defaults__ = tuple(_Named(value) if isinstance(value, ModuleType) else value for value in defaults)


def main(folder: Path) -> None:
    """Write the reference to ``folder``."""
    modules = public_modules()
    for module in modules:
        module.__doc__ = with_table(inspect.getdoc(module) or "")
        for value in {id(value): value for value in vars(module).values()}.values():
            if getattr(value, "__module__", "").startswith("mlp_xp"):
                if isinstance(value, type):
                    prepare_class(value)
                elif isinstance(value, FunctionType):
                    prepare_function(value)
    for protocol in (Array, Namespace):
        protocol.__module__ = "builtins"  # shown without its module, which is private
    both: Any = "google numpy"  # the estimators' docstrings are numpydoc, all others in Google's form
    pdoc.render.configure(docformat=both, include_undocumented=False, footer_text=f"mlp_xp {mlp_xp.__version__}")
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Cannot determine where")  # a TypedDict knows its bases from Python 3.12 on
    pdoc.pdoc("mlp_xp", "!mlp_xp.cli.", output_directory=folder)  # mlp-xp --help is the reference of the command
    print(f"{len(modules)} modules in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs"))
