"""Every argument of every command that names a file: whatever cannot be read or written there is one sentence.

It begins with the path, and comes before anything is learned, computed or written.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import runs
from runs import cli

from mlp_xp._lib.files import unreadable

pytestmark = [
    pytest.mark.only("numpy"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither such links nor pipes in folders"),
]

TRAIN = "train small.npz -o new.safetensors --picture none"
READ = {
    "train DATA": ("train {} -o new.safetensors --picture none", ".csv"),
    "train --config": (f"{TRAIN} --config {{}}", ".toml"),
    "train --resume --checkpoint": (f"{TRAIN} --force --resume --checkpoint {{}}", ".safetensors"),
    "tune DATA": ("tune {} -o new.toml", ".csv"),
    "predict MODEL": ("predict {} small.npz -o new.csv", ".safetensors"),
    "predict DATA": ("predict small.safetensors {} -o new.csv", ".csv"),
    "evaluate MODEL": ("evaluate {} small.npz", ".safetensors"),
    "evaluate DATA": ("evaluate small.safetensors {}", ".csv"),
    "inspect FILE": ("inspect {}", ".csv"),
    "inspect FILE, a model": ("inspect {}", ".safetensors"),
    "export MODEL": ("export {} new.onnx", ".safetensors"),
    "gradcheck MODEL": ("gradcheck {} small.npz", ".safetensors"),
    "gradcheck DATA": ("gradcheck small.safetensors {}", ".csv"),
    "gradcheck PROBLEM": ("gradcheck {}:problem", ".py"),
}
WRITTEN = {
    "train --output": ("train small.npz --picture none -o {}", ".safetensors"),
    "train --picture": ("train small.npz -o new.safetensors --picture {}", ".png"),
    "train --checkpoint": (f"{TRAIN} --checkpoint {{}}", ".safetensors"),
    "train --save-config": (f"{TRAIN} --save-config {{}}", ".toml"),
    "tune --output": ("tune small.npz -o {}", ".toml"),
    "predict --output": ("predict small.safetensors small.npz -o {}", ".csv"),
    "export OUTPUT": ("export small.safetensors {}", ".onnx"),
}
"""An argument -> a command line, and the suffix of the file."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("trained")
    data = made / runs.write_classes(made)
    runs.train_quickly(str(data), "-o", str(made / "small.safetensors"))
    return made


@pytest.fixture
def here(folder: Path, trained: Path) -> Path:
    """A folder with a model and its data, and with what can be no file of a command, below ``bad``."""
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    (folder / "bad").mkdir()
    for suffix in {suffix for _, suffix in (*READ.values(), *WRITTEN.values())}:
        (folder / f"bad/folder{suffix}").mkdir()
        (folder / f"bad/file{suffix}").write_text("x")
        (folder / f"bad/loop{suffix}").symlink_to(f"loop{suffix}")
        (folder / f"bad/nowhere{suffix}").symlink_to(f"../gone/a{suffix}")
        (folder / f"bad/device{suffix}").symlink_to("/dev/null")  # /dev/zero would fill the memory of a test that fails
        os.mkfifo(folder / f"bad/pipe{suffix}")
    return folder


GONE, LOOP = "No such file or directory$", "it is a link that leads back to itself$"
NO_FILE = "can't be read: it is not a file$"
UNREADABLE = {
    "bad/gone/a": GONE,
    "bad/folder": f"({NO_FILE}|must hold train-images-idx3-ubyte and )",
    "bad/loop": f"can't be read: {LOOP}",
    "bad/nowhere": "can't be read: it is a link to ../gone/a.*, which is not there$",
    "bad/pipe": NO_FILE,
    "bad/device": NO_FILE,
    f"bad/{'a' * 300}": "File name too long$",
}
UNWRITABLE = {
    "bad/gone/a": GONE,
    "bad/file.csv/a": "Not a directory$",
    "bad/folder": "must be a file to write, got something else$",
    "bad/loop": LOOP,
    "bad/nowhere": GONE,
    "bad/pipe": "must be a file to write, got something else$",
    "bad/device": "must be a file to write, got something else$",
    f"bad/{'a' * 300}": "File name too long$",
}


def check(line: str, suffix: str, cases: dict[str, str], capsys: pytest.CaptureFixture[str], **changed: str) -> None:
    before = sorted(path.name for path in Path.cwd().iterdir())
    for start, expected in cases.items():
        path = f"{start}{suffix}"
        capsys.readouterr()
        assert cli.main(line.format(path).split()) == 2, path
        printed = capsys.readouterr()
        wanted = f"error: {re.escape(path)} .*{changed.get(start, expected)}"
        assert re.match(wanted, printed.err.rstrip("\n")), (wanted, printed.err)
        assert printed.err.count("\n") == 1
        assert printed.out == "", "nothing is said, let alone learned, before"
    assert sorted(path.name for path in Path.cwd().iterdir()) == before


@pytest.mark.parametrize("argument", READ)
def test_what_cannot_be_read_is_named(argument, here, capsys):
    line, suffix = READ[argument]
    # a checkpoint is written too, so it is looked at as such a file
    check(line, suffix, UNWRITABLE if "--checkpoint" in argument else UNREADABLE, capsys)


@pytest.mark.parametrize("argument", {**READ, **WRITTEN})
def test_a_sentence_about_a_file_with_a_line_break_in_its_name_is_whole(argument, here, capsys):
    line, suffix = {**READ, **WRITTEN}[argument]
    for name in ("gone\n/a", "bad/folder\nb"):
        if "/a" not in name:
            Path(f"{name}{suffix}").mkdir()
        said = runs.refused(capsys, *(word.replace("{}", f"{name}{suffix}") for word in line.split()))
        assert said.startswith(" ".join(f"{name}{suffix} ".split("\n"))), said
        assert re.search("can't be (read|written): |must (be|hold) ", said), said


@pytest.mark.parametrize("argument", WRITTEN)
def test_what_cannot_be_written_is_named(argument, here, capsys):
    line, suffix = WRITTEN[argument]
    check(line, suffix, UNWRITABLE, capsys)


@pytest.mark.parametrize("name", ["", "a\0b"], ids=["empty", "NUL"])
def test_a_name_that_no_file_can_have_is_refused_with_its_argument(name, folder, capsys):
    for argument, (line, suffix) in {**READ, **WRITTEN}.items():
        words = [
            name and f"{name}{suffix}" if "{}" in word else word for word in line.replace("}:problem", "}").split()
        ]
        said = runs.refused(capsys, *words)
        called = argument.split()[-1] if "--" in argument else argument.split()[1].rstrip(",")
        called = "PROBLEM" if argument == "gradcheck MODEL" else called
        assert re.match(f"{called}( / -o)? must name a file, got '.*'$", said), (argument, said)
    assert not [*folder.iterdir()]


@pytest.mark.parametrize(
    "argument", [each for each in (*READ, *WRITTEN) if each != "gradcheck PROBLEM"]
)  # Python opens it
def test_a_file_without_permission_is_named(argument, here, capsys, monkeypatch):
    """The system lets root do everything, so what it says to others is stood in for."""
    line, suffix = {**READ, **WRITTEN}[argument]
    path, usual = f"secret{suffix}", Path.open
    Path(path).write_text("1")

    def refuse(path, *arguments, **options):
        if path.name.startswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path, "rb").read())  # opens by itself from 3.14 on
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).name.startswith("secret"))
    force = ["--force"] if argument in WRITTEN else []
    said = runs.refused(capsys, *line.format(path).split(), *force)
    assert re.match(f"{path} can't be (read: Permission denied|written: it is read-only)$", said), said


def test_a_folder_that_may_not_be_entered_is_named(monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)
    assert str(unreadable("closed/a.csv")) == "closed/a.csv can't be read: Permission denied"


def test_a_table_for_a_model_of_arrays_is_said_to_be_one(here, capsys):
    (here / "a.csv").write_text("a,b\n1,2\n")
    for command in ("evaluate", "gradcheck"):
        said = runs.refused(capsys, command, "small.safetensors", "a.csv")
        assert said.startswith("a.csv must hold arrays, as what the model was trained on did, got a table")
