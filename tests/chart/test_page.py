"""What docs/kubernetes.md shows works as it stands there."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.charts import CHART, NEWEST, ROOT, container_of, environment_of, helm, of_kind, pods_of, render
from tests.chart.test_schemas import MINIMAL
from tests.pages import asked, blocks, the_block

pytestmark = pytest.mark.chart

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
BLOCKS = [block.text for block in blocks("docs/kubernetes.md") if block.language == "yaml"]
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_blocks_of_the_page_are_taken(number: int, tmp_path: Path) -> None:
    block = yaml.safe_load(BLOCKS[number])
    if "kind" in block:
        kubernetes_validate.validate(block, "1.37", strict=True)
        return
    file = tmp_path / "values.yaml"
    file.write_text(BLOCKS[number])

    assert of_kind(render(MINIMAL, file), "StatefulSet")


def test_all_blocks_together_are_taken(tmp_path: Path) -> None:
    files = []
    for number, block in enumerate(BLOCKS):
        if "kind:" not in block:
            files.append(tmp_path / f"{number}.yaml")
            files[-1].write_text(block)

    assert len(of_kind(render(*files), "CronJob")) == 2


def test_the_values_that_the_page_names_are_there() -> None:
    named = {
        name for name in re.findall(r"`([a-z]+(?:\.[A-Za-z]+)+)(?:: [^`]*)?`", PAGE) if name.split(".")[0] in VALUES
    }
    there = {f"{head}.{name}" for head, part in VALUES.items() if isinstance(part, dict) for name in part}

    assert len(named) >= 20
    assert named <= there


def test_the_command_beside_the_scorers_makes_a_pod(tmp_path: Path) -> None:
    [program] = re.findall(r"jq '(.*?)' \|", the_block("docs/kubernetes.md", "jq ").script, re.DOTALL)
    [stateful] = of_kind(render(MINIMAL), "StatefulSet")
    ran = subprocess.run(
        ["jq", program], input=json.dumps(stateful), capture_output=True, text=True, check=True, cwd=tmp_path
    )
    pod = json.loads(ran.stdout)
    [container] = pod["spec"]["containers"]

    kubernetes_validate.validate(pod, "1.37", strict=True)
    assert container["args"] == ["reset", "--rebuild"]
    assert container["env"] == stateful["spec"]["template"]["spec"]["containers"][0]["env"]
    assert not any("Probe" in name for name in container)


def test_the_commands_of_the_page_install_what_they_then_ask_for(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(the_block("docs/kubernetes.md", "kafka-2:9092").text)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    run, install, rollout = asked(the_block("docs/kubernetes.md", "helm install"))
    assert install[:2] == ("helm", "install")  # which makes the documents that a cluster is given as template does
    ran = helm("template", *install[2:], "--kube-version", NEWEST, directory=tmp_path)
    assert ran.returncode == 0, ran.stderr
    documents = [document for document in yaml.safe_load_all(ran.stdout) if document]

    [stateful] = of_kind(documents, "StatefulSet")
    assert rollout[-1] == f"statefulset/{stateful['metadata']['name']}"
    scorer = pods_of(documents)["scorer"]
    assert run[run.index("--image") + 1] == container_of(scorer)["image"]
    name, _, server = run[run.index("--env") + 1].partition("=")
    assert server in environment_of(scorer)[name]["value"].split(",")
