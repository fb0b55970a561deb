"""What deploy/compose.secure.yml promises, as far as it can be seen without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AclOperation, ResourceType

from deploy.secure import make_secrets
from deploy.secure.make_secrets import ERASURE, OWNERS, REDIS_RIGHTS, ROLES, main, settings_of
from deploy.secure.rights import RIGHTS
from stream.clients import common_config
from stream.settings import CONFIG_FILE, load

ROOT = Path(__file__).parents[2]
SECURE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.secure.yml").read_text())
BASE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Certificates and passwords, made as the job of the compose file makes them."""
    monkeypatch.setattr(make_secrets, "PLACE", tmp_path)
    monkeypatch.setenv("KAFKA_PORT", "9092")
    for owner in OWNERS:
        (tmp_path / owner).mkdir()
    main()
    return tmp_path


def test_every_service_that_asks_for_a_password_has_a_volume_of_its_own() -> None:
    mounted = {
        name: [volume.partition(":")[0] for volume in service.get("volumes", []) if volume.startswith("secrets-")]
        for name, service in SECURE["services"].items()
        if name not in {"secrets", "load"}  # which makes them, and which is a second simulator
    }

    assert set(SECURE["services"]) - {"secrets", "rights"} <= set(BASE["services"])
    assert all(len(volumes) == 1 for volumes in mounted.values())
    assert mounted["rights"] == mounted["topics"] == ["secrets-admin"]
    assert {volumes[0] for volumes in mounted.values()} | {"secrets-client"} == set(SECURE["volumes"])


def test_every_listener_of_kafka_asks_who_it_is() -> None:
    environment = SECURE["services"]["kafka"]["environment"]
    protocols = dict(re.findall(r"(\w+):(\w+)", environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]))

    assert set(protocols) == set(re.findall(r"(\w+)://", environment["KAFKA_LISTENERS"]))
    assert set(protocols.values()) == {"SSL", "SASL_SSL"}
    for name, protocol in protocols.items():
        if protocol == "SSL":
            assert environment[f"KAFKA_LISTENER_NAME_{name}_SSL_CLIENT_AUTH"] == "required"
    assert "StandardAuthorizer" in environment["KAFKA_AUTHORIZER_CLASS_NAME"]


def test_nobody_may_do_what_is_not_listed() -> None:
    allowed = {operation for rights in RIGHTS.values() for _, _, _, operation in rights}
    writers = {
        name: {role for role, rights in RIGHTS.items() if (name, AclOperation.WRITE) in {(r[1], r[3]) for r in rights}}
        for name in ("transactions", "fraud-labels", "fraud-scores", "fraud-scores.shadow", "transactions.dlq")
    }

    assert set(RIGHTS) == set(ROLES)
    assert allowed == {AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE}
    assert writers["fraud-scores"] == writers["fraud-scores.shadow"] == writers["transactions.dlq"] == {"scorer"}
    assert writers["transactions"] == writers["fraud-labels"] == {"simulator", "client"}
    assert all(right[1] != "*" for rights in RIGHTS.values() for right in rights)
    assert [right[1] for right in RIGHTS["scorer"] if right[0] == ResourceType.TRANSACTIONAL_ID] == ["tenfold~"]


@pytest.mark.parametrize("role", [*ROLES, ERASURE])
def test_the_settings_of_a_role_are_what_its_processes_take(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tenfold.toml"
    file.write_text(settings_of(role, "hush-hush", "/secrets/ca.pem"))
    monkeypatch.setenv(CONFIG_FILE, str(file))
    monkeypatch.setenv("TENFOLD_REDIS_URL", SECURE["services"]["scorer"]["environment"]["TENFOLD_REDIS_URL"])
    settings = load()

    assert common_config(settings).get("sasl.username") == (role if role in ROLES else None)
    assert ("password" in settings.redis) == (role in REDIS_RIGHTS)
    assert "hush-hush" not in str(settings.masked())


def test_a_second_start_changes_nothing(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    main()

    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    assert not [path for path in before if path.name.startswith("ca.key")], "nobody signs anything later"
    assert len({path.read_bytes() for path in before if path.name == "ca.pem"}) == 1
