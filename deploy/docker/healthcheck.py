"""Exit with 0 if the server in this container is ready: the command of HEALTHCHECK.

`http.client` ignores HTTP_PROXY, which Docker may set in every container.
"""

import http.client
import os
import sys

LOOPBACK = {"": "127.0.0.1", "auto": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""The loopback address for a server that listens on all addresses."""


def main() -> None:
    host = os.environ.get("ASR_HOST", "")
    port = int(os.environ.get("ASR_PORT") or 8000)
    connection = http.client.HTTPConnection(LOOPBACK.get(host, host), port, timeout=4)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        sys.exit(f"no answer from port {port}: {exc}")
    if status != 200:
        sys.exit(f"/readyz answers {status}")


main()
