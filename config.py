"""This installation's settings: the environment and `.env`. Nothing else reads either."""

from asr_server.settings import Settings

settings = Settings(_env_file=".env")  # type: ignore[call-arg]  # pydantic-settings adds it
