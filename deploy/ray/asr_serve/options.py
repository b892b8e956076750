"""Derive everything that Ray Serve has to know from the arguments in serve.yaml.

Imports no Ray, so that the arguments can be checked without it.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from asr_server.settings import Settings

DEFAULTS = Settings.model_fields

HTTP_REQUESTS = 64
"""Requests at once beside the WebSockets, such as scrapes. Ray makes the next ones wait."""
MARGIN_S = 10.0
"""Seconds for Ray to notice the end of a drain and to stop the model."""
BUILDER_SETS = {"ASR_CAPACITY": "capacity", "ASR_DEVICE": "num_gpus", "ASR_REFUSE_WHEN_FULL": ""}
"""Settings that follow from the arguments, and from which."""
MIN_DRAINING = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
"""Variable: seconds that a replica stays reachable once it is to stop."""
HARD_STOP = "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"
REQUEST_TIMEOUT = "RAY_SERVE_REQUEST_PROCESSING_TIMEOUT_S"
SECRETS = {
    "ASR_API_KEYS": "use ASR_API_KEYS_FILE, or .env in the directory",
    "ASR_DATABASE_URL": "its password belongs into .env in the directory",
}
"""Settings that are not for all eyes, and where they belong."""
RAY_LISTENS = ("ASR_HOST", "ASR_PORT", "ASR_HTTPS", "ASR_SSL_CERTFILE", "ASR_SSL_KEYFILE")


class Options(BaseModel):
    """Hold the arguments in serve.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    directory: str
    capacity: int = Field(ge=1)
    utilization: float = Field(default=0.7, gt=0, le=1)
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=1, ge=1)
    upscale_delay_s: float = Field(default=10, ge=0)
    downscale_delay_s: float = Field(default=600, ge=0)
    num_cpus: float = Field(default=1, gt=0)
    num_gpus: int = Field(default=0, ge=0, le=1)
    open: bool = False
    """Whether to serve without API keys, because something in front authenticates."""
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @field_validator("directory")
    @classmethod
    def _absolute(cls, directory: str) -> str:
        if not PurePosixPath(directory).is_absolute():
            raise ValueError(f"{directory!r} must be absolute: Ray chooses where replicas start")
        return directory

    @field_validator("settings")
    @classmethod
    def _known(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for name in settings:
            if name.removeprefix("ASR_").lower() not in DEFAULTS or not name.startswith("ASR_"):
                raise ValueError(f"{name} is no setting, such as ASR_LOG_LEVEL")
            if name in SECRETS:
                raise ValueError(f"{name} would appear in Ray's dashboard: {SECRETS[name]}")
            if name in RAY_LISTENS:
                raise ValueError(f"{name} has no effect: Ray listens, see http_options")
            if name in BUILDER_SETS:
                other = BUILDER_SETS[name]
                raise ValueError(f"{name} is set already" + (f": see {other}" if other else ""))
        return settings

    @model_validator(mode="after")
    def _consistent(self) -> "Options":
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}"
            )
        if self.target < 1:
            raise ValueError(
                f"utilization {self.utilization:g} of capacity {self.capacity} is less than a task"
            )
        server = self.server
        for name in ("max_tasks", "max_connections"):
            if (found := getattr(server, name)) < self.capacity:
                raise ValueError(f"ASR_{name.upper()} {found} is below capacity {self.capacity}")
        return self

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Options":
        """Return checked arguments. Raises ValueError with a sentence for each fault."""
        try:
            return cls.model_validate(dict(arguments))
        except ValidationError as error:
            faults = (
                f"{'.'.join(map(str, ('args', *fault['loc'])))}: "
                f"{fault['msg'].removeprefix('Value error, ')}"
                for fault in error.errors()
            )
            raise ValueError("\n".join(faults)) from None

    @property
    def target(self) -> int:
        """Return the open connections of a replica that autoscaling aims at."""
        return int(self.utilization * self.capacity)

    @property
    def environment(self) -> dict[str, str]:
        """Return the replicas' settings; they win over `.env` in the directory."""
        derived = {
            "ASR_CAPACITY": self.capacity,
            "ASR_MAX_TASKS": self.capacity,
            # Clients may hold a connection between two tasks.
            "ASR_MAX_CONNECTIONS": 2 * self.capacity,
            "ASR_REFUSE_WHEN_FULL": True,
            "ASR_DEVICE": "cuda" if self.num_gpus else "cpu",
            # The server would take all cores of the node.
            "ASR_THREADS": max(1, int(self.num_cpus)),
            "ASR_DRAIN_TIMEOUT_S": DEFAULTS["drain_timeout_s"].default,
            "ASR_CLOSE_TIMEOUT_S": DEFAULTS["close_timeout_s"].default,
        }
        return {name: _text(value) for name, value in {**derived, **self.settings}.items()}

    @property
    def server(self) -> Settings:
        """Return the settings of a replica. Raises ValueError for a value that it would refuse."""
        values = {name[4:].lower(): value for name, value in self.environment.items()}
        try:
            return Settings(_env_file=None, **values)
        except ValidationError as error:
            faults = (f"ASR_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
            raise ValueError("; ".join(faults)) from None

    def deployment(self, node: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of the deployment on nodes with an environment.

        Raises ValueError if Ray would cut connections before the server has drained.
        """
        server = self.server
        end_s = _seconds(node, MIN_DRAINING, 30) + server.drain_timeout_s + server.close_timeout_s
        if end_s > _seconds(node, HARD_STOP, 120):
            raise ValueError(
                f"{HARD_STOP} must be above {end_s:g}: a replica that ends may serve its "
                "connections so long, with the ASR_DRAIN_TIMEOUT_S of the settings"
            )
        return {
            # The server refuses further tasks with an answer; Ray would let them wait.
            "max_ongoing_requests": server.max_connections + HTTP_REQUESTS,
            "autoscaling_config": {
                "min_replicas": self.min_replicas,
                "max_replicas": self.max_replicas,
                "target_ongoing_requests": self.target,
                "upscale_delay_s": self.upscale_delay_s,
                "downscale_delay_s": self.downscale_delay_s,
            },
            "graceful_shutdown_timeout_s": end_s + MARGIN_S,
            "ray_actor_options": {
                "num_cpus": self.num_cpus,
                "num_gpus": self.num_gpus,
                "runtime_env": {"env_vars": self.environment},
            },
        }


def check_node(environment: Mapping[str, str]) -> None:
    """Raise ValueError with a sentence for each variable of serve.env that is missing or wrong."""
    faults = []
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        faults.append(
            "RAY_SERVE_ENABLE_HA_PROXY must be 1: the default proxy pings clients that cannot "
            "answer, and buffers audio without limit"
        )
    if environment.get("RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD") != "0":
        faults.append(
            "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD must be 0: the server and its sockets "
            "share an event loop"
        )
    if "503" not in environment.get("RAY_SERVE_HAPROXY_RETRY_ON", "").split():
        faults.append(
            "RAY_SERVE_HAPROXY_RETRY_ON must contain 503: what a full replica refuses, another "
            "one may accept"
        )
    if _seconds(environment, HARD_STOP, 120) < 3600:
        faults.append(
            f"{HARD_STOP} must be 3600 or more: this long after a change of the replicas, Ray cuts "
            "the WebSockets that were open then"
        )
    if _seconds(environment, REQUEST_TIMEOUT, 0):
        faults.append(f"{REQUEST_TIMEOUT} must be unset: it ends WebSockets")
    if faults:
        raise ValueError("\n".join([*faults, "see deploy/ray/serve.env"]))


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    """Return a variable, or Ray's default."""
    text = environment.get(name, "")
    try:
        return float(text or default)
    except ValueError:
        raise ValueError(f"{name} must be a number of seconds, not {text!r}") from None


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
