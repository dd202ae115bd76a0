"""Prove mlp_xp on a GPU in one run of some nine minutes: suites, checker, estimators, step times, launches, MNIST.

    python scripts/gpu_check.py [--seconds 540] [--only smoke suites ...] [--libraries cupy torch jax] [--dry-run]

From the repository root, on a machine with an NVIDIA GPU that has CuPy, PyTorch, JAX and the group ``test``; nothing is
read from a network. ``--wheels`` names a folder of wheels for what the machine lacks, ``--mnist`` one of MNIST's files,
without which scikit-learn's digits stand in. A dry run does the same on the CPU, small.

Method: each section runs in processes of its own, one for each library, ended by a limit. Where only right or wrong is
asked, all sections and libraries run at once; where time is asked, one after the other. ``results.json`` in the folder
``--out`` is written after every section, whole or not at all, so that what was done before a limit is there; beside it
is a log of each suite. What fails is in the summary, the rest goes on. The settings of the card are not touched.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Found: TypeAlias = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
# section -> seconds for each of its processes
LIMITS = {
    "suites": 210, "smoke": 90, "check": 200, "estimators": 120, "command": 90, "memory": 90, "launches": 90,
    "ranks": 60, "precision": 120, "step": 100, "mnist": 50,
}  # fmt: skip
AT_ONCE = ("suites", "smoke", "check", "estimators", "command", "memory", "launches", "ranks")
WORKERS = {"cupy": 4, "torch": 3, "jax": 7}  # the shares of the cores of the suites; JAX compiles what it computes
HOST_ONLY = ("tests/cli", "tests/data", "tests/test_export.py")
DRY_TESTS = ("tests/test_ops.py",)
DISTRIBUTIONS = ("numpy", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax", "array-api-compat", "scikit-learn", "pytest")
_SLOWER = 5.0
LOG_BYTES = 2**20  # of the beginning and of the end of a log


class Run(NamedTuple):
    """What all sections need.

    libraries: whose turn it is.
    environment: variables of the processes.
    out: folder of the results.
    dry: whether on the CPU.
    end: when the run is to be over, as ``time.monotonic`` counts.
    """

    libraries: list[str]
    environment: dict[str, str]
    out: Path
    dry: bool
    end: float

    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    def limit(self, section: str) -> float:
        """Seconds that a section may take; a CPU may be slow."""
        return LIMITS[section] * (_SLOWER if self.dry else 1.0)


def environment_of(options: argparse.Namespace, site: Path) -> dict[str, str]:
    """The variables of the processes: this repository and the wheels come first; each library's own caches stay."""
    for wheel in sorted(options.wheels.glob("*.whl")) if options.wheels else ():
        # one by one: a wheel for another Python keeps none of the others out
        install = ["install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade", "--target", str(site)]
        subprocess.run([sys.executable, "-m", "pip", *install, str(wheel)], check=False, timeout=120)
    entry = site / "mlp_xp-0.dist-info"  # pytest finds the plugin by it where the package is not installed
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: mlp_xp\nVersion: 0\n")
    (entry / "entry_points.txt").write_text("[pytest11]\nmlp_xp = mlp_xp.pytest_plugin\n")
    path = [str(ROOT), str(ROOT / "scripts"), str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    mnist = {"GPU_CHECK_MNIST": str(options.mnist.resolve())} if options.mnist else {}
    jax = {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # it would take three quarters of a card that others are using
        "JAX_COMPILATION_CACHE_DIR": str(site / "jax"),  # what one worker has compiled the others need not
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return {**os.environ, **mnist, **jax, "PYTHONPATH": os.pathsep.join(path)}


# --- sections ----------------------------------------------------------------------------------------------------


def machine(dry: bool) -> Found:
    """The machine, and the versions of what is installed."""
    found: Found = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "ok": True,
    }
    installed = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    found["versions"] = {name: installed.get(name) for name in DISTRIBUTIONS}
    if not dry:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            found["gpu"] = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            found |= {"ok": False, "error": f"no NVIDIA driver answers: {error}"}
    return found


def suite(run: Run, library: str) -> Found:
    """The whole suite on a library."""
    limit = min(run.limit("suites"), run.left() - 15.0)
    return _ended(run, library, _suite(run, library), time.monotonic() + limit)


def _suite(run: Run, library: str) -> subprocess.Popen[bytes]:
    device = {} if run.dry else {"torch": "cuda", "jax": "gpu"}
    where = ["--device", device[library]] if library in device else []
    tests = DRY_TESTS if run.dry else [f"--ignore={path}" for path in HOST_ONLY]
    warnings = [f"-Wdefault::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")]
    plugins = ["-p", "no:cacheprovider", "-p", "no:benchmark"]  # the second warns where tests run side by side
    options = ["-v", *plugins, "--backend", library, *where, "--tb=short", "-rfE", *warnings]
    share = WORKERS[library] / sum(WORKERS[each] for each in run.libraries)
    parallel = ["-n", "1" if run.dry else str(max(1, int((os.cpu_count() or 1) * share)))]
    command = [sys.executable, "-m", "pytest", *options, *parallel, *tests]
    with (run.out / f"suite-{library}.log").open("wb") as log:
        return subprocess.Popen(command, env=run.environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)


def _ended(run: Run, library: str, process: subprocess.Popen[bytes], end: float) -> Found:
    """Wait for a suite until the limit, and read its log."""
    code: int | str
    try:
        code = process.wait(max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = "limit"
        process.send_signal(signal.SIGINT)  # pytest then says what has failed so far
        try:
            process.wait(12)
        except subprocess.TimeoutExpired:
            process.kill()
    path = run.out / f"suite-{library}.log"
    text = path.read_text(errors="replace")
    if len(text) > 2 * LOG_BYTES:
        path.write_text(f"{text[:LOG_BYTES]}\n...\n{text[-LOG_BYTES:]}")
    lines = text.strip().splitlines() or [""]
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"code": code, "last": lines[-1][-200:], "failed": failures[:60], "ok": code == 0}


def apart(run: Run, section: str, library: str) -> Found:
    """A section on one library, in a process of its own: what it found, or why it found nothing."""
    limit, began = min(run.limit(section), run.left() - 3.0), time.monotonic()
    if limit < 5.0:
        return {"ok": False, "error": "no time was left"}
    arguments = [section, library, *(["--dry-run"] if run.dry else [])]
    command = [sys.executable, str(Path(__file__).resolve()), "--section", *arguments]
    try:
        ended = subprocess.run(command, env=run.environment, capture_output=True, text=True, timeout=limit, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {"ok": False, "error": f"longer than {limit:.0f} s"}
    took = {"seconds": round(time.monotonic() - began, 1)}
    answers = [line for line in ended.stdout.splitlines() if line.startswith('{"')]
    if not answers:
        return {"ok": False, "error": ended.stderr[-1500:] or f"its process ended with {ended.returncode}", **took}
    return {**json.loads(answers[-1]), **took}


def answer(section: str, library: str, dry: bool) -> None:
    """Print what a section found, and end at once: a library that hangs at its end loses nothing."""
    from gpu_memory import memory
    from gpu_precision import precision
    from gpu_sections import SECTIONS

    sections = {**SECTIONS, "memory": memory, "precision": precision}
    print(json.dumps(sections[section](library, dry), default=str), flush=True)
    for child in multiprocessing.active_children():  # a store of CuPy's ranks would keep the pipe open
        child.kill()
    os._exit(0)


def found_in(run: Run, section: str, library: str) -> Found:
    """What a section found on a library."""
    return suite(run, library) if section == "suites" else apart(run, section, library)


def found_by(run: Run, sections: list[str]) -> Iterator[tuple[str, str, Found]]:
    """Section, library and what was found: first of those that run at once, as they end, then of the others."""
    tasks = [(section, library) for section in sections if section in AT_ONCE for library in run.libraries]
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        running = {pool.submit(found_in, run, *task): task for task in tasks}
        for done in as_completed(running):
            yield (*running[done], done.result())
    for section in sections:
        if section not in AT_ONCE:
            for library in run.libraries:
                yield section, library, found_in(run, section, library)


# --- what is said ------------------------------------------------------------------------------------------------


def summary(results: Found) -> list[str]:
    """A line for each section and library, then the rows of those that measure."""
    lines = []
    for section, by_library in results.items():
        for library, found in by_library.items():
            word, note = "ok" if found["ok"] else "FAIL", found.get("last", found.get("error", ""))
            lines.append(f"{section:12}{library:8}{word:5}{found.get('seconds', '')!s:6}{str(note)[-150:]}")
    for section in ("step", "launches", "check"):
        for library, found in results.get(section, {}).items():
            rows = found.get("rows", ())
            named = rows.items() if isinstance(rows, dict) else ((row["size"], row) for row in rows)
            lines += [f"{library:8}{section:10}{name!s:30}{_cells(row)}" for name, row in named]
    for library, found in results.get("mnist", {}).items():
        if "curve" in found:
            lines.append(
                f"{library:8}{found['sizes']}: {found['curve'][-1]} (s, accuracy), epoch {found['epoch_s']:.3f} s"
            )
    return lines


def _cells(row: Found) -> str:
    """The measured cells of a row."""
    cells = [
        f"{name} {each.get('ms', 'FAIL'):.4g} ms"
        for name, each in row.items()
        if isinstance(each, dict) and "ms" in each
    ]
    cells += [f"{name} FAIL" for name, each in row.items() if isinstance(each, dict) and "error" in each]
    counts = ("device_events", "copies", "waits", "verdict", "of_a_wrong_one")
    cells += [f"{name} {row[name]}" for name in counts if name in row]
    return ", ".join(cells)


def write_whole(path: Path, results: Found) -> None:
    """The results as JSON: the file is the old one or the new one, never half of it.

    Not the library's: this process may lack what its children find among the wheels.
    """
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)


def main() -> int:
    """Run the sections that were asked for; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="of the whole run: 540, or 2700 if dry")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), default=list(LIMITS), help="the sections to run")
    parser.add_argument("--libraries", nargs="+", choices=("cupy", "torch", "jax"), help="all three, or two if dry")
    parser.add_argument("--out", type=Path, default=Path("build/gpu_check"), help="folder of the results")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install for this run")
    parser.add_argument("--mnist", type=Path, help="folder of MNIST's four files")
    parser.add_argument("--dry-run", action="store_true", help="the same on the CPU, small")
    parser.add_argument("--section", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.section:
        section, library = options.section
        answer(section, library, options.dry_run)
    for folder in filter(None, (options.wheels, options.mnist)):
        if not folder.is_dir():
            parser.error(f"{folder} must be a folder")
    libraries = options.libraries or (["torch", "jax"] if options.dry_run else ["cupy", "torch", "jax"])
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = options.seconds or (540.0 * (_SLOWER if options.dry_run else 1.0))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as site:
        environment = environment_of(options, Path(site))
        run = Run(libraries, environment, options.out.resolve(), options.dry_run, began + seconds)
        sections = [each for each in LIMITS if each in options.only]
        results: Found = {"environment": {"machine": machine(run.dry)}} | {section: {} for section in sections}
        for section, library, found in found_by(run, sections):
            results[section][library] = found
            write_whole(options.out / "results.json", results)
            print(f"{time.monotonic() - began:6.1f} s  {section} {library}", flush=True)
    print("\n".join(summary(results)))
    print(f"{time.monotonic() - began:.1f} s in all; {options.out / 'results.json'}")
    return int(not all(found["ok"] for by_library in results.values() for found in by_library.values()))


if __name__ == "__main__":
    sys.exit(main())
