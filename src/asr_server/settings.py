"""What can be configured: name, default, unit and meaning of every setting.

Only the root `config.py` and the command line make `Settings`; everything else receives them.
Each field is set by the environment variable `ASR_` + its name in capitals, or by a line in `.env`.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

AudioFormat = Literal[
    "pcm", "wav", "mp3", "opus", "speex", "aac", "amr", "flac", "webm", "m4a", "mp4", "ogg"
]
"""What a task may declare as its `format`."""


def _listed(value: Any) -> Any:
    """Items of a list written as `a,b` or as JSON."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return json.loads(text) if text.startswith("[") else [s.strip() for s in text.split(",") if s]


def _also(name: str, default: str, other: str = "") -> Any:
    """A setting that the hubs' own tools know too, under their variable's name."""
    names = AliasChoices(name, f"ASR_{name.upper()}", other or name.upper())
    return Field(default=default, validation_alias=names)


class SettingsError(Exception):
    """A setting that cannot be followed on this machine; the text names it and says why."""


class Settings(BaseSettings):
    """One server's configuration; immutable."""

    model_config = SettingsConfigDict(
        env_prefix="ASR_", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    # Where it listens
    host: str = "0.0.0.0"
    """Address to listen on; 127.0.0.1 for this machine only."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free one."""
    root_path: str = ""
    """Path prefix that a proxy in front strips, as in `/asr`."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Origins whose pages may call the HTTP side; `*` is every page."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Origins whose pages may open a WebSocket; clients that send no Origin always may."""

    # What recognises
    model: str = "auto"
    """A model's name, a directory, or `auto`: the production model, else the embedded demo."""
    model_dir: str = "./models"
    """Where downloaded models lie."""
    download: Literal["auto", "always", "never"] = "auto"
    """Whether a missing model is downloaded at the start; `auto` does so only for model `auto`."""
    hub: Literal["auto", "modelscope", "huggingface"] = "auto"
    """Where models are downloaded from; `auto` takes the hub that answers first."""
    modelscope_endpoint: str = _also("modelscope_endpoint", "https://modelscope.cn")
    """ModelScope, or a mirror of it; `MODELSCOPE_ENDPOINT` counts too."""
    modelscope_cache: str = _also("modelscope_cache", "~/.cache/modelscope")
    """Where ModelScope's own tools keep models; `MODELSCOPE_CACHE` counts too."""
    huggingface_endpoint: str = _also(
        "huggingface_endpoint", "https://huggingface.co", "HF_ENDPOINT"
    )
    """HuggingFace, or a mirror of it; `HF_ENDPOINT` counts too."""
    huggingface_cache: str = _also("huggingface_cache", "~/.cache/huggingface", "HF_HOME")
    """Where HuggingFace's own tools keep models; `HF_HOME` counts too."""
    model_aliases: dict[str, str] = Field(default_factory=dict)
    """Further model names clients may ask for, as JSON: {"my-asr": "paraformer-realtime-v2"}."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `auto` takes a CUDA device when there is one."""
    device_fallback: Literal["none", "cpu"] = "none"
    """Where to go on when the CUDA device is lost or missing; a CPU holds fewer streams."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    """Precision of the model's arithmetic; `auto` takes the fastest that the device does well."""
    chunk_size: Annotated[tuple[int, int, int], NoDecode] = (0, 10, 5)
    """Left, centre, look-ahead of a chunk in 60 ms frames: (0, 10, 5) or the quicker (0, 8, 4)."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of the model in all; 0 takes one for each core."""
    step_threads: int = Field(default=0, ge=0, le=64)
    """Steps computed side by side on a CPU; 0 takes two for a large model, one for a small one."""
    max_batch: int = Field(default=64, ge=1)
    """Streams that ride one step together."""
    max_batching_delay_ms: float = Field(default=10, ge=0)
    """How long a ready chunk may wait for company."""
    previews: bool = True
    """Show text between committed chunks; costs compute, brings the first text earlier."""

    # What a task gets when it does not say
    default_sample_rate: int = Field(default=16_000, ge=8000, le=48_000)
    """Hz of a task that does not declare its `sample_rate`."""
    default_format: AudioFormat = "pcm"
    """Format of a task that does not declare one."""

    # How much at once
    max_connections: int = Field(default=1000, ge=1)
    """Open WebSocket connections; further ones are answered 503 at the handshake."""
    max_tasks: int = Field(default=64, ge=1)
    """Tasks recognised at once; further ones fail with Throttling.RateQuota."""
    max_delay_ms: float = Field(default=150, ge=0)
    """Delay of live audio in the recogniser over which further tasks fail too; 0 for no limit."""
    max_tasks_per_key: int = Field(default=0, ge=0)
    """Tasks at once for one API key; 0 is unlimited."""
    max_requests_per_minute: int = Field(default=0, ge=0)
    """Handshakes and HTTP requests of one address in a minute; 0 is unlimited."""
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024)
    """Longest WebSocket message; a longer one closes the connection with 1009."""
    max_lead_s: float = Field(default=30, gt=0)
    """Seconds of audio a task may be ahead of the recogniser before its socket is left unread."""
    max_unread_results: int = Field(default=10_000, ge=1)
    """Sentences kept for a client that does not read; beyond it the connection is cut."""

    # How long
    connection_timeout_s: float = Field(default=60, gt=0)
    """Seconds a connection may stay without its first task."""
    idle_timeout_s: float = Field(default=60, gt=0)
    """Seconds a connection may stay without a further task."""
    input_timeout_s: float = Field(default=23, gt=0)
    """Seconds a task may go without any message from its client."""
    response_timeout_s: float = Field(default=60, gt=0)
    """Seconds of audio without speech that fail a task which did not ask for heartbeats."""
    heartbeat_interval_s: float = Field(default=5, gt=0)
    """Seconds of silence between heartbeat results, for tasks that asked for them."""
    result_interval_ms: float = Field(default=100, ge=0)
    """Least time between two interim results of a task."""
    close_timeout_s: float = Field(default=5, gt=0)
    """Seconds a client has to take the last messages before its connection is cut."""
    drain_timeout_s: float = Field(default=60, ge=0)
    """Seconds running tasks may go on after SIGTERM before they fail with ServiceUnavailable."""
    step_timeout_s: float = Field(default=60, gt=0)
    """Seconds a step of the model may take before the device counts as hung and is replaced."""
    database_timeout_s: float = Field(default=5, gt=0)
    """Seconds the database has to answer before what needs it fails with ServiceUnavailable."""

    # Who may
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Keys that open the server, separated by commas; none means that no key is needed."""
    api_keys_file: str = ""
    """A file with one key per line, read again when it changes; in addition to `api_keys`."""

    # What is kept
    database_url: str = "sqlite:///./data/asr_server.sqlite3"
    """Where hotword lists are kept, as SQLAlchemy writes it: `postgresql+psycopg://user@host/db`."""
    max_vocabularies: int = Field(default=10, ge=1)
    """Hotword lists of one API key."""

    # What is told
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    """Least severity that is logged; `debug` traces every state of every connection."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """One line a record, on stderr; `auto` is `text` on a terminal and `json` anywhere else."""

    _lists = field_validator(
        "cors_origins", "allowed_origins", "chunk_size", "api_keys", mode="before"
    )(_listed)

    @field_validator(
        "log_level",
        "log_format",
        "device",
        "device_fallback",
        "dtype",
        "default_format",
        mode="before",
    )
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value
