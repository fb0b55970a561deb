"""What the page on the archive says is so."""

import re
import shlex
from pathlib import Path

import duckdb
import pytest

from stream.commands.records import archive_run, import_history
from tests.archives import put, transactions
from tests.metric_rows import metric_rows, rows_in
from training.archive import SCHEMAS, Kind, open_archive
from training.archive_metrics import ArchiveMetrics

PAGE = (Path(__file__).parents[2] / "docs/archive.md").read_text()


def one_line(program: str) -> str:
    [line] = re.findall(rf"^\| {program} \| `(.*)` \|$", PAGE, re.MULTILINE)
    return str(line)


@pytest.fixture
def archive_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's ``archive``, with two files of one day."""
    archive = open_archive(str(tmp_path / "archive"))
    for offsets in (range(10), range(10, 25)):
        put(archive, transactions(offsets))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("archive_here")
def test_duckdb_reads_it_as_it_is() -> None:
    [(day, count)] = duckdb.sql(one_line("DuckDB")).fetchall()

    assert (str(day), count) == ("2026-01-31", 25)


@pytest.mark.usefixtures("archive_here")
def test_times_leave_duckdb_as_the_page_says() -> None:
    [expression] = re.findall(r"or as `(.*)`\.$", PAGE, re.MULTILINE)
    [first, *_] = duckdb.sql(f"SELECT {expression} FROM read_parquet('archive/*/*/*.parquet') ORDER BY 1").fetchall()  # noqa: S608

    assert str(first[0]).startswith("2026-01-")


@pytest.mark.usefixtures("archive_here")
@pytest.mark.parametrize("program", ["pandas", "polars"])
def test_data_frames_read_it_as_it_is(program: str) -> None:
    module = pytest.importorskip(program)
    frame = eval(one_line({"pandas": "pandas", "polars": "Polars"}[program]), {program: module})  # noqa: S307 - ours

    assert len(frame) == 25
    assert set(SCHEMAS[Kind.TRANSACTIONS].names) | {"date"} == set(frame.columns)


@pytest.mark.parametrize(
    ("topic", "kind"),
    [("transactions", Kind.TRANSACTIONS), ("fraud-labels", Kind.LABELS), ("fraud-scores", Kind.SCORES)],
)
def test_the_page_has_each_column(topic: str, kind: Kind) -> None:
    [common] = re.findall(r"^Every table has (.*);", PAGE, re.MULTILINE)
    [own] = re.findall(rf"^\| `{topic}` \| (.*) \|$", PAGE, re.MULTILINE)

    assert re.findall(r"`(\w+)`", common + own) == SCHEMAS[kind].names


def test_the_page_has_each_metric() -> None:
    assert rows_in(PAGE) == metric_rows(ArchiveMetrics)


def test_the_page_gives_the_defaults_that_are() -> None:
    [rows, age] = re.findall(r"`--max-\w+` \(([\d,]+)\)", PAGE)

    defaults = archive_run.__defaults__ or ()
    assert [int(rows.replace(",", "")), int(age)] == list(defaults[1:])


def test_the_options_of_the_import_are_there() -> None:
    [command] = re.findall(r"^tenfold import .*\\\n.*$", PAGE, re.MULTILINE)
    given = {word for word in shlex.split(command.replace("\\\n", "")) if word.startswith("--")}
    offered = {f"--{name.replace('_', '-')}" for name in import_history.__annotations__} | {"--map"}

    assert given <= offered
