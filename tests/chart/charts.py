"""Helm, and what it makes of the chart."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart"
VALUES = sorted(Path(__file__).with_name("values").glob("*.yaml"))

RELEASE, NAMESPACE = "tenfold", "fraud"
NEWEST = "1.37.0"  # of Kubernetes; a Helm built from source knows of none by itself

Document = dict[str, Any]


def require_helm() -> str:
    """Return the path of ``helm``; without it the test is skipped, in CI it fails."""
    found = shutil.which("helm") or shutil.which("helm", path=ROOT / ".tools" / "bin")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("there is no helm: make chart-test builds it", pytrace=False)
    if found is None:
        pytest.skip("there is no helm: make chart-test builds it")
    return found


def helm(*arguments: str | Path, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm in a directory; whether it succeeded is for the caller to see."""
    return subprocess.run(
        [require_helm(), *arguments], cwd=directory, capture_output=True, text=True, check=False, timeout=120
    )


@cache
def render(*values: Path) -> list[Document]:
    """Return the documents that a cluster would be given for these values."""
    files = [option for file in values for option in ("--values", file)]
    ran = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", NEWEST, *files)
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    """Return the documents of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def pods_of(documents: list[Document]) -> dict[str, Document]:
    """Return every pod's template by the role that it has: labels in ``metadata``, the rest in ``spec``."""
    templates = [workload["spec"]["template"] for workload in of_kind(documents, "StatefulSet")]
    templates += [job["spec"]["jobTemplate"]["spec"]["template"] for job in of_kind(documents, "CronJob")]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in templates}


def container_of(pod: Document) -> Document:
    """Return a pod's container."""
    [container] = pod["spec"]["containers"]
    found: Document = container
    return found


def environment_of(pod: Document) -> dict[str, Document]:
    """Return the variables of a pod's container, by name."""
    variables = container_of(pod)["env"]
    assert len(variables) == len({each["name"] for each in variables}), "a variable is set twice"
    return {each["name"]: each for each in variables}
