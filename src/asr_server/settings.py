"""Define every setting: name, default, unit and meaning. The only home of these defaults.

Only `configuration.py` makes `Settings`; all other modules receive them.
The environment variable `ASR_` + name in capitals sets a field, and so does a line in `.env`.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

AudioFormat = Literal[
    "pcm", "wav", "mulaw", "alaw", "mp3", "opus", "speex", "aac", "amr", "flac", "webm", "m4a",
    "mp4", "ogg", "mkv", "mov", "3gp", "aiff", "au", "caf", "wma", "flv", "avi", "ts",
]  # fmt: skip
"""The values of a task's `format`."""

HubChoice = Literal["auto", "modelscope", "huggingface"]
"""The values of `hub`."""

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8000, 192_000
"""The range of a task's `sample_rate`, for audio without a header."""

SHORTEST_KEY = 16
"""Characters of an API key; shorter ones can be guessed."""

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,]*")


def _split(value: Any) -> Any:
    """Return the items of a list written as `a,b` or as JSON, without blank ones."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        items = json.loads(text) if text.startswith("[") else text.split(",")
    except ValueError:
        raise _invalid('it is no list, such as a,b or ["a","b"]') from None
    stripped = [item.strip() if isinstance(item, str) else item for item in items]
    return [item for item in stripped if item != ""]


def _parse_object(value: Any) -> Any:
    """Return an object written as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise _invalid('it is no JSON object, such as {"name": "value"}') from None


def check_key(key: str) -> str:
    """Return an API key. Raises ValueError, which does not quote the key, if it is too short."""
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"a key is {len(key)} long; at least {SHORTEST_KEY} characters are needed")
    return key


def _invalid(message: str) -> PydanticCustomError:
    """Return an error whose text pydantic shows as it is."""
    return PydanticCustomError("setting", "{message}", {"message": message})


def _shared(name: str, default: str, other: str = "") -> Any:
    """Return a field that is also set by the variable of the hub's own tools."""
    names = AliasChoices(name, f"ASR_{name.upper()}", other or name.upper())
    return Field(default=default, validation_alias=names)


class SettingsError(Exception):
    """Report a setting that cannot work on this machine; the text names the setting and why."""


class Settings(BaseSettings):
    """Hold one server's configuration; immutable."""

    model_config = SettingsConfigDict(
        env_prefix="ASR_",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a key
    )

    # Network
    host: str = "auto"
    """Address to listen on; `auto`: 0.0.0.0, all addresses, with keys, else 127.0.0.1."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free port."""
    root_path: str = ""
    """Path prefix that a reverse proxy strips, as in `/asr`."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins of further pages that may use the server; `*`: all, as is the default with keys."""
    https: bool = False
    """Whether to serve HTTPS to this network: all addresses, own certificate, an API key."""
    https_dir: str = "./data/https"
    """Directory of the certificate and the API key that `https` makes where none are set."""
    ssl_certfile: str = ""
    """File with a TLS certificate, and those that lead to its root; the server then speaks TLS."""
    ssl_keyfile: str = ""
    """File with the private key of `ssl_certfile`, if it is not in the same file."""

    # Model
    model: str = "paraformer-zh-streaming"
    """Model name, directory, `demo`, or `auto`, as in `make run`: production model, else demo."""
    model_dir: str = "./models"
    """Directory of downloaded models."""
    download: Literal["auto", "always", "never"] = "auto"
    """Whether to download a missing model at startup; `auto` does so only if `model` is `auto`."""
    hub: HubChoice = "auto"
    """Model hub to download from; `auto` takes the hub that answers first."""
    model_revision: str = ""
    """Tag or commit of the recognition model on the hub; empty takes the newest."""
    modelscope_endpoint: str = _shared("modelscope_endpoint", "https://modelscope.cn")
    """URL of ModelScope or of a mirror; `MODELSCOPE_ENDPOINT` sets it too."""
    modelscope_cache: str = _shared("modelscope_cache", "~/.cache/modelscope")
    """Cache of ModelScope's own tools, searched for models; `MODELSCOPE_CACHE` sets it too."""
    huggingface_endpoint: str = _shared(
        "huggingface_endpoint", "https://huggingface.co", "HF_ENDPOINT"
    )
    """URL of Hugging Face or of a mirror; `HF_ENDPOINT` sets it too."""
    huggingface_cache: str = _shared("huggingface_cache", "~/.cache/huggingface", "HF_HOME")
    """Cache of Hugging Face's own tools, searched for models; `HF_HOME` sets it too."""
    model_aliases: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """Additional model names for tasks, as JSON: {"my-asr": "paraformer-realtime-v2"}."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the model; `auto` takes a CUDA device if there is one."""
    device_fallback: Literal["none", "cpu"] = "none"
    """Device to use when the CUDA device is lost or missing; a CPU carries fewer streams."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    """Numeric precision of the model; `auto` takes the fastest that the device supports well."""
    chunk_size: Annotated[tuple[int, int, int], NoDecode] = (0, 10, 5)
    """Left context, length, look-ahead of a chunk in 60 ms frames; 0,8,4 has a lower latency."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of the model in total; 0 takes one per core."""
    step_threads: int = Field(default=0, ge=0, le=64)
    """Decoding threads on a CPU; 0 takes two for a large model, one for a small one."""
    max_batch: int = Field(default=64, ge=1)
    """Largest batch: streams decoded in one step."""
    max_batching_delay_ms: float = Field(default=10, ge=0)
    """Longest time in milliseconds that a ready chunk waits for its batch to fill."""
    previews: bool = True
    """Whether to show text between whole chunks; costs compute, shortens the time to first text."""
    second_pass: Literal["off", "auto", "on"] = "auto"
    """Whether an offline model corrects finals; `auto`: if it is on this machine and fits."""
    second_pass_model: str = "auto"
    """Name or directory of the offline model; `auto`: the one that belongs to `model`."""
    second_pass_pause_ms: float = Field(default=320, ge=320)
    """Silence in milliseconds after which a second pass begins, in case the sentence ends there."""
    second_pass_deadline_ms: float = Field(default=150, ge=0)
    """Longest time in milliseconds from the end of a sentence to its final, with a second pass."""

    # Defaults of a task
    default_sample_rate: int = Field(default=16_000, ge=MIN_SAMPLE_RATE, le=MAX_SAMPLE_RATE)
    """Sample rate in Hz of a task that declares no `sample_rate`."""
    default_format: AudioFormat = "pcm"
    """Audio format of a task that declares no `format`."""

    # Limits
    max_connections: int = Field(default=1000, ge=1)
    """Open WebSocket connections; any further one gets 503. Sockets may be twice as many."""
    max_tasks: int = Field(default=64, ge=1)
    """Concurrent tasks, one slot each; any further task fails with Throttling.RateQuota."""
    max_delay_ms: float = Field(default=150, ge=0)
    """Delay of live audio in milliseconds above which further tasks fail too; 0 is unlimited."""
    capacity: int = Field(default=0, ge=0)
    """Live streams this machine holds; 0: as `asr-server bench --save` measured, else estimated."""
    capacity_file: str = "./data/capacity.json"
    """File of measured capacities, one for each model, device, precision and machine."""
    refuse_when_full: bool = False
    """Whether a full server refuses handshakes with 503, so that a balancer tries another one."""
    max_tasks_per_key: int = Field(default=0, ge=0)
    """Concurrent tasks of one API key; 0 is unlimited."""
    max_tasks_per_address: int = Field(default=0, ge=0)
    """Concurrent tasks of one client address; 0 is unlimited."""
    max_task_s: float = Field(default=0, ge=0)
    """Seconds after which a task fails even if it brings audio; 0 is unlimited."""
    max_requests_per_minute: int = Field(default=0, ge=0)
    """Handshakes and HTTP requests per minute of one address; 0 is unlimited."""
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024)
    """Largest WebSocket message; a larger one closes the connection with 1009."""
    max_messages_per_second: float = Field(default=200, ge=0)
    """Messages a second of a connection, beside those with 160 bytes of audio; 0 is unlimited."""
    max_upload_bytes: int = Field(default=25 * 1024 * 1024, ge=64 * 1024)
    """Largest request of /v1/audio/transcriptions; a larger one gets 413."""
    max_lead_s: float = Field(default=30, gt=0)
    """Seconds of undecoded audio of a task after which the server stops reading its connection."""
    max_unread_results: int = Field(default=10_000, ge=1)
    """Final sentences queued for a client that does not read; one more closes the connection."""

    # Timeouts and intervals
    connection_timeout_s: float = Field(default=60, gt=0)
    """Seconds from the handshake to the first task."""
    idle_timeout_s: float = Field(default=60, gt=0)
    """Seconds from the end of a task to the next task."""
    input_timeout_s: float = Field(default=23, gt=0)
    """Seconds without audio from the client after which a task fails."""
    response_timeout_s: float = Field(default=60, gt=0)
    """Seconds of audio without speech after which a task without heartbeats fails."""
    heartbeat_interval_s: float = Field(default=5, gt=0)
    """Seconds between heartbeat results during silence, for tasks that request heartbeats."""
    result_interval_ms: float = Field(default=100, ge=0)
    """Shortest time in milliseconds between two interim results of a task."""
    request_head_timeout_s: float = Field(default=10, gt=0)
    """Seconds a client has to send the head of an HTTP request or handshake."""
    request_body_timeout_s: float = Field(default=30, gt=0)
    """Seconds a client has to send the body of an HTTP request, and to read the response."""
    close_timeout_s: float = Field(default=5, gt=0)
    """Seconds a client has to read the last messages before the connection is closed."""
    drain_timeout_s: float = Field(default=60, ge=0)
    """Seconds after SIGTERM until running tasks fail with ServiceUnavailable."""
    step_timeout_s: float = Field(default=60, gt=0)
    """Seconds after which a step counts as hung and the device is restarted."""
    database_timeout_s: float = Field(default=5, gt=0)
    """Seconds after which an unanswered database call fails with ServiceUnavailable."""

    # Access
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """API keys of at least 16 characters, separated by commas; without any, access is open."""
    api_keys_file: str | None = None
    """File with one API key per line, reloaded when it changes; adds to `api_keys`."""

    # Storage
    database_url: str = "sqlite:///./data/asr_server.sqlite3"
    """Database of hotword lists and revoked tokens: `postgresql://user:password@host/db`."""
    max_vocabularies: int = Field(default=10, ge=1)
    """Hotword vocabularies of one API key."""

    # Logging
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    """Lowest severity that is logged; `debug` logs every state transition of every connection."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """Format of the records on stderr; `auto` is `text` on a terminal and `json` elsewhere."""

    _object = field_validator("model_aliases", mode="before")(_parse_object)
    _lists = field_validator("allowed_origins", "chunk_size", "api_keys", mode="before")(_split)

    @field_validator("host", mode="before")
    @classmethod
    def _blank_host(cls, value: Any) -> Any:
        """Return `auto` for a blank host: sockets take it for all addresses."""
        return value.strip() or "auto" if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        given = tuple(origin.lower().removesuffix("/") for origin in origins)
        for origin in given:
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
                raise _invalid(f"{origin!r} is no origin, such as https://my.example or *")
        return given

    @field_validator("api_keys", "api_keys_file", mode="before")
    @classmethod
    def _refuse_blank(cls, value: Any) -> Any:
        """Refuse a setting that is present without a key: it was meant to demand one."""
        if isinstance(value, str) and not _split(value):
            raise _invalid("it is set but blank; remove it if the server shall need no key")
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        try:
            for key in keys:
                check_key(key.get_secret_value())
        except ValueError as error:
            raise _invalid(str(error)) from None
        return keys

    @field_validator(
        "log_level", "log_format", "device", "device_fallback", "dtype", "default_format",
        "second_pass",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @property
    def keyed(self) -> bool:
        """Return whether clients need a key."""
        return bool(self.api_keys or self.api_keys_file)

    @property
    def tls(self) -> bool:
        """Return whether the server speaks TLS itself."""
        return self.https or bool(self.ssl_certfile)

    @property
    def listen_host(self) -> str:
        """Return the address to listen on: all addresses by default only where keys are needed."""
        if self.host != "auto":
            return self.host
        return "0.0.0.0" if self.keyed or self.https else "127.0.0.1"
