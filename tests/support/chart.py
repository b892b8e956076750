"""The Helm chart as tests use it: its values, a matrix of them, and what Helm renders."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.chart_docs import CHART

HELM = shutil.which("helm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
needs_helm = pytest.mark.skipif(HELM is None, reason="needs Helm")

VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
KEYS = {"keys": ["0123456789abcdef"]}
INGRESS = {"enabled": True, "hosts": ["asr.example.com"], "tlsSecret": "tls"}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "public"}], "retries": 2}
KEDA = {"mode": "keda", "prometheusAddress": "http://prometheus:9090"}
POSTGRES = {"url": "postgresql://asr@db/asr"}
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
