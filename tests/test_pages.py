"""What the pages say is so: examples print it, quotations are verbatim, and every file, name and test exists."""

from __future__ import annotations

import pkgutil
import re
import tomllib
import warnings
from textwrap import indent

import pytest
from pages import ROOT, blocks, run_page

import mlp_xp as mx

LEARNERS_PAGE = "mlp_xp/README.md"
PAGES = sorted(str(path.relative_to(ROOT)) for pattern in ("*.md", "mlp_xp/**/*.md") for path in ROOT.glob(pattern))

pytestmark = pytest.mark.only("numpy")


def read(page):
    return ROOT.joinpath(page).read_text()


def test_the_learners_pages_python_prints_what_the_page_says():
    assert len(blocks(LEARNERS_PAGE, "output")) == 5
    run_page(LEARNERS_PAGE)


def test_the_learners_page_quotes_the_way_back():
    quotes = blocks(LEARNERS_PAGE, "python skip")
    assert len(quotes) == 2
    assert [quote for quote in quotes if indent(quote, "    ") not in read("mlp_xp/mlp.py")] == []


def test_every_function_and_test_that_the_learners_page_names_exists():
    functions = set(re.findall(r"`(?:mx|mlp_xp)\.([\w.]+)", read(LEARNERS_PAGE)))
    tests = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", read(LEARNERS_PAGE)))
    assert len(functions) > 25
    assert len(tests) > 35
    for name in functions:
        pkgutil.resolve_name(f"mlp_xp:{name}")
    assert [f"{path}::{name}" for path, name in sorted(tests) if f"\ndef {name}(" not in read(path)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    linked = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", read(page))
    named = re.findall(r"`((?:mlp_xp|tests|scripts)/[\w/.]+)`", read(page))
    assert [target for target in linked if not (ROOT / page).parent.joinpath(target).exists()] == []
    assert [path for path in named if not ROOT.joinpath(path).exists()] == []


def test_every_name_in_the_table_of_changes_works_the_old_ones_too():
    rows = re.findall(r"^\| (`mlp_xp\..*?) \| (`mlp_xp\..*?) \|$", read("CHANGELOG.md"), re.M)
    assert len(rows) >= 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in re.findall(r"`([\w.]+)`", " ".join(f"{old} {new}" for old, new in rows)):
            pkgutil.resolve_name(name)


def test_the_pages_give_the_version_of_the_package():
    assert re.findall(r"^version: (.*)$", read("CITATION.cff"), re.M) == [mx.__version__]
    unreleased, newest = re.findall(r"^## (.*)$", read("CHANGELOG.md"), re.M)[:2]
    assert mx.__version__ == (newest if unreleased == "Unreleased" else unreleased)


def test_on_pypi_every_link_and_picture_of_the_readme_is_found():
    """There the page has no folder; what ``pyproject.toml`` replaces makes each path the address of a file."""
    hook = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    page = read("README.md")
    for each in hook["substitutions"]:
        page = re.sub(each["pattern"], each["replacement"], page)
    site = "mlp-xp/mlp_xp/"
    targets = [(mark, re.sub("#.*", "", target)) for mark, target in re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", page)]
    pictures = [target for mark, target in targets if mark]
    assert len(pictures) == 3
    assert [each for each in pictures if not each.startswith(f"https://raw.githubusercontent.com/{site}main/")] == []
    assert [each for _, each in targets if not each.startswith("https://")] == []
    ours = [each.partition("/main/")[2] for _, each in targets if site in each]
    assert len(ours) > 10
    assert [path for path in ours if not ROOT.joinpath(path).is_file()] == []
