"""What docs/kubernetes.md shows works as it stands there."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.charts import CHART, ROOT, of_kind, render
from tests.chart.test_schemas import MINIMAL

pytestmark = pytest.mark.chart

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
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
    [program] = re.findall(r"jq '(.*?)' \|", PAGE, re.DOTALL)
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
