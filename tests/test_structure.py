"""The order of the house: imports point down, the compute path needs no NumPy, functions fit a screen.

``ORDER`` is the only place where the order of the modules is written. It is checked from the import statements of every
module, those inside functions and under ``TYPE_CHECKING`` included. Modules that are imported by a computed name, as
the commands are, are not seen.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import structure

import mlp_xp

pytestmark = pytest.mark.only("numpy")

PACKAGE = Path(mlp_xp.__file__).parent

# lowest first: a module imports only modules that stand before it; a package stands for its __init__.py
_ORDER = """
_lib.version _lib.wording _lib.memory _lib.typing _lib.namespace _lib.arguments _lib.files _lib.parts _lib.moved _lib
ranks dropout ops metrics criterion losses mlp inside curvature per_example optim schedules cost
gradcheck.arrays gradcheck.forms gradcheck.slopes gradcheck.derivatives gradcheck.dual gradcheck.local
gradcheck.contract gradcheck.evidence gradcheck.kinks gradcheck.judge gradcheck.report gradcheck.elsewhere
gradcheck.entries gradcheck.blind_spots gradcheck.factors gradcheck.patterns gradcheck.explain
gradcheck.check gradcheck.products
gradcheck
mistakes
train.source train.dataset train.stream train.scale train.step train.epoch train.members train.evaluate
train.replaying train.compiling train.sharding train.settings train.plan train.results train.divergence train.loop
train
checkpoint workers.rank workers.client workers convert export plots
data.source data.files data.parquet data.arrays data.values data.dialect data.text data.typed data.cells
data.encoding data.tally
data.stores data.columns data.piecewise data.tables data data.target data.recipe
backends.usable backends.timing backends
parameters
estimators.reporting estimators.data estimators.folds estimators.targets estimators.scaling estimators.predictions
estimators.files estimators.transformer estimators.conversion estimators.network estimators.full_batch
estimators.settings estimators.base estimators.classifier estimators.regressor estimators.converters
estimators.displays estimators
cli._process cli._output cli._help cli._options cli._memory cli._model cli._scores cli._score_tables cli._importance
cli._writing cli._columns cli._together cli._prepare cli._run
cli._ending cli._picture cli._survey cli._fit cli._report cli._training cli._tuning cli._checks cli._problem
cli.train cli.tune cli.predict cli.evaluate cli.cost cli.inspect cli.export cli.gradcheck cli.backends
cli.completion cli
pytest_plugin mlp_xp __main__
"""
ORDER = _ORDER.split()


def module_of(path: Path) -> str:
    """``train.loop`` for train/loop.py, ``train`` for train/__init__.py, ``mlp_xp`` for the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "mlp_xp"


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(source: str) -> list[tuple[int, str]]:
    """Line and full name of everything that the import statements of ``source`` name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: an import names its module in full"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def own(name: str) -> str | None:
    """The module of the package that an imported name is in, as in ORDER; None for another library."""
    if name != "mlp_xp" and not name.startswith("mlp_xp."):
        return None
    name = name.removeprefix("mlp_xp").removeprefix(".")
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or "mlp_xp"


def flaws(module: str, source: str) -> list[str]:
    """A sentence for each import that breaks a rule; modules without a place in ORDER are left to their own test."""
    found: list[str] = []
    for line, name in imported(source):
        target = own(name)
        if target is None:
            if module in ("ops", "criterion", "losses", "dropout") and name.partition(".")[0] == "numpy":
                found.append(f"{module}, line {line}, imports {name}: the compute path needs the array API alone")
            continue
        if module.startswith("gradcheck") and not target.startswith(("gradcheck", "_lib")):
            found.append(f"{module}, line {line}, imports {target}: gradcheck imports nothing of mlp_xp but _lib")
        if {module, target} <= set(ORDER) and ORDER.index(target) >= ORDER.index(module):
            found.append(f"{module}, line {line}, imports {target}, which stands above it in ORDER: imports point down")
    return list(dict.fromkeys(found))


def test_every_module_has_its_place_in_the_order():
    without, gone = sorted(set(FILES) - set(ORDER)), sorted(set(ORDER) - set(FILES))
    assert not without, f"{', '.join(without)} must have a place in ORDER"
    assert not gone, f"ORDER has {', '.join(gone)}, of which there is no file"
    assert len(set(ORDER)) == len(ORDER), "ORDER has a module twice"


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    found = flaws(module, FILES[module].read_text("utf-8"))
    assert not found, "\n".join(found)


UP = {
    "at the top": "from mlp_xp.mlp import forward",
    "a module of the package": "from mlp_xp import mlp",
    "a module by its full name": "import mlp_xp.mlp",
    "in a function": "def f():\n    from mlp_xp.mlp import forward",
    "for types alone": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mlp_xp.mlp import forward",
    "the module itself": "from mlp_xp.ops import relu",
    "the package itself": "import mlp_xp",
    "NumPy": "def f():\n    import numpy.random",
}


@pytest.mark.parametrize("source", UP.values(), ids=UP)
def test_an_import_that_points_up_is_seen(source):
    (sentence,) = flaws("ops", source)
    assert sentence.startswith("ops, line ")


def test_gradcheck_may_not_import_its_neighbours():
    (sentence,) = flaws("gradcheck.check", "from mlp_xp.ops import relu")
    assert sentence == "gradcheck.check, line 1, imports ops: gradcheck imports nothing of mlp_xp but _lib"


def test_an_import_that_points_down_is_allowed():
    assert flaws("mlp", "import math\nimport numpy\nfrom mlp_xp._lib.typing import Array\nfrom mlp_xp import ops") == []


BROAD = {
    "gradcheck.contract": "f, grad", "gradcheck.evidence": "grad", "gradcheck.forms": "f", "gradcheck.local": "f",
    "cli._problem": "the caller's file", "export": "an op of the caller's", "train.loop": "what reads rows",
    "train.compiling": "a compiler", "train.replaying": "a compiler", "backends.usable": "an array library",
    "backends.timing": "an array library", "data.typed": "openpyxl, OpenML", "data.stores": "h5py, zarr, codecs",
    "cli": "what nobody foresaw",
}  # fmt: skip
"""A module in which an ``except`` may name no exception -> whose code is run there, which may raise anything."""


def broad(tree: ast.AST) -> list[ast.ExceptHandler]:
    """The handlers of any exception that a program may have."""
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return [each for each in handlers if each.type is None or ast.unparse(each.type) == "Exception"]


def test_an_except_names_its_exception_where_no_code_of_others_is_run():
    """The command's outermost line alone takes what nobody foresaw: else a fault of ours looks like bad input."""
    found = {module: broad(ast.parse(path.read_text("utf-8"))) for module, path in FILES.items()}
    assert {module for module, handlers in found.items() if handlers} == {*BROAD}
    assert len(found["cli"]) == 1


def test_the_network_uses_numpy_for_initial_values_alone():
    tree = ast.parse(FILES["mlp"].read_text("utf-8"))
    (drawing,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "init_params"]
    there, everywhere = (
        [node for node in ast.walk(root) if isinstance(node, ast.Name) and node.id == "np"] for root in (drawing, tree)
    )
    assert len(there) == len(everywhere) > 0


def test_the_body_of_a_function_has_60_lines_at_most():
    long = [body for body in structure.bodies(structure.sources(PACKAGE)) if body.lines > structure.LONG]
    assert not long, "\n".join(f"{function} has a body of {lines} lines" for lines, function in long)


def test_the_length_of_a_body_is_counted_without_signature_and_docstring():
    source = 'def f(\n    x,\n):\n    """A.\n\n    B."""\n    x = 1\n\n    def g():\n        pass\n    return x\n'
    assert structure.bodies({"file.py": source}) == [(5, "file.py:1 f"), (1, "file.py:9 g")]


def test_importing_the_package_imports_no_array_library():
    libraries = ("numpy", "array_api_compat", "scipy", "sklearn", "torch", "jax", "dask", "cupy", "click", "rich")
    program = f"import mlp_xp, sys; print([name for name in {libraries} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=PACKAGE.parent, text=True) == "[]\n"


def test_lines_of_code_are_without_blanks_comments_and_docstrings():
    source = '"""A.\n\nB.\n"""\n\nx = 1  # a comment beside code\n"""Of x."""\n\n'
    source += '# a comment\ndef f():\n    """C."""\n    return (\n        x\n    )\n'
    assert structure.lines_of_code(source) == 5
    lines = structure.lines_by_folder({"ops.py": source, "train/loop.py": source, "train/step.py": "y = 2\n"})
    assert lines == {"mlp_xp": 5, "mlp_xp/train": 6, "in all": 11}


def test_a_function_that_is_called_once_with_many_arguments_is_found():
    source = "def many(a, b, c, d, e, f): ...\ndef few(a): ...\ndef often(a, b, c, d, e, f): ...\n"
    calls = "many(1, 2, 3, d=4, e=5, f=6)\nfew(1)\noften(1, 2, 3, 4, 5, 6)\noften(1, 2, 3, 4, 5, 6)\n"
    assert structure.single_calls({"a.py": source, "b.py": calls}) == [(6, "a.py:1 many")]


def test_the_ways_of_data_function_and_rate_are_measured():
    found = structure.measure(PACKAGE)
    assert 20 < found["X"]["calls"] < 400
    assert 3 < found["X"]["files"] <= found["X"]["changes"] < found["X"]["calls"]
    assert found["f"]["files"] > 5  # all of them in gradcheck and _lib
    assert ["optim.py", "lr"] in [list(each) for each in found["lr"]["way"]]
    assert found["lines"]["in all"] == sum(lines for folder, lines in found["lines"].items() if folder != "in all")
