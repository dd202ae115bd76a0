"""Folders in which the tests run the command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with houses.csv and a model of its districts."""
    import runs

    here = tmp_path_factory.mktemp("model")
    runs.write_table(here)
    before = Path.cwd()
    os.chdir(here)
    runs.train_quickly("houses.csv", "--target", "district", "--max-iter", "50", "--no-early-stopping", "--no-refit")
    os.chdir(before)
    return here
