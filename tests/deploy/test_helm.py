"""What the Helm chart renders is valid and agrees with the server; values that contradict fail.

Skipped without Helm (https://helm.sh/docs/intro/install); the schemas of Kubernetes are checked
where kubernetes-validate is installed.
"""

import json
import re
import subprocess
from typing import Any

import promql_parser
import pytest

from asr_server.settings import Settings
from tests.deploy.test_configuration import NGINX, directives
from tests.support.chart import (
    GATEWAY,
    HELM,
    INGRESS,
    KEDA,
    KEYS,
    MATRIX,
    POSTGRES,
    SCHEMA,
    TO_POSTGRES,
    VALUES,
    containers,
    needs_helm,
    of_kind,
    pods,
    rendered,
    run,
    variables,
)
from tools.chart_docs import CHART

pytestmark = needs_helm
DEFAULTS = Settings(_env_file=None)

CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing runs": ({"cpu": {"enabled": False}}, "both false"),
    "grace below drain": (
        {"drain": {"timeoutSeconds": 600}},
        "terminationGracePeriodSeconds is 90, which must exceed .* 610",
    ),
    "threshold above 1": (
        {"autoscaling": {**KEDA, "utilizationPercent": 120}},
        "utilizationPercent is 120: utilisation never exceeds 100 %",
    ),
    "delay above admission's": (
        {"autoscaling": {**KEDA, "delayMs": 200}},
        r"delayMs is 200, but .* from a delay of 150 ms on \(ASR_MAX_DELAY_MS\)",
    ),
    "min above max": (
        {"autoscaling": KEDA, "cpu": {"minReplicas": 5, "maxReplicas": 4}},
        r"cpu.minReplicas is 5, above cpu.maxReplicas, 4",
    ),
    "no update": ({"cpu": {"maxSurge": 0}}, "no update could begin"),
    "capacity above tasks": (
        {"cpu": {"capacity": 100}},
        "cpu.capacity is 100, but a server opens 64 tasks at most",
    ),
    "KEDA without Prometheus": ({"autoscaling": {"mode": "keda"}}, "needs .*prometheusAddress"),
    "open ingress": ({"ingress": INGRESS}, "beyond the cluster .* without API keys"),
    "open gateway": ({"gateway": GATEWAY}, "beyond the cluster .* without API keys"),
    "open balancer": ({"service": {"type": "LoadBalancer"}}, "without API keys"),
    "two sets of keys": ({"access": {**KEYS, "existingSecret": "keys"}}, "choose one"),
    "two databases": (
        {"database": {**POSTGRES, "existingSecret": "db"}, "networkPolicy": TO_POSTGRES},
        "database.url and database.existingSecret are both set",
    ),
    "password in the Deployment": (
        {
            "database": {"url": "postgresql://asr:secret@db/asr"},
            "networkPolicy": TO_POSTGRES,
        },
        "database.url contains a password",
    ),
    "no way to the database": ({"database": POSTGRES}, "closes the way to the database"),
    "no name": ({"ingress": {"enabled": True}, "access": KEYS}, "needs at least one name"),
    "no Gateway": ({"gateway": {"enabled": True}, "access": KEYS}, "needs at least one Gateway"),
    "one node, two pods": (
        {"model": {"source": "claim", "claim": {"accessMode": "ReadWriteOnce"}}},
        "ReadWriteOnce allows one node only",
    ),
    "setting of the chart": ({"settings": {"ASR_PORT": 9000}}, "ASR_PORT: other values"),
    "key in a setting": ({"settings": {"ASR_API_KEYS": "x" * 16}}, "ASR_API_KEYS: other values"),
    "unknown value": ({"replicas": 3}, "'replicas' not allowed"),
}


def test_helm_lints_the_chart_without_a_warning():
    done = subprocess.run([HELM, "lint", "--strict", CHART], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("case", MATRIX)
def test_objects_have_unique_names_and_one_owner(case):
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered(case)]
    assert len(names) == len(set(names))
    for document in rendered(case):
        if "helm.sh/hook" not in document["metadata"].get("annotations", {}):
            assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == "asr"


def test_objects_follow_the_schemas_of_kubernetes():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    distinct = {json.dumps(document): document for case in MATRIX for document in rendered(case)}
    checked = set()
    for document in distinct.values():
        if document["apiVersion"].split("/")[0] in ("keda.sh", "monitoring.coreos.com"):
            continue
        if document["apiVersion"].startswith("gateway.networking"):
            continue
        for version in ("1.27", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(document, version, strict=True)
        checked.add(document["kind"])
    assert {"Deployment", "Ingress", "NetworkPolicy", "HorizontalPodAutoscaler"} <= checked


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_values_that_contradict_fail_with_a_sentence(case):
    chosen, sentence = CONTRADICTIONS[case]
    done = run(chosen)
    assert done.returncode != 0
    assert re.search(sentence, " ".join(done.stderr.split())), done.stderr


@pytest.mark.parametrize("case", MATRIX)
def test_the_environment_of_a_server_is_accepted_by_its_settings(case):
    for container in containers(case, "asr-server"):
        given = {
            name.removeprefix("ASR_").lower(): value if isinstance(value, str) else "1"
            for name, value in variables(container).items()
        }
        Settings(_env_file=None, **given)


@pytest.mark.parametrize("case", MATRIX)
def test_containers_are_confined(case):
    for pod in pods(case):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod.get("initContainers", []) + pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"memory"} <= container["resources"]["limits"].keys()


@pytest.mark.parametrize("case", MATRIX)
def test_every_file_that_a_server_writes_is_on_a_volume(case):
    for container in containers(case, "asr-server"):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        given = variables(container)
        assert given["ASR_CAPACITY_FILE"].startswith("/data/")
        if isinstance(given["ASR_DATABASE_URL"], str):
            assert given["ASR_DATABASE_URL"].startswith("sqlite:////data/")
        assert not any(mounts[path].get("readOnly") for path in ("/data", "/tmp"))
        assert all(mount["readOnly"] for path, mount in mounts.items() if path == "/models")


@pytest.mark.parametrize("case", MATRIX)
def test_every_mount_has_a_volume_and_every_volume_a_mount(case):
    for pod in pods(case):
        mounted = {
            mount["name"]
            for container in pod.get("initContainers", []) + pod["containers"]
            for mount in container["volumeMounts"]
        }
        assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("case", MATRIX)
def test_the_service_selects_the_servers_and_nothing_else(case):
    [service] = of_kind(case, "Service")
    selector = service["spec"]["selector"].items()
    for deployment in of_kind(case, "Deployment"):
        assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for pod in of_kind(case, "Pod"):
        assert not selector <= pod["metadata"].get("labels", {}).items()


def test_probes_follow_liveness_and_readiness():
    [server] = containers("defaults", "asr-server")
    assert server["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    startup = server["startupProbe"]
    waited_s = startup["failureThreshold"] * startup["periodSeconds"]
    assert waited_s == VALUES["startup"]["timeoutSeconds"]


def test_integers_stay_integers_and_numbers_keep_their_digits():
    [server] = containers("HPA, nginx, claim", "asr-server")
    given = variables(server)
    assert given["ASR_MAX_UPLOAD_BYTES"] == "26214400"
    assert given["ASR_THREADS"] == "3"
    assert given["ASR_MAX_TASK_S"] == "0.5"


def test_a_gpu_pod_has_one_gpu_and_a_cpu_pod_none():
    cpu, cuda = containers("both kinds, KEDA", "asr-server")
    assert variables(cpu)["ASR_DEVICE"] == "cpu"
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]
    assert variables(cuda)["ASR_DEVICE"] == "cuda"
    assert cuda["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_autoscaled_deployments_name_no_number_of_pods():
    for deployment in of_kind("both kinds, KEDA", "Deployment"):
        assert "replicas" not in deployment["spec"]
    [deployment] = of_kind("defaults", "Deployment")
    assert deployment["spec"]["replicas"] == 2


def test_keda_asks_for_metrics_of_its_own_pods():
    scaled = of_kind("both kinds, KEDA", "ScaledObject")
    assert len(scaled) == 2
    for each in scaled:
        name = each["spec"]["scaleTargetRef"]["name"]
        assert each["spec"]["minReplicaCount"] <= each["spec"]["maxReplicaCount"]
        for trigger in each["spec"]["triggers"]:
            query = trigger["metadata"]["query"]
            promql_parser.parse(query)
            [pattern] = re.findall('pod=~"(.+?)"', query)
            assert re.fullmatch(pattern, f"{name}-7c9f8d5b6d-x2x7k")
            assert float(trigger["metadata"]["threshold"]) < 1


def test_proxies_wait_longer_than_the_server():
    silence_s = max(DEFAULTS.connection_timeout_s, DEFAULTS.idle_timeout_s)
    silence_s = max(silence_s, DEFAULTS.input_timeout_s, DEFAULTS.response_timeout_s)
    assert SCHEMA["properties"]["ingress"]["properties"]["timeoutSeconds"]["minimum"] > silence_s
    [nginx] = of_kind("HPA, nginx, claim", "Ingress")
    [haproxy] = of_kind("HAProxy, gateway, image, PostgreSQL", "Ingress")
    prefix = "nginx.ingress.kubernetes.io/"
    found = nginx["metadata"]["annotations"]
    assert found["a"] == "b"
    for name in ("proxy-read-timeout", "proxy-send-timeout"):
        assert float(found[prefix + name]) > silence_s
    retried = found[prefix + "proxy-next-upstream"]
    assert f"proxy_next_upstream {retried};" in directives(NGINX)
    assert haproxy["metadata"]["annotations"]["haproxy-ingress.github.io/timeout-tunnel"] == "3600s"
    [route] = of_kind("HAProxy, gateway, image, PostgreSQL", "HTTPRoute")
    assert route["spec"]["rules"][0]["timeouts"]["request"] == "0s"


def test_metrics_are_not_served_beyond_the_cluster():
    [ingress] = of_kind("HPA, nginx, claim", "Ingress")
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            for private in ("/metrics", "/status"):
                assert not private.startswith(path["path"])


def test_only_the_sidecar_gets_a_token_of_the_cluster():
    assert of_kind("defaults", "Role") == []
    for pod in pods("both kinds, KEDA"):
        holders = [
            container["name"]
            for container in pod["containers"]
            if any(mount["name"] == "token" for mount in container["volumeMounts"])
        ]
        assert holders == ["deletion-cost"]
    [role] = of_kind("both kinds, KEDA", "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
