"""A user's own gradient: finds the problem ``FILE.py:NAME`` in the user's file, and checks it.

NAME is ``(f, grad, params)``, or a dict of the arguments of ``gradcheck`` (f, grad, params, names, ...), of
``check_pullback`` (op, args, ...) or of ``check_jvp`` (op, jvp, args, ...), or a function without arguments that
returns one of these.

Every error of the user's code becomes one sentence: what raised it, where in the user's files, its type and message.
"""

import ast
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from mlp_xp._lib.arguments import did_you_mean
from mlp_xp._lib.files import unreadable
from mlp_xp.gradcheck import Report, check_jvp, check_pullback, gradcheck
from mlp_xp.gradcheck.forms import as_jvp, as_op, is_jax_rule


def check_problem(problem: str, **options: Any) -> Report:
    """The report on ``FILE.py:NAME``; ``options`` override those of the problem.

    Raises:
        ValueError: for a file, a name or an object that is no problem, and for every error that the user's code raises.
    """
    file, name = _split(problem)
    path, import_path = Path(file).resolve(), list(sys.path)
    sys.path.insert(0, str(path.parent))  # as if the file were run from there
    try:
        module = _loaded(path, file)
        if not hasattr(module, name):
            raise ValueError(f"{file} has no {name!r}{did_you_mean(name, vars(module))}")
        found = _made(problem, name, getattr(module, name), path.parent)
        check, arguments = _arguments(problem, found)
        theirs = {key: _blamed(key, value, path.parent) for key, value in arguments.items()}
        if check is check_jvp:  # its op returns a value alone
            theirs["op"] = _blame("op", path.parent)(arguments["op"])
        return check(**{**theirs, **options})
    finally:
        sys.path[:] = import_path


def _split(problem: str) -> tuple[str, str]:
    """File and name; raises ``ValueError`` unless the file is there and ends in .py."""
    file, _, name = problem.rpartition(":")
    if not file or not name:
        there = _candidates(Path(file or problem))
        hint = f"; NAME may be {_listed(there)}" if there else ""
        raise ValueError(f"PROBLEM must be FILE.py:NAME, got {problem!r}{hint}")
    path = Path(file)
    if path.suffix != ".py":
        meant = f"; did you mean '{file}.py:{name}'?" if Path(f"{file}.py").is_file() else ""
        raise ValueError(f"PROBLEM must be FILE.py:NAME with a Python file, got {problem!r}{meant}")
    if not path.is_file():
        raise unreadable(file, suffixes=(".py",))
    return file, name


def _made(problem: str, name: str, found: Any, folder: Path) -> Any:
    """The problem itself: ``found``, or its result if it is a function."""
    if not callable(found):
        return found
    try:
        parameters = [*inspect.signature(found).parameters.values()]
    except (TypeError, ValueError):  # some functions written in C have no signature
        parameters = []
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if required:
        raise ValueError(
            f"{problem} must be a problem, or a function without arguments that returns one, "
            f"got a function of {', '.join(required)}"
        )
    return _blame(name, folder)(found)()


def _candidates(path: Path) -> list[str]:
    """Names in a file that look like problems, found in its syntax: nothing is run."""
    try:
        statements = ast.parse(path.read_text(encoding="utf-8")).body if path.suffix == ".py" else []
    except (OSError, SyntaxError, ValueError):
        return []
    names = []
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Tuple(elts=[_, _, _]) | ast.Dict()):
                names.append(name)
            case ast.FunctionDef(name=name, args=ast.arguments(posonlyargs=[], args=[], kwonlyargs=[])):
                names.append(name)
    return names


def _listed(names: Sequence[str]) -> str:
    """``a, b or c``; of many names the first few."""
    *most, last = names if len(names) <= _MOST_NAMES else [*names[:_MOST_NAMES], "others"]
    return f"{', '.join(most)} or {last}" if most else last


_MOST_NAMES = 5


_FIRST = ("f", "grad", "params")  # arguments of ``gradcheck``; all others have defaults

# The key by which a dict of arguments asks for a check, and the arguments that the check must have.
_CHECKS: tuple[tuple[str, Callable[..., Report], tuple[str, ...]], ...] = (
    ("jvp", check_jvp, ("op", "jvp", "args")),
    ("op", check_pullback, ("op", "args")),
    ("", gradcheck, _FIRST),
)
_NO_OPTIONS = {*_FIRST, "op", "jvp", "args", "options"}


def _arguments(problem: str, found: Any) -> tuple[Callable[..., Report], dict[str, Any]]:
    """The check that a problem asks for, and its arguments by name."""
    if isinstance(found, tuple) and len(found) == 3:
        return gradcheck, dict(zip(_FIRST, found, strict=True))
    if not isinstance(found, Mapping):
        came = f"a tuple of {len(found)}" if isinstance(found, tuple) else f"{type(found).__name__}"
        raise ValueError(
            f"{problem} must be (f, grad, params), a dict of the arguments of gradcheck or of check_pullback, "
            f"or a function without arguments that returns one, got {came}"
        )
    check, needed = next((check, names) for key, check, names in _CHECKS if key in found or not key)
    # all checks take the options of gradcheck
    known = (*needed, *{*inspect.signature(gradcheck).parameters, *inspect.signature(check).parameters} - _NO_OPTIONS)
    for key in found:
        if key not in known:
            meant = did_you_mean(key, known)
            raise ValueError(f"{problem} has {key!r}, which is no argument of {check.__name__}{meant}")
    for key in needed:
        if key not in found:
            raise ValueError(f"{problem} lacks {key!r}, an argument of {check.__name__}")
    arguments = dict(found)
    if check is check_jvp and arguments["jvp"] is None:
        arguments["op"], arguments["jvp"] = as_jvp(arguments["op"])
    if check is check_pullback and is_jax_rule(arguments["op"]):
        arguments.setdefault("wirtinger", "plain")  # what stands around it below hides whose it is
    return check, arguments


def _loaded(path: Path, shown: str) -> ModuleType:
    # the name hides no module that the file may import, and dataclasses find their module in sys.modules
    spec: Any = spec_from_file_location(f"mlp_xp problem {path.stem}", path)  # not None: the file ends in .py
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{shown} can't be imported: {_sentence(error, path.parent)}") from error
    return module


# --- errors of the user's code ------------------------------------------------------------------------------------


@contextmanager
def _blame(name: str, folder: Path) -> Iterator[None]:
    """An error inside becomes a sentence about ``name``. Every such context manager is a decorator too."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{name} raised {_sentence(error, folder)}") from error


def _blamed(key: str, value: Any, folder: Path) -> Any:
    """An argument that is named by its errors, if it is a function; any other argument as it is."""
    if key == "hypotheses" and isinstance(value, Mapping):
        return {name: _blame(f"hypothesis {name!r}", folder)(wrong) for name, wrong in value.items()}
    if key == "op":
        return _blaming_op(as_op(value), folder)
    return _blame(key, folder)(value) if key in ("f", "grad", "jvp") and callable(value) else value


def _blaming_op(op: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    forward = _blame("op", folder)(op)

    def blaming(*args: Any) -> Any:
        pair = forward(*args)
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not callable(pair[1]):
            raise ValueError(f"op must return (value, pullback), got {type(pair).__name__}")
        return pair[0], _blame("the pullback of op", folder)(pair[1])

    return blaming


def _sentence(error: BaseException, folder: Path) -> str:
    """``ValueError: its first line (problem.py, line 12)``: the place is the innermost one in the user's folder."""
    message = str(error.msg if isinstance(error, SyntaxError) else error).strip().partition("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    places = [(Path(frame.filename), frame.lineno) for frame in frames if Path(frame.filename).parent == folder]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno))
    where = f" ({places[-1][0].name}, line {places[-1][1]})" if places else ""
    return f"{type(error).__name__}{f': {message}' if message else ''}{where}"
