"""The commands of the pages, typed as they stand there, at a real broker, a real Redis and archives of the tests'."""

import gzip
import json
import re
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest
import redis
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from deploy.secure.acls import MORE
from deploy.secure.rights import RIGHTS
from models.context import ProfileDefinition
from stream.profile_layout import ProfileIndex, ProfileKeys
from tests.archives import put, transactions
from tests.brokers import KafkaBroker
from tests.followed_store import two_models
from tests.kafka_jars import PartMissingError
from tests.kafka_tools import java_with_kafka, with_kafka_tools
from tests.pages import asked, blocks, the_block
from tests.processes import http_get
from tests.profile_archives import archive_past
from tests.profile_reference import random_past
from tests.scorers import Deployment
from tests.shells import PageShell
from tests.traffic import Record, produce
from training.archive import Kind, open_archive
from training.archive_reader import read_partition
from training.profiles import Topics as ProfileTopics

pytestmark = pytest.mark.broker


def rows_of(directory: Path, topic: str) -> list[dict[str, object]]:
    archive = open_archive(str(directory))
    partitions = {name.partition for name in archive.files(topic)}
    tables = [
        table for partition in partitions for table in read_partition(archive, topic, Kind.TRANSACTIONS, partition)
    ]
    return [row for table in tables for row in table.to_pylist()]


def test_what_the_readme_installs_makes_topics_and_scores(shell: PageShell) -> None:
    new = Deployment(**{**vars(shell.deployment), "scorers": []})
    new.directory = shell.directory / "new"
    new.directory.mkdir()
    for role in ("input", "output", "dlq"):
        setattr(new, f"{role}_topic", getattr(new, f"{role}_topic") + ".new")
    typing = PageShell(new, TENFOLD_LABELS_TOPIC=shell.environment["TENFOLD_LABELS_TOPIC"] + ".new")
    try:
        typing.serve(the_block("README.md", "pip install .\n"), lambda: True)
        made = AdminClient({"bootstrap.servers": new.bootstrap}).list_topics(timeout=30).topics
        assert len(made[new.input_topic].partitions) == 12
        assert {new.output_topic, new.dlq_topic, typing.environment["TENFOLD_LABELS_TOPIC"]} <= made.keys()
        examined = json.loads(typing.run("tenfold doctor --json"))
        unwell = [each["code"] for each in examined if each["severity"] in ("warning", "error")]
        assert set(unwell) <= {"redis-slow"}, examined  # true of a machine that runs many tests at once
    finally:
        admin = AdminClient({"bootstrap.servers": new.bootstrap})
        left = [name for name in admin.list_topics(timeout=30).topics if name.endswith(".new")]
        for deleted in admin.delete_topics(left).values():
            deleted.result(30)


def test_the_archiver_of_the_page_archives(shell: PageShell) -> None:
    payment = {"transaction_id": "t1", "user_id": "anna", "amount": 5, "created_at": "2026-01-31T10:00:00Z"}
    produce(
        shell.deployment.bootstrap,
        shell.deployment.input_topic,
        iter([Record(b"anna", json.dumps(payment).encode(), bad=False)]),
    )

    def taken() -> bool:
        return "tenfold_archive_waiting_rows 1.0" in http_get(shell.port, "/metrics")[1]

    shell.serve(the_block("docs/archive.md", "archive run"), taken)

    assert [row["transaction_id"] for row in rows_of(shell.directory / "archive", shell.deployment.input_topic)] == [
        "t1"
    ]


def test_a_history_is_imported(shell: PageShell) -> None:
    lines = ["ID,CARD,SHOP,WHEN,amount,FRAUD"]
    lines += [f"t{n},c{n % 3},s{n % 2},2025-06-{n + 1:02d} 12:00:00,{n}.50,{int(n == 4)}" for n in range(20)]
    (shell.directory / "2025.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    shell.type(the_block("docs/archive.md", "tenfold import"))

    rows = rows_of(shell.directory / "archive", shell.deployment.input_topic)
    assert {row["transaction_id"] for row in rows} == {f"t{n}" for n in range(20)}
    assert {str(row["created_at"])[11:16] for row in rows} == {"10:00"}, "noon in Berlin, in summer"


def test_the_doctor_looks_and_the_settings_are_printed(shell: PageShell) -> None:
    found = shell.type(the_block("docs/doctor.md", "tenfold doctor"))
    settings = shell.type(the_block("docs/doctor.md", "tenfold config"))

    assert re.search(r"2,000,000 users|2 million users|2000000", found), found
    assert shell.deployment.group_id in settings


def test_a_user_is_erased(shell: PageShell) -> None:
    archive = open_archive(str(shell.directory / "archive"))
    rows = transactions(range(40), users=4)
    names = ["4711" if name == "user-1" else name for name in rows["user_id"].to_pylist()]
    for column in ("key", "user_id"):
        rows = rows.set_column(rows.schema.get_field_index(column), rows.schema.field(column), [names])
    put(archive, rows, shell.deployment.input_topic)
    shell.type(the_block("docs/erasure.md", "erase-user"))

    left = rows_of(shell.directory / "archive", shell.deployment.input_topic)
    assert len(left) == 30
    assert "4711" not in {row["user_id"] for row in left}
    assert json.loads((shell.directory / "erased.json").read_text())


def test_rules_are_made_and_lifted(shell: PageShell) -> None:
    printed = shell.type(the_block("docs/suppress.md", "tenfold suppress"))
    shown = json.loads(shell.run("tenfold suppress list --json"))

    assert re.search("user +anna", printed), printed
    assert [rule["id"] for rule in shown] == ["m-17"]


def test_bundles_are_listed_put_in_force_and_into_the_shadow(shell: PageShell) -> None:
    store = two_models(shell.directory / "store")
    shell.environment["TENFOLD_MODEL_STORE"] = str(store.root)
    listed = shell.type(the_block("docs/models.md", "models list"))
    shell.run(the_block("docs/models.md", "promote NAME --force").script.replace("NAME", "two"))
    shell.run(the_block("docs/models.md", "shadow NAME").script.replace("NAME", "one"))

    assert {"one", "two"} <= set(listed.split())
    assert [(store.root / pointer).read_text().strip() for pointer in ("champion", "challenger")] == ["two", "one"]


def test_the_monitor_of_the_page_is_ready(shell: PageShell) -> None:
    shell.serve(the_block("docs/live-quality.md", "tenfold monitor"), lambda: True)


def test_profiles_are_published(shell: PageShell) -> None:
    labels = shell.environment["TENFOLD_LABELS_TOPIC"]
    topics = ProfileTopics(shell.deployment.input_topic, labels)
    first = date.today() - timedelta(days=40)  # noqa: DTZ011 - any days that have gone by
    archive_past(random_past(1, "UTC", 7, first, 30, 50), open_archive(str(shell.directory / "archive")), topics)
    shell.serve(the_block("docs/profiles.md", "profiles run"), lambda: True)

    keys = ProfileKeys(shell.deployment.input_topic, ProfileDefinition("UTC", 7))
    with redis.Redis.from_url(shell.deployment.redis_url) as client:
        assert ProfileIndex.model_validate_json(client.get(keys.index) or b"{}").tables


def test_a_new_key_of_pseudonyms_takes_an_archive_out_of_clear(shell: PageShell) -> None:
    put(open_archive(str(shell.directory / "archive")), transactions(range(20)), shell.deployment.input_topic)
    shell.type(the_block("docs/pseudonyms.md", "openssl"), the_block("docs/pseudonyms.md", "rotate-pseudonyms"))

    [file] = (shell.directory / "archive").rglob("*.parquet")
    assert b"user-1" not in file.read_bytes()


def test_the_runbooks_look_where_they_should(shell: PageShell) -> None:
    shell.environment["PATH"] = f"{with_kafka_tools(shell.directory / 'programs')}:{shell.environment['PATH']}"
    produce(
        shell.deployment.bootstrap,
        shell.deployment.input_topic,
        (Record(b"anna", b"{%d" % n, bad=True) for n in range(5)),
    )
    scorer = shell.deployment.scorer()
    shell.deployment.wait_until_scored([scorer])
    scorer.stop()
    dead = the_block("docs/runbooks/dead-letters.md", "kafka-console-consumer.sh")
    topic = the_block("docs/runbooks/events-lost.md", "kafka-configs.sh")

    letters = shell.type(dead).splitlines()
    assert [letter.partition("{")[2] for letter in sorted(letters, key=lambda each: each[-1])] == list("01234")
    assert all("error" in letter for letter in letters)
    assert re.search(
        rf"configs for topic {re.escape(shell.deployment.input_topic)} .*retention\.ms=", shell.type(topic), re.DOTALL
    )


_TYPED_IN_ONE_JAVA = """
public class Typed {
    public static void main(String[] arguments) throws Exception {
        org.apache.kafka.common.utils.Exit.setExitProcedure((code, message) -> {
            if (code != 0) throw new IllegalStateException("exit " + code + ": " + message);
        });
        var lines = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; )
            org.apache.kafka.tools.AclCommand.main(line.split("\\t"));
    }
}
"""


def test_the_commands_of_the_page_on_rights_grant_them(tmp_path: Path) -> None:
    java = java_with_kafka()
    modules = subprocess.run([java[0], "--list-modules"], capture_output=True, text=True, check=True).stdout
    if "jdk.compiler" not in modules:
        pytest.skip("Java has no compiler, and one Java for each of thirty commands takes a minute")
    (tmp_path / "Typed.java").write_text(_TYPED_IN_ONE_JAVA)
    (tmp_path / "admin.properties").touch()
    authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
    try:
        broker = KafkaBroker(tmp_path, f"{authorizer}super.users=User:ANONYMOUS\n")
    except PartMissingError as missing:
        pytest.skip(str(missing))
    broker.start()
    try:
        commands = [words for block in blocks("deploy/acls.md") for words in asked(block)]
        lines = ["\t".join(words[1:]).replace("kafka:9092", broker.bootstrap) for words in commands]
        ran = subprocess.run(
            [*java, "Typed.java"],
            input="\n".join(lines),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
        anything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        granted = admin.describe_acls(anything, request_timeout=30)
        found = {
            (acl.principal, acl.restype, acl.name, acl.resource_pattern_type, acl.operation) for acl in granted.result()
        }
    finally:
        broker.discard()

    assert found == {(f"User:{role}", *right) for role, rights in (RIGHTS | MORE).items() for right in rights}
