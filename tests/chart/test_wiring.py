"""What belongs together names each other: selectors and labels, ports and probes, accounts and roles."""

from urllib.parse import urlsplit

import pytest

from stream.redis_url import split_redis_url
from tests.chart.charts import VALUES, Document, container_of, environment_of, of_kind, pods_of, render

pytestmark = pytest.mark.chart

POD_FIELDS = ("automountServiceAccountToken", "enableServiceLinks", "securityContext")


def fits(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def named(documents: list[Document], kind: str, name: str) -> Document:
    [found] = [document for document in of_kind(documents, kind) if document["metadata"]["name"] == name]
    return found


def test_no_two_documents_have_one_name(documents: list[Document]) -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]

    assert len(names) == len(set(names))
    assert all(len(name) <= 52 for _, name in names), "a job's name is longer than its cron job's by 11"


def test_a_set_and_its_service_choose_its_own_pods_and_no_others(documents: list[Document]) -> None:
    pods = pods_of(documents)
    for stateful in of_kind(documents, "StatefulSet"):
        labels = stateful["spec"]["template"]["metadata"]["labels"]
        service = named(documents, "Service", stateful["spec"]["serviceName"])
        for selector in (stateful["spec"]["selector"]["matchLabels"], service["spec"]["selector"]):
            chosen = [role for role, pod in pods.items() if fits(selector, pod["metadata"]["labels"])]
            assert chosen == [labels["app.kubernetes.io/component"]]


def test_a_rollout_takes_one_pod_at_a_time_and_waits_until_it_scores(documents: list[Document]) -> None:
    for stateful in of_kind(documents, "StatefulSet"):
        pod = stateful["spec"]["template"]
        assert stateful["spec"]["updateStrategy"] == {"type": "RollingUpdate"}
        assert container_of(pod)["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 30, "a killed pod leaves its transaction open"


def test_the_budget_is_of_the_scorers(documents: list[Document]) -> None:
    [budget] = of_kind(documents, "PodDisruptionBudget")
    selector = budget["spec"]["selector"]["matchLabels"]

    assert [role for role, pod in pods_of(documents).items() if fits(selector, pod["metadata"]["labels"])] == ["scorer"]


def test_every_pod_has_one_policy_and_may_reach_what_it_has_an_account_for(documents: list[Document]) -> None:
    policies = of_kind(documents, "NetworkPolicy")
    for role, pod in pods_of(documents).items():
        labels = pod["metadata"]["labels"]
        [policy] = [each for each in policies if fits(each["spec"]["podSelector"]["matchLabels"], labels)]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        allowed = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        environment = environment_of(pod)
        brokers = environment.get("TENFOLD_BOOTSTRAP_SERVERS", {}).get("value", "")
        asked = {int(each.rpartition(":")[2]) for each in brokers.split(",") if each}
        if "TENFOLD_REDIS_URL" in environment:
            place = split_redis_url(environment["TENFOLD_REDIS_URL"]["value"])
            asked |= {port for _, port in place.addresses} or {urlsplit(place.plain).port or 6379}
            asked |= {6379} if place.kind == "sentinel" else set()  # of the primary that Sentinel names
        extra = {443, 2049}  # of the sets of values
        assert allowed - extra == {53} | asked, role
        assert ("ingress" in policy["spec"]) == bool(container_of(pod).get("ports")), role


def running_on(documents: list[Document]) -> set[str]:
    """Return the roles that run on; the others are jobs that end, and answer nobody."""
    return {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in of_kind(documents, "StatefulSet")}


def test_profiles_are_a_job_unless_they_are_to_run_on() -> None:
    sets = {file.stem: render(file) for file in VALUES if file.stem in {"production", "everything"}}
    args = {name: container_of(pods_of(documents)["profiles"])["args"] for name, documents in sets.items()}

    assert args == {"production": ["profiles", "publish"], "everything": ["profiles", "run"]}
    assert running_on(sets["production"]) == {"scorer", "archiver", "monitor"}
    assert running_on(sets["everything"]) == {"scorer", "archiver", "monitor", "profiles"}


def test_only_the_port_of_metrics_is_open_and_everybody_means_it(documents: list[Document]) -> None:
    for role, pod in pods_of(documents).items():
        container = container_of(pod)
        if role not in running_on(documents):
            assert "ports" not in container
            continue
        assert container["ports"] == [{"name": "metrics", "containerPort": 9108}]
        assert environment_of(pod)["TENFOLD_METRICS_PORT"]["value"] == "9108"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "metrics"
    for service in of_kind(documents, "Service"):
        assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(9108, "metrics")]


def test_prometheus_is_sent_to_every_service_and_labels_as_the_rules_ask(documents: list[Document]) -> None:
    services = of_kind(documents, "Service")
    for monitor in of_kind(documents, "ServiceMonitor"):
        assert all(fits(monitor["spec"]["selector"]["matchLabels"], each["metadata"]["labels"]) for each in services)
        jobs = {service["metadata"]["labels"][monitor["spec"]["jobLabel"]] for service in services}
        assert jobs == running_on(documents)  # under the names of the jobs of deploy/prometheus/prometheus.yml
        [endpoint] = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for service in services for port in service["spec"]["ports"]}
        group = environment_of(pods_of(documents)["scorer"])["TENFOLD_GROUP_ID"]["value"]
        assert {"targetLabel": "group", "replacement": group} in endpoint["relabelings"]


def test_what_scales_is_the_scorer_by_its_own_lag(documents: list[Document]) -> None:
    for scaled in of_kind(documents, "ScaledObject"):
        target = scaled["spec"]["scaleTargetRef"]
        stateful = named(documents, target["kind"], target["name"])
        environment = environment_of(stateful["spec"]["template"])
        [trigger] = scaled["spec"]["triggers"]
        assert "replicas" not in stateful["spec"], "an upgrade would undo what KEDA has decided"
        for option, variable in {
            "bootstrapServers": "TENFOLD_BOOTSTRAP_SERVERS",
            "consumerGroup": "TENFOLD_GROUP_ID",
            "topic": "TENFOLD_INPUT_TOPIC",
        }.items():
            assert trigger["metadata"][option] == environment[variable]["value"]
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_every_pod_is_as_restricted_as_the_strictest_standard_asks(documents: list[Document]) -> None:
    for role, pod in pods_of(documents).items():
        context, container = pod["spec"]["securityContext"], container_of(pod)
        assert context["runAsNonRoot"] is True, role
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False, "a Service named tenfold would set TENFOLD_PORT"
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod["spec"].keys()
        assert set(container["resources"]) <= {"requests", "limits"}
        assert container["resources"]["requests"]["memory"]


def test_volumes_are_mounted_where_the_image_has_a_place_and_written_to_by_whom_it_concerns(
    documents: list[Document],
) -> None:
    writers = {"models": {"training"}, "archive": {"archiver", "profiles", "monitor", "compaction"}}
    for role, pod in pods_of(documents).items():
        mounts = {mount["name"]: mount for mount in container_of(pod)["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in pod["spec"]["volumes"]}
        assert "readOnly" not in mounts["tmp"], "the root file system is read-only, and programs need a place"
        for name, place in {"models": "/models", "archive": "/data", "certificates": "/certificates"}.items():
            if name in mounts:
                assert mounts[name]["mountPath"] == place
                assert mounts[name]["readOnly"] is (role not in writers.get(name, ())), (role, name)


def test_who_needs_no_client_has_no_account(documents: list[Document]) -> None:
    clients = {"scorer": {"KAFKA", "REDIS"}, "profiles": {"KAFKA", "REDIS"}, "archiver": {"KAFKA"}}
    clients["monitor"] = clients["scorer"]
    for role, pod in pods_of(documents).items():
        kinds = {name.split("_")[1] for name in environment_of(pod) if "__" in name}
        assert kinds <= clients.get(role, set()), role


@pytest.mark.parametrize("field", POD_FIELDS)
def test_jobs_are_as_confined_as_services(documents: list[Document], field: str) -> None:
    assert len({str(pod["spec"][field]) for pod in pods_of(documents).values()}) == 1
