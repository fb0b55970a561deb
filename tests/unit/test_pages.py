"""The blocks of pages that need no broker do what the pages say."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from stream.kafka_token import TokenCommand
from stream.schemas import json_schemas
from stream.settings import PREFIX, load
from tests.pages import ROOT, the_block


def test_the_command_of_the_page_on_messages_writes_what_is_checked_in(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    typed = the_block("docs/messages.md", "tenfold schema").script
    subprocess.run(["bash", "-euc", typed], cwd=tmp_path, env=environment, check=True, timeout=60)

    written = {file.name: file.read_text() for file in (tmp_path / "schemas").iterdir()}
    assert written == {file.name: file.read_text() for file in (ROOT / "docs" / "schemas").glob("*.json")}


def test_the_reasons_of_the_page_are_those_of_a_score() -> None:
    shown = json.loads(f"{{{the_block('docs/protocol.md', 'reasons').text}}}")
    schema = json_schemas()["fraud-score"]

    Draft202012Validator(schema).validate(schema["examples"][0] | shown)
    with pytest.raises(Exception, match="'effect' is a required property"):
        Draft202012Validator(schema).validate(schema["examples"][0] | {"reasons": [{"name": "a", "sentence": "b"}]})


def test_the_program_for_amazon_prints_what_is_taken_for_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amazon's own package asks for an account; what stands here in its place has its one function."""
    ends_ms = int(time.time() * 1000) + 900_000
    (tmp_path / "aws_msk_iam_sasl_signer.py").write_text(
        "class MSKAuthTokenProvider:\n"
        "    @staticmethod\n"
        "    def generate_auth_token(region):\n"
        f"        return 'signed-for-' + region, {ends_ms}\n"
    )
    (tmp_path / "msk_token.py").write_text(the_block("docs/managed.md", "MSKAuthTokenProvider").text)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    exports = the_block("docs/managed.md", "TENFOLD_KAFKA_TOKEN_COMMAND").text
    for name, value in (
        word.split("=", 1) for line in exports.splitlines() for word in shlex.split(line) if "=" in word
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    settings = load()
    here = re.sub(r"^python /opt/", f"{sys.executable} {tmp_path}/", settings.kafka_token_command)

    assert settings.kafka == {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}
    assert TokenCommand(here)("") == ("signed-for-eu-central-1", ends_ms / 1000)
