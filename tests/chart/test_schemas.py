"""What the chart makes is what Kubernetes, the Prometheus operator and KEDA take; what it cannot use, it refuses."""

from importlib import import_module
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel

from tests.chart.charts import CHART, NEWEST, RELEASE, VALUES, Document, helm, render

pytestmark = pytest.mark.chart

#: Where the model of each is, made from the operator's own definition. They take seconds to import.
CUSTOM = {
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "ServiceMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PrometheusRule": "cloudcoil.models.prometheus_operator.v1",
}
OLDEST = {"secure": "1.31"}  # which knows of volumes that are images; the others take what Chart.yaml asks for
MINIMAL = next(file for file in VALUES if file.stem == "minimal")


def test_helm_finds_nothing_to_say(values: Path) -> None:
    ran = helm("lint", "--strict", "--kube-version", NEWEST, "--values", values, CHART)

    assert ran.returncode == 0, ran.stdout
    assert "[WARNING]" not in ran.stdout


def test_the_oldest_and_the_newest_kubernetes_take_it(values: Path, documents: list[Document]) -> None:
    asked_for = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    oldest = OLDEST.get(values.stem, asked_for.removeprefix(">=").removesuffix(".0-0"))
    own = [document for document in documents if document["kind"] not in CUSTOM]

    assert len(own) >= 5
    for version in (oldest, NEWEST.removesuffix(".0")):
        for document in own:
            kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_what_kubernetes_would() -> None:
    [stateful] = [document for document in render(MINIMAL) if document["kind"] == "StatefulSet"]
    wrong = {**stateful, "spec": {**stateful["spec"], "replica": 2}}

    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_operators_take_their_kinds(documents: list[Document]) -> None:
    for document in documents:
        kind = document["kind"]
        if kind in CUSTOM:
            model: type[BaseModel] = getattr(import_module(CUSTOM[kind]), kind)
            taken = model.model_validate(document)
            # a field that the operator does not know would not come back
            assert taken.model_dump(mode="json", by_alias=True, exclude_unset=True) == document


def test_every_custom_kind_is_among_the_tried() -> None:
    seen = {document["kind"] for file in VALUES for document in render(file)}

    assert set(CUSTOM) <= seen


REFUSED = {
    "bootstrapServers is not set": "kafka: {bootstrapServers: ''}",
    "redis.url is not set": "redis: {url: ''}",
    "at '/group'": "group: fraud-archive",
    "/kafka/bootstrapServers": "kafka: {bootstrapServers: kafka}",
    "/redis/url": "redis: {url: 'redis://:secret@redis:6379/0'}",
    "additional properties 'replicaCount' not allowed": "replicaCount: 3",
    "additional properties 'replica' not allowed": "scorer: {replica: 3}",
    "/scorer/replicas": "scorer: {replicas: '3'}",
    "/scorer/terminationGracePeriodSeconds": "scorer: {terminationGracePeriodSeconds: 5}",
    "/settings/TENFOLD_BATCH_SIZE": "settings: {TENFOLD_BATCH_SIZE: 100}",
    "invalid propertyName 'LOG_LEVEL'": "settings: {LOG_LEVEL: debug}",
    "invalid propertyName 'TENFOLD_GROUP_ID'": "settings: {TENFOLD_GROUP_ID: other}",
    "invalid propertyName 'TENFOLD_INSTANCE_ID'": "scorer: {settings: {TENFOLD_INSTANCE_ID: a}}",
    "invalid propertyName 'TENFOLD_KAFKA__SASL_PASSWORD'": "settings: {TENFOLD_KAFKA__SASL_PASSWORD: secret}",
    "invalid propertyName 'sasl.password'": "kafka: {options: {sasl.password: secret}}",
    "invalid propertyName 'ssl.key.password'": "kafka: {options: {ssl.key.password: secret}}",
    "invalid propertyName 'password'": "redis: {options: {password: secret}}",
    "/kafka/secretOptions/sasl.password": "kafka: {secretOptions: {sasl.password: secret}}",
    "missing property 'key'": "redis: {secretOptions: {password: {name: redis}}}",
    "/pseudonymKeys": "pseudonymKeys: {name: pseudonyms}",
    "/model/volume": "model: {volume: {hostPath: {path: /models}}}",
    "maxProperties": "model: {volume: {persistentVolumeClaim: {claimName: a}, image: {reference: b}}}",
    "/podSecurityContext/runAsUser": "podSecurityContext: {runAsUser: 0}",
    "/podSecurityContext/runAsNonRoot": "podSecurityContext: {runAsNonRoot: false}",
    "model.bundle is one of a store": "model: {bundle: v2}",
    "archiver.enabled needs an archive": "archiver: {enabled: true}",
    "training.enabled needs a store": "{training: {enabled: true}, archive: {volume: {nfs: {server: a, path: /}}}}",
    "has to be below /data": "{archiver: {enabled: true}, archive: {url: /srv}}",
    "profiles are put beside it": "{archiver: {enabled: true}, archive: {url: /data}}",
    "less than keda.minReplicas": "keda: {enabled: true, minReplicas: 3, maxReplicas: 2}",
    "/profiles/schedule": "profiles: {schedule: daily}",
    "/profiles/kind": "profiles: {kind: Deployment}",
    "/links/runbooks": "links: {runbooks: docs/runbooks}",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_values_that_cannot_work_are_refused(reason: str, tmp_path: Path) -> None:
    override = tmp_path / "values.yaml"
    override.write_text(REFUSED[reason])
    ran = helm("template", RELEASE, CHART, "--kube-version", NEWEST, "--values", MINIMAL, "--values", override)

    assert ran.returncode != 0
    assert reason in ran.stderr
