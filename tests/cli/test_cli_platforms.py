"""What some systems lack: the command does its work without it. Windows and macOS are stood in for here."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from mlp_xp._lib import files

memory, output, report = (import_module(f"mlp_xp.cli.{name}") for name in ("_memory", "_output", "_report"))

pytestmark = pytest.mark.only("numpy")


@pytest.fixture
def no_proc(monkeypatch):
    """A system without ``/proc`` and without the files of control groups, as macOS and Windows are."""
    read = Path.read_text

    def read_text(path, *arguments, **more):
        if path.parts[:2] in (("/", "proc"), ("/", "sys")):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", read_text)


def test_without_proc_what_is_free_is_all_that_the_machine_has(no_proc, monkeypatch):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.available() == 4_096_000


def test_where_nothing_says_what_is_free_nothing_is_refused_for_it(no_proc, monkeypatch):
    """On Windows there is neither ``os.sysconf`` nor ``resource``."""
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.available() is None
    memory.check_network((10**6, 10**5, 10), "adam", "float64", 1)


def test_without_resource_the_peak_of_memory_is_not_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert report._peak_memory() == 0


def test_without_posix_fallocate_rows_are_kept_in_a_file(monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    kept = memory.in_file("rows", 3, 2, "float32")
    kept[:] = np.ones((3, 2))
    assert (kept.shape, float(kept.sum())) == ((3, 2), 6.0)


def test_without_fcntl_a_folder_that_cannot_be_flushed_is_no_error(tmp_path, monkeypatch):
    """Windows opens no folder: the file is written, and what a dead writer left is removed."""
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(output, "fcntl", None)
    opened = os.open

    def open_file(path, *arguments, **more):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", open_file)
    tmp_path.joinpath(".a.csv.12.part").touch()
    files.write_whole(tmp_path / "a.csv", b"1\n")
    with output.claimed(tmp_path / "b.csv", force=False):
        tmp_path.joinpath("b.csv").write_bytes(b"2\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_modules_of_posix_alone_are_imported_where_their_absence_is_met():
    """Each ``import`` of one stands in a ``try``."""
    found = []
    for path in Path(files.__file__).parents[1].rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            if line.strip().split()[:2] in [
                ["import", name] for name in ("fcntl", "resource", "termios", "pwd", "grp")
            ]:
                found.append((path.name, before.strip()))
    assert sorted(found) == [(name, "try:") for name in ("_output.py", "_report.py", "files.py", "memory.py")]
