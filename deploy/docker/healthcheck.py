"""Whether the server in this container is ready, as an exit status: what HEALTHCHECK runs.

`http.client` heeds no HTTP_PROXY, which Docker may hand to every container.
"""

import http.client
import os
import sys

ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a server that listens everywhere is reached from beside it."""


def main() -> None:
    host = os.environ.get("ASR_HOST", "")
    port = int(os.environ.get("ASR_PORT") or 8000)
    connection = http.client.HTTPConnection(ANY.get(host, host), port, timeout=4)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        sys.exit(f"no answer from port {port}: {exc}")
    if status != 200:
        sys.exit(f"/readyz answers {status}")


main()
