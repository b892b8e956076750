"""The Helm chart agrees with the server; what it renders is valid; values that contradict fail.

What needs Helm is skipped without it (https://helm.sh/docs/intro/install), and the schemas of
Kubernetes are checked where kubernetes-validate is installed.
"""

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import promql_parser
import pytest
import yaml

from asr_server.observability.metrics import Metrics
from asr_server.process.https import certify
from asr_server.settings import Settings
from tests.deploy.test_configuration import NGINX, directives
from tests.support.processes import ROOT, environment
from tests.support.serving import connected, run_task, serving
from tools.chart_docs import CHART, README, fill, leaves, values

HELM = shutil.which("helm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
helm = pytest.mark.skipif(HELM is None, reason="needs Helm")

VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
DEFAULTS = Settings(_env_file=None)
KEYS = {"keys": ["0123456789abcdef"]}
INGRESS = {"enabled": True, "hosts": ["asr.example.com"], "tlsSecret": "tls"}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "public"}], "retries": 2}
KEDA = {"mode": "keda", "prometheusAddress": "http://prometheus:9090"}
POSTGRES = {"url": "postgresql+psycopg://asr@db/asr"}
TO_POSTGRES = {"egress": [{"ports": [{"protocol": "TCP", "port": 5432}]}]}

MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "demo": {
        "model": {"source": "demo"},
        "podDisruptionBudget": {"enabled": False},
        "access": {"open": True},
        "ingress": {**INGRESS, "controller": "haproxy"},
    },
    "GPUs alone": {"cpu": {"enabled": False}, "cuda": {"enabled": True, "capacity": 400}},
    "both kinds, KEDA": {
        "cuda": {"enabled": True, "runtimeClassName": "nvidia", "nodeSelector": {"gpu": "yes"}},
        "autoscaling": KEDA,
        "podDeletionCost": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "HPA, nginx, claim": {
        "autoscaling": {"mode": "hpa"},
        "access": KEYS,
        "ingress": {**INGRESS, "controller": "nginx", "annotations": {"a": "b"}},
        "model": {"source": "claim", "names": ["paraformer-zh"]},
        "settings": {"ASR_MAX_UPLOAD_BYTES": 26214400, "ASR_THREADS": 3, "ASR_MAX_TASK_S": 0.5},
    },
    "HAProxy, gateway, image, PostgreSQL": {
        "access": {"existingSecret": "keys"},
        "ingress": {**INGRESS, "controller": "haproxy-ingress"},
        "gateway": GATEWAY,
        "model": {"source": "image"},
        "database": {"existingSecret": "database"},
        "networkPolicy": {**TO_POSTGRES, "ingressFrom": [{"podSelector": {}}]},
        "runAsUser": None,
        "image": {"pullSecrets": ["registry"], "pullPolicy": "Always"},
    },
}

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

REFUSED: dict[str, tuple[str, Any]] = {
    "wrong type": ("cpu.replicas", "two"),
    "wrong choice": ("model.source", "hub"),
    "no pod to scale from": ("cpu.minReplicas", 0),
    "name that is no setting": ("settings.THREADS", 4),
    "setting in the wrong place": ("env.ASR_THREADS", "4"),
    "short key": ("access.keys", ["secret"]),
    "timeout below the server's": ("ingress.timeoutSeconds", 60),
}


def run(chosen: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [HELM or "", "template", "asr", str(CHART), "--namespace", "speech", "-f", "-"]
    given = json.dumps(chosen)
    return subprocess.run(command, input=given, capture_output=True, text=True, encoding="utf-8")


@cache
def rendered(case: str) -> list[dict[str, Any]]:
    """Return the objects of a case of the matrix."""
    done = run(MATRIX[case])
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(case: str, kind: str) -> list[dict[str, Any]]:
    return [document for document in rendered(case) if document["kind"] == kind]


def pods(case: str) -> Iterator[dict[str, Any]]:
    for deployment in of_kind(case, "Deployment"):
        yield deployment["spec"]["template"]["spec"]


def containers(case: str, name: str) -> list[dict[str, Any]]:
    return [
        container
        for pod in pods(case)
        for container in pod.get("initContainers", []) + pod["containers"]
        if container["name"] == name
    ]


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def sources() -> str:
    files = [*CHART.rglob("*.tpl"), *CHART.rglob("*.yaml"), *CHART.rglob("*.txt")]
    return "\n".join(file.read_text("utf-8") for file in files)


def test_every_setting_that_the_chart_names_exists():
    named = set(re.findall(r"\bASR_[A-Z_]+\b", sources())) - {"ASR_NAME"}
    assert len(named) > 10
    assert named <= {f"ASR_{name.upper()}" for name in Settings.model_fields}


def test_every_metric_that_the_chart_names_exists():
    named = set(re.findall(r"\basr_[a-z_]+\b", sources())) - {"asr_server"}
    assert named == {"asr_utilization_ratio", "asr_capacity_streams", "asr_live_delay_seconds"}
    assert named <= {family.name for family in Metrics().families()}


def test_the_default_values_follow_their_schema_and_all_are_described():
    jsonschema.validate(VALUES, SCHEMA)
    described = {path for path, _, _ in values()}
    assert set(leaves(VALUES, described)) == described


@pytest.mark.parametrize("case", REFUSED)
def test_the_schema_refuses(case):
    path, value = REFUSED[case]
    chosen = json.loads(json.dumps(VALUES))
    *parents, name = path.split(".")
    inner = chosen
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate(chosen, SCHEMA)
    assert refused.value.path[0] == parents[0]


def test_the_readme_lists_the_current_values():
    text = README.read_text("utf-8")
    assert fill(text) == text, "run python -m tools.chart_docs"


def test_the_schema_describes_every_value_and_allows_no_other():
    def closed(schema: dict[str, Any], chosen: dict[str, Any]) -> None:
        assert schema["additionalProperties"] is False
        assert set(chosen) == set(schema["properties"]) - {"global", "claims"}
        for name, inner in schema["properties"].items():
            if "properties" in inner:
                closed(inner, chosen[name])

    closed(SCHEMA, VALUES)


def test_the_default_drain_is_that_of_the_server():
    drain = VALUES["drain"]
    assert drain["timeoutSeconds"] == DEFAULTS.drain_timeout_s
    assert drain["closeTimeoutSeconds"] == DEFAULTS.close_timeout_s
    last_s = drain["preStopSeconds"] + DEFAULTS.drain_timeout_s + DEFAULTS.close_timeout_s
    assert drain["terminationGracePeriodSeconds"] > last_s


def test_the_defaults_that_the_validation_assumes_are_those_of_the_server():
    text = (CHART / "templates" / "_validate.tpl").read_text("utf-8")
    assert f'"ASR_MAX_DELAY_MS") {DEFAULTS.max_delay_ms:g}' in text
    assert f'"ASR_MAX_TASKS" | default {DEFAULTS.max_tasks}' in text


def test_chart_and_package_have_one_version():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    [version] = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert chart["version"] == chart["appVersion"] == version


@helm
def test_helm_lints_the_chart_without_a_warning():
    done = subprocess.run([HELM, "lint", "--strict", CHART], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@helm
@pytest.mark.parametrize("case", MATRIX)
def test_objects_have_unique_names_and_one_owner(case):
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered(case)]
    assert len(names) == len(set(names))
    for document in rendered(case):
        if "helm.sh/hook" not in document["metadata"].get("annotations", {}):
            assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == "asr"


@helm
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


@helm
@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_values_that_contradict_fail_with_a_sentence(case):
    chosen, sentence = CONTRADICTIONS[case]
    done = run(chosen)
    assert done.returncode != 0
    assert re.search(sentence, " ".join(done.stderr.split())), done.stderr


@helm
@pytest.mark.parametrize("case", MATRIX)
def test_the_environment_of_a_server_is_accepted_by_its_settings(case):
    for container in containers(case, "asr-server"):
        given = {
            name.removeprefix("ASR_").lower(): value if isinstance(value, str) else "1"
            for name, value in variables(container).items()
        }
        Settings(_env_file=None, **given)


@helm
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


@helm
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


@helm
@pytest.mark.parametrize("case", MATRIX)
def test_every_mount_has_a_volume_and_every_volume_a_mount(case):
    for pod in pods(case):
        mounted = {
            mount["name"]
            for container in pod.get("initContainers", []) + pod["containers"]
            for mount in container["volumeMounts"]
        }
        assert mounted == {volume["name"] for volume in pod["volumes"]}


@helm
@pytest.mark.parametrize("case", MATRIX)
def test_the_service_selects_the_servers_and_nothing_else(case):
    [service] = of_kind(case, "Service")
    selector = service["spec"]["selector"].items()
    for deployment in of_kind(case, "Deployment"):
        assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for pod in of_kind(case, "Pod"):
        assert not selector <= pod["metadata"].get("labels", {}).items()


@helm
def test_probes_follow_liveness_and_readiness():
    [server] = containers("defaults", "asr-server")
    assert server["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    startup = server["startupProbe"]
    waited_s = startup["failureThreshold"] * startup["periodSeconds"]
    assert waited_s == VALUES["startup"]["timeoutSeconds"]


@helm
def test_integers_stay_integers_and_numbers_keep_their_digits():
    [server] = containers("HPA, nginx, claim", "asr-server")
    given = variables(server)
    assert given["ASR_MAX_UPLOAD_BYTES"] == "26214400"
    assert given["ASR_THREADS"] == "3"
    assert given["ASR_MAX_TASK_S"] == "0.5"


@helm
def test_a_gpu_pod_has_one_gpu_and_a_cpu_pod_none():
    cpu, cuda = containers("both kinds, KEDA", "asr-server")
    assert variables(cpu)["ASR_DEVICE"] == "cpu"
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]
    assert variables(cuda)["ASR_DEVICE"] == "cuda"
    assert cuda["resources"]["limits"]["nvidia.com/gpu"] == 1


@helm
def test_autoscaled_deployments_name_no_number_of_pods():
    for deployment in of_kind("both kinds, KEDA", "Deployment"):
        assert "replicas" not in deployment["spec"]
    [deployment] = of_kind("defaults", "Deployment")
    assert deployment["spec"]["replicas"] == 2


@helm
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


@helm
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


@helm
def test_metrics_are_not_served_beyond_the_cluster():
    [ingress] = of_kind("HPA, nginx, claim", "Ingress")
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            for private in ("/metrics", "/status"):
                assert not private.startswith(path["path"])


@helm
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


@asynccontextmanager
async def api_server(folder, written):
    """Answer as the API server, over HTTPS; put head and body of each request into a queue."""
    certificate, private = certify(folder, ["127.0.0.1"])
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    (folder / "token").write_text("the pod's token")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)

    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        [length] = re.findall(r"content-length: (\d+)", head.lower())
        written.put_nowait((head, json.loads(await reader.readexactly(int(length)))))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.skipif(sys.platform == "win32", reason="runs in a container")
async def test_the_deletion_cost_follows_the_open_tasks(tmp_path):
    written: asyncio.Queue[Any] = asyncio.Queue()
    async with serving() as served, api_server(tmp_path, written) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", CHART / "files" / "pod_deletion_cost.py"),
            env=environment(
                ACCOUNT_DIR=str(tmp_path),
                API_URL=url,
                METRICS_URL=f"{served.http}/metrics",
                POD_NAMESPACE="speech",
                POD_NAME="asr-0",
                INTERVAL_S="0.02",
                HTTPS_PROXY="http://127.0.0.1:1",
            ),
        )
        try:
            for tasks in (0, 1, 0):
                async with connected(served) as client:
                    if tasks:
                        await client.say(run_task())
                        await client.until("task-started")
                    head, body = await asyncio.wait_for(written.get(), 10)
                assert head.startswith("PATCH /api/v1/namespaces/speech/pods/asr-0 ")
                assert "Authorization: Bearer the pod's token\r\n" in head
                assert "application/merge-patch+json" in head
                cost = body["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"]
                assert cost == str(tasks)
        finally:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0
