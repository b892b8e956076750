"""This installation's settings: the environment and `.env`. Nothing else reads either."""

from pydantic import ValidationError

from asr_server.settings import Settings, problems

try:
    settings = Settings(_env_file=".env")  # type: ignore[call-arg]  # pydantic-settings adds it
except ValidationError as error:
    faults = [f"ASR_{name.upper()}: {fault}" for name, fault in problems(error)]
    raise SystemExit("\n".join(["Not started:", *faults])) from None
