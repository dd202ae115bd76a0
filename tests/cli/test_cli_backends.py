"""``mlp-xp backends``: a row for each device, reasons, and which is fastest."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest
from shell import in_terminal, plain, run

from mlp_xp import backends
from mlp_xp.backends import BACKENDS, Backend, Timing

for name in ("click", "rich"):
    pytest.importorskip(name, reason=f"the command needs {name}, which the extra 'cli' installs")

cli, backends_command = import_module("mlp_xp.cli"), import_module("mlp_xp.cli.backends")

pytestmark = pytest.mark.only("numpy")

CARD = 80 * 10**9


def found(name: str, *arguments: Any, **options: Any) -> tuple[Backend, list[Timing]]:
    """A machine with a graphics card, NumPy, PyTorch, JAX that compiles, and the others missing or broken."""
    devices = {"numpy": ("cpu",), "torch": ("cpu", "cuda:0"), "jax": ("cuda:0",), "array_api_strict": ("CPU_DEVICE",)}
    if name == "cupy":
        return Backend(name, "14.2.0", (), False, "RuntimeError: no device", (), "buy one"), []
    if name in ("dask", "dpnp"):
        return Backend(name, None, (), False, "not installed", (), f"pip install 'mlp_xp[{name}]'"), []
    memory = tuple(CARD if "cuda" in device else None for device in devices[name])
    timings = {
        "numpy": [Timing("numpy", "cpu", 2e-3)],
        "torch": [Timing("torch", "cpu", 3e-3), Timing("torch", "cuda:0", 1e-3)],
        "jax": [Timing("jax", "cuda:0", None, None, "RESOURCE_EXHAUSTED: out of memory")],
        "array_api_strict": [Timing("array_api_strict", "CPU_DEVICE", 1e-4)],
    }
    return Backend(name, "1.0", devices[name], True, None, memory), timings[name]


def test_backends_has_a_row_a_device_and_the_reasons_and_says_which_is_fastest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends_command, "measure", found)
    assert cli.main(["backends", "--n", "64"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "step", "of", "784-256-10", "on", "64", "rows", "in", "float32"] in lines
    assert ["numpy", "1.0", "cpu", "2", "32,000", "-"] in lines
    assert ["torch", "1.0", "cpu", "3", "21,333", "-"] in lines
    assert ["cuda:0,", "80", "GB", "1", "64,000", "-"] in lines
    assert ["jax", "1.0", "cuda:0,", "80", "GB", "-", "-", "-"] in lines
    last = [" ".join(line) for line in lines[-6:]]
    assert last == [
        "cupy: RuntimeError: no device; buy one",
        "jax on cuda:0: RESOURCE_EXHAUSTED: out of memory",
        "dask: not installed; pip install 'mlp_xp[dask]'",
        "dpnp: not installed; pip install 'mlp_xp[dpnp]'",
        "fastest: --backend torch --device cuda:0",
        "a step of 784-256-10 on 64 rows in float32 takes 1 ms with torch on cuda:0, 2 ms with numpy on cpu",
    ]


def test_backends_as_json_says_units_and_what_was_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends_command, "measure", found)
    assert cli.main(["backends", "--json", "--sizes", "4-3"]) == 0
    records = {record["name"]: record for record in map(json.loads, capsys.readouterr().out.splitlines())}
    assert tuple(records) == BACKENDS
    assert records["torch"] == {
        "name": "torch", "version": "1.0", "usable": True, "reason": None, "fix": None,
        "devices": [
            {"name": "cpu", "memory_bytes": None, "step_seconds": 3e-3, "jit_step_seconds": None, "reason": None},
            {"name": "cuda:0", "memory_bytes": CARD, "step_seconds": 1e-3, "jit_step_seconds": None, "reason": None},
        ],
        "step": {"sizes": [4, 3], "n": 128, "dtype": "float32"},
    }  # fmt: skip
    assert records["dask"]["fix"] == "pip install 'mlp_xp[dask]'"
    assert (records["dask"]["devices"], records["dask"]["step"]) == ([], None)


def test_backends_without_probing_lists_what_is_installed() -> None:
    ended = run("backends", "--no-probe")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(BACKENDS)
    assert lines[0].split() == ["numpy", backends.installed("numpy").version]
    records = [json.loads(line) for line in run("backends", "--no-probe", "--json").stdout.splitlines()]
    assert [record["name"] for record in records] == list(BACKENDS)
    assert (records[0]["usable"], records[0]["devices"]) == (None, [])
    for record in records:
        assert record["usable"] is None or (record["reason"] == "not installed" and record["fix"])


def test_backends_in_a_narrow_terminal() -> None:
    lines = plain(in_terminal(80, "backends", "--sizes", "20-8-3", "--n", "16", "--seconds", "0.05"))
    row = next(line.split() for line in lines if line.strip().startswith("numpy"))
    assert row[:3] == ["numpy", backends.installed("numpy").version, "cpu"]
    assert float(row[3]) > 0
    assert any(line.startswith("fastest: --backend ") for line in lines)
    assert all("…" not in line for line in lines if "trying" not in line)  # nothing is cut off


def test_backends_piped_as_it_is() -> None:
    ended = run("backends", "--seconds", "0")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    for name in BACKENDS:
        assert f" {name} " in ended.stdout
    assert "fastest" not in ended.stdout  # nothing was timed
