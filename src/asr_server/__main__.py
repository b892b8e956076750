"""Run `python -m asr_server`: the same as `asr-server`."""

from asr_server.cli.main import main

main()
