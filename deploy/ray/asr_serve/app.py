"""Define the deployment: `import_path: asr_serve.app:build` in serve.yaml."""

import os
from typing import Any

from ray import serve
from ray.serve import Application

from asr_serve.options import Options, check_node


@serve.deployment
@serve.ingress()
class AsrServer:
    """Run one whole server, with its own model, in each replica."""

    def __init__(self, directory: str, open_access: bool) -> None:
        check_node(os.environ)
        os.chdir(directory)  # models/, data/ and .env are relative to it, as everywhere
        self._open_access = open_access

    def __serve_build_asgi_app__(self) -> Any:
        """Return the application; Ray Serve runs its lifespan, which loads the model."""
        from asr_serve.replica import application

        return application(self._open_access)

    def check_health(self) -> None:
        """Raise where only a new process helps: a device that restarts refuses tasks itself."""
        from asr_serve.replica import ReplicaServer

        if self.app.state.engine.lost.is_set():  # type: ignore[attr-defined]
            raise RuntimeError("the device is lost")
        if not ReplicaServer.adapted:
            raise RuntimeError(
                "this release of Ray does not run uvicorn.Server: install the one in "
                "deploy/ray/requirements.txt"
            )


def build(args: dict[str, Any]) -> Application:
    """Return the application for the arguments in serve.yaml. Raises ValueError with sentences."""
    check_node(os.environ)
    options = Options.of(args)
    deployment = AsrServer.options(**options.deployment(os.environ))
    return deployment.bind(options.directory, options.open)
