"""What the pages list is what the code has: settings, metrics, fields, exit codes."""

import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from stream.contract import FraudScore, Transaction
from stream.decode import Reason
from stream.errors import TenfoldError
from stream.metrics import Metrics
from stream.recovery import Cause
from stream.settings import PREFIX, Settings, SettingsError, load
from tests.metric_rows import metric_rows, rows_in
from tests.pages import ROOT, the_block

README, SETTINGS, OPERATIONS, PROTOCOL = (
    (ROOT / page).read_text() for page in ("README.md", "docs/settings.md", "docs/operations.md", "docs/protocol.md")
)


def table_rows(page: str, first: str) -> list[list[str]]:
    """Return the cells of the table rows whose first cell matches."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"
    ]
    return [row for row in rows if re.fullmatch(first, row[0])]


def fields_below(head: str) -> set[str]:
    """Return the fields that the README's table with this head has in its first column."""
    table = README.partition(head)[2].partition("\n\n")[0]
    return {field for row in table_rows(table, r"`[a-z_]+`(, `[a-z_]+`)*") for field in re.findall(r"`(\w+)`", row[0])}


def defaults() -> dict[str, str]:
    """Return each setting and its default as the pages write it."""
    settings = Settings.model_construct()
    written = {}
    for name, field in Settings.model_fields.items():
        default: Any = getattr(settings, name)
        assert field.default is not PydanticUndefined
        if hasattr(default, "get_secret_value"):
            default = default.get_secret_value()
        if isinstance(default, bool):
            default = str(default).lower()
        if isinstance(default, float) and default.is_integer():
            default = int(default)
        written[f"`{PREFIX}{name.upper()}`"] = f"`{default}`" if default not in ("", None, {}) else ""
    return written


def test_the_page_of_settings_has_each_with_its_default() -> None:
    tables = {f"`{PREFIX}{table}`" for table in ("KAFKA", "REDIS")}  # explained below the table
    rows = {row[0]: row[1] for row in table_rows(SETTINGS, f"`{PREFIX}.*`")}

    assert rows == {name: default for name, default in defaults().items() if name not in tables}


def test_the_readme_gives_the_defaults_that_are() -> None:
    rows = {row[0]: row[1] for row in table_rows(README, f"`{PREFIX}.*`")}

    assert len(rows) >= 8
    assert rows == {name: default for name, default in defaults().items() if name in rows}


def test_the_settings_that_the_page_exports_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    typed = the_block("docs/settings.md", "TENFOLD_REDIS__SOCKET_TIMEOUT").script
    exported = dict(re.findall(r"^export (\w+)=(\S+)$", typed, re.MULTILINE))
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    settings = load()

    assert settings.kafka == {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
    assert settings.redis == {"socket_timeout": 2}


def test_the_toml_of_the_page_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    (tmp_path / "tenfold.toml").write_text(the_block("docs/settings.md", "[kafka]").text)
    monkeypatch.setenv("TENFOLD_CONFIG", str(tmp_path / "tenfold.toml"))
    settings = load()

    assert settings.bootstrap_servers == "kafka-1:9093,kafka-2:9093"
    assert settings.kafka == {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
    assert settings.redis == {"socket_timeout": 2}


def test_the_page_of_operations_has_each_metric() -> None:
    assert rows_in(OPERATIONS) == metric_rows(Metrics)


def test_the_exit_codes_are_the_errors() -> None:
    codes = {row[0] for row in table_rows(OPERATIONS, r"\d+")}

    assert {str(TenfoldError.exit_code), str(SettingsError.exit_code), "0", "130"} == codes


def test_the_readme_has_the_fields_of_a_payment() -> None:
    assert fields_below("| field of a payment |") == set(inspect.get_annotations(Transaction))


def test_the_readme_has_the_fields_of_a_score_that_are_not_the_payments() -> None:
    told = FraudScore.__annotations__.keys() - Transaction.__annotations__ - {"scored_at", "suppressed"}

    assert fields_below("| field of a score |") == told


def test_the_page_of_the_protocol_has_each_cause_and_each_reason() -> None:
    causes = {row[-1].strip("`") for row in table_rows(PROTOCOL, ".*") if re.fullmatch(r"`[a-z-]+`", row[-1])}

    dead_letters = PROTOCOL.partition("of a dead letter")[2].partition("##")[0]

    assert causes == set(Cause)
    assert {row[0].strip("`") for row in table_rows(dead_letters, r"`[a-z-]+`")} == set(Reason)


@pytest.mark.parametrize("file", ["transactions", "labels"])
def test_the_readme_has_the_columns_that_training_reads(file: str) -> None:
    pytest.importorskip("pyarrow")
    from training.dataset import LABEL_COLUMNS, TRANSACTION_COLUMNS  # noqa: PLC0415

    [row] = table_rows(README, f"`{file}.parquet`")
    required = set(TRANSACTION_COLUMNS if file == "transactions" else LABEL_COLUMNS)
    assert required - {"is_vpn", "merchant_id"} <= set(re.findall(r"`(\w+)`", row[1]))
