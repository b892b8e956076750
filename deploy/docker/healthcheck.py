"""Exit with 0 if the server in this container is ready: the command of HEALTHCHECK.

`http.client` ignores HTTP_PROXY, which Docker may set in every container.
"""

import http.client
import os
import ssl
import sys

LOOPBACK = {"": "127.0.0.1", "auto": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""The loopback address for a server that listens on all addresses."""


def main() -> None:
    host = os.environ.get("ASR_HOST", "")
    port = int(os.environ.get("ASR_PORT") or 8000)
    https = os.environ.get("ASR_HTTPS", "").lower() in ("1", "true", "on", "yes", "t", "y")
    connection = http.client.HTTPConnection(LOOPBACK.get(host, host), port, timeout=4)
    if https or os.environ.get("ASR_SSL_CERTFILE"):
        # The certificate is for the name that clients use, not for loopback.
        connection = http.client.HTTPSConnection(
            LOOPBACK.get(host, host), port, timeout=4, context=ssl._create_unverified_context()
        )
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        sys.exit(f"no answer from port {port}: {exc}")
    if status != 200:
        sys.exit(f"/readyz answers {status}")


main()
