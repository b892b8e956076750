"""Keep this pod's deletion cost at its number of open tasks, so that the idlest pod ends first.

A ReplicaSet that shrinks removes the pods with the lowest cost. The annotation is written on a
change only, because every write is one of the API server's database.
"""

import json
import os
import re
import signal
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("ACCOUNT_DIR", "/var/run/secrets/kubernetes.io/serviceaccount"))
METRICS = os.environ.get("METRICS_URL", "http://127.0.0.1:8000/metrics")
API = os.environ.get("API_URL", "https://kubernetes.default.svc")
POD = f"{API}/api/v1/namespaces/{os.environ['POD_NAMESPACE']}/pods/{os.environ['POD_NAME']}"
ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"


def open_tasks() -> int:
    """Return the number of open tasks. Raises OSError while the server is away."""
    with urllib.request.urlopen(METRICS, timeout=5) as answer:
        found = re.search(r"^asr_open_tasks (\S+)$", answer.read().decode(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def write(cost: int) -> None:
    """Set the annotation. Raises OSError if the API server refuses or is away."""
    request = urllib.request.Request(
        POD,
        json.dumps({"metadata": {"annotations": {ANNOTATION: str(cost)}}}).encode(),
        {
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",  # renewed every hour
            "Content-Type": "application/merge-patch+json",
        },
        method="PATCH",
    )
    urllib.request.urlopen(request, timeout=5).close()


def main() -> None:
    """Follow the open tasks until SIGTERM, which the first process of a container must handle."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    trust = ssl.create_default_context()
    trust.load_verify_locations(ACCOUNT / "ca.crt")
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    urllib.request.install_opener(urllib.request.build_opener(*handlers))
    written = None
    while True:
        try:
            cost = open_tasks()
            if cost != written:
                write(cost)
                written = cost
        except OSError as exc:
            print(f"deletion cost not written: {exc}", file=sys.stderr, flush=True)
        time.sleep(float(os.environ.get("INTERVAL_S", "20")))


main()
