"""The sidecar of the Helm chart, beside a server and an HTTPS stand-in of the API server."""

import asyncio
import json
import re
import ssl
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asr_server.process.https import certify
from tests.support.processes import environment
from tests.support.serving import connected, run_task, serving
from tools.chart_docs import CHART


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
