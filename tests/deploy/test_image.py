"""What the container image says and runs; building it needs Docker and is no part of the tests."""

import asyncio
import re
import subprocess
import sys
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import pytest

from asr_server.process.https import certify
from asr_server.settings import Settings
from tests.support.processes import ROOT, environment
from tests.support.serving import Served, serving

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SCRIPTS = ROOT / "deploy" / "docker"
BIN = Path(sys.executable).parent


def test_the_build_context_has_only_the_files_the_dockerfile_copies():
    ignored, *patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    sent = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!.*--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.replace("--chmod=755 ", "").split()[:-1]
    }
    assert ignored == "*"
    assert {s for s in copied if not any(fnmatch(s, f"{kept}*") for kept in sent)} == set()
    assert {s for s in sent if not any(fnmatch(c, f"{s}*") for c in copied)} == set()
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_runs_as_a_numeric_user_that_is_not_root():
    [user] = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0
    assert f"--uid {user} " in DOCKERFILE


def test_the_variables_of_the_image_are_settings():
    named = set(re.findall(r"\bASR_(\w+)=", DOCKERFILE))
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    assert named


def test_the_image_listens_on_all_addresses_of_its_container():
    assert "ASR_HOST=0.0.0.0" in DOCKERFILE


def entrypoint(*arguments: str, models: Path, **variables: str):
    return subprocess.run(
        ["/bin/sh", SCRIPTS / "entrypoint.sh", *arguments],
        cwd=models,
        env=environment(
            ASR_MODEL_DIR=str(models), HOME=str(models), PATH=f"{BIN}:/bin:/usr/bin", **variables
        ),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="runs in a container")
def test_an_image_without_a_model_prints_how_to_fill_its_volume(tmp_path):
    done = entrypoint("serve", models=tmp_path)
    assert done.returncode == 1
    assert f"docker run --rm -v asr-models:{tmp_path} IMAGE models download" in done.stderr
    assert "docker compose run --rm asr-server models download" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="runs in a container")
def test_the_image_runs_other_commands_without_a_message(tmp_path):
    done = entrypoint("--version", models=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_server_replaces_the_entrypoint_and_so_gets_signals():
    lines = (SCRIPTS / "entrypoint.sh").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == 'exec asr-server "$@"'


def health(served: Served | None = None, **variables: str) -> int:
    port = str(served.port if served else 1)
    return subprocess.run(
        [sys.executable, "-IS", SCRIPTS / "healthcheck.py"],
        env=environment(ASR_PORT=port, HTTP_PROXY="http://127.0.0.1:1", NO_PROXY="", **variables),
        capture_output=True,
    ).returncode


async def test_the_health_check_follows_readiness_and_ignores_proxies():

    async with serving() as served:
        assert await asyncio.to_thread(health, served) == 0
        for host in ("0.0.0.0", "auto"):
            assert await asyncio.to_thread(partial(health, served, ASR_HOST=host)) == 0
        await served.engine.stop()
        assert await asyncio.to_thread(health, served) == 1
    assert await asyncio.to_thread(health) == 1


async def test_the_health_check_speaks_tls_where_the_server_does(tmp_path):
    certificate, private = certify(tmp_path, ["asr.example.com"])
    async with serving(ssl_certfile=str(certificate), ssl_keyfile=str(private)) as served:
        tls = {"ASR_SSL_CERTFILE": str(certificate)}
        assert await asyncio.to_thread(partial(health, served, **tls)) == 0
        assert await asyncio.to_thread(partial(health, served, ASR_HTTPS="true")) == 0
        assert await asyncio.to_thread(health, served) == 1
