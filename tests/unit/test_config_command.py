"""``tenfold config`` says what is in force and where it comes from, and no secret."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.settings import PREFIX, Settings


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, dict[str, object]]:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    file = tmp_path / "tenfold.toml"
    file.write_text(
        'group_id = "of-file"\nBATCH_SIZE = 7\n[kafka]\n"sasl.username" = "anna"\n"linger.ms" = "1"\n'
        '[redis]\npassword = "hidden-too"\n'
    )
    given = {
        "CONFIG": str(file),
        "GROUP_ID": "of-environment",
        "REDIS_URL": "redis://user:hidden@redis:6379/0",
        "PSEUDONYM_KEYS": "ab" * 32,
        "KAFKA__SASL_PASSWORD": "hidden",
        "KAFKA__LINGER_MS": "2",
    }
    for name, value in given.items():
        monkeypatch.setenv(PREFIX + name, value)
    ran = CliRunner().invoke(app, ["config", "--json"])
    assert ran.exit_code == 0, ran.output
    assert "hidden" not in ran.output
    assert "abab" not in ran.output
    lines = CliRunner().invoke(app, ["config"]).output
    assert "hidden" not in lines
    assert len(lines.splitlines()) == len(json.loads(ran.stdout))
    return dict(json.loads(ran.stdout))


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(told: dict[str, dict[str, object]]) -> None:
    assert told["group_id"] == {"value": "of-environment", "origin": "environment"}
    assert told["batch_size"] == {"value": 7, "origin": "file"}
    assert told["delivery"] == {"value": "exactly-once", "origin": "default"}


def test_options_of_the_clients_have_an_origin_each(told: dict[str, dict[str, object]]) -> None:
    assert told["kafka.sasl.username"] == {"value": "anna", "origin": "file"}
    assert told["kafka.linger.ms"] == {"value": "2", "origin": "environment"}
    assert told["kafka.sasl.password"] == {"value": "****", "origin": "environment"}
    assert told["redis.password"] == {"value": "****", "origin": "file"}


def test_every_setting_is_there(told: dict[str, dict[str, object]]) -> None:
    assert {name.partition(".")[0] for name in told} == set(Settings.model_fields)
