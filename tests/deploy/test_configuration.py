"""Files for Compose, systemd, nginx and Caddy agree with the server and with each other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asr_server.settings import Settings
from tests.support.processes import ROOT

COMPOSE = ROOT / "compose.yaml"
UNIT = ROOT / "deploy" / "systemd" / "asr-server.service"
NGINX = ROOT / "deploy" / "nginx" / "asr-server.conf"
CADDY = ROOT / "deploy" / "caddy" / "Caddyfile"
DEFAULTS = Settings(_env_file=None)
OWN_VARIABLES = {"ASR_PUBLISH", "ASR_MEMORY", "ASR_DOMAIN", "ASR_SERVERS"}
"""Those that Compose and Caddy read and the server does not."""

systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")


def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def unit() -> dict[str, str]:
    """The last value of each key; comments are left out."""
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE))


def directives(path: Path) -> str:
    """An nginx or Caddy file without its comments."""
    return re.sub(r"#.*", "", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [COMPOSE, UNIT, NGINX, CADDY], ids=lambda path: path.name)
def test_every_variable_named_is_a_setting(path):
    named = set(re.findall(r"\bASR_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named - OWN_VARIABLES <= {f"ASR_{name.upper()}" for name in Settings.model_fields}


def test_compose_is_what_the_specification_allows():
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            COMPOSE,
        ],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_compose_starts_the_server_alone_unless_told_otherwise():
    assert [name for name, service in services().items() if "profiles" not in service] == [
        "asr-server"
    ]


def test_what_compose_mounts_from_the_checkout_exists():
    mounted = {
        volume.split(":")[0]
        for service in services().values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    }
    assert mounted
    for path in mounted:
        assert (ROOT / path).exists(), path


def test_compose_publishes_nothing_beyond_this_machine():
    for name, service in services().items():
        for port in service.get("ports", ()):
            assert "127.0.0.1:" in port, name


def test_every_container_is_limited_and_restarted():
    for name, service in services().items():
        if "extends" in service:
            service = {**services()[service["extends"]], **service}
        assert {"mem_limit", "restart", "logging"} <= service.keys(), name
        assert service["cap_drop"] == ["ALL"], name


def test_both_service_managers_wait_until_running_tasks_are_through():
    last_words_s = DEFAULTS.drain_timeout_s + DEFAULTS.close_timeout_s
    assert int(services()["asr-server"]["stop_grace_period"].removesuffix("s")) > last_words_s
    assert int(unit()["TimeoutStopSec"]) > last_words_s


def test_files_suffice_for_every_connection():
    files = 2 * DEFAULTS.max_connections
    assert services()["asr-server"]["ulimits"]["nofile"] > files
    assert int(unit()["LimitNOFILE"]) > files


@systemd
def test_systemd_understands_the_unit(tmp_path):
    copy = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    copy.write_text(
        re.sub(r"^ExecStart=.*", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
    )
    found = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert UNIT.name not in found.stderr


@systemd
def test_the_unit_is_hardened(tmp_path):
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", UNIT]
    judged = subprocess.run(command, capture_output=True, text=True)
    if "unrecognized option" in judged.stderr:
        pytest.skip("systemd before 250 judges only what runs")
    assert judged.returncode == 0, judged.stdout


def test_nginx_waits_longer_than_the_server():
    silence_s = max(
        DEFAULTS.connection_timeout_s,
        DEFAULTS.idle_timeout_s,
        DEFAULTS.input_timeout_s,
        DEFAULTS.response_timeout_s,
    )
    for direction in ("read", "send"):
        [seconds] = re.findall(rf"proxy_{direction}_timeout (\d+)s;", directives(NGINX))
        assert int(seconds) > silence_s


def test_nginx_lets_websockets_through():
    text = directives(NGINX)
    for directive in (
        "proxy_http_version 1.1;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $asr_connection;",
        "proxy_buffering off;",
    ):
        assert directive in text
    assert "Authorization" not in text


def test_no_proxy_logs_a_key():
    [logged] = re.findall(r"log_format asr_server (.*?);", directives(NGINX), re.DOTALL)
    assert not re.search(r"\$(request|request_uri|args|query_string|arg_\w+|http_\w+)\b", logged)
    assert re.search(r"error_log \S+ crit;", directives(NGINX))
    assert re.search(r"request>uri query \{\s*delete api_key\s*\}", directives(CADDY))


@pytest.mark.parametrize("path", ["/metrics", "/status"])
def test_strangers_do_not_see_the_figures(path):
    [guarded] = re.findall(rf"location \S+ {path} \{{(.*?)\}}", directives(NGINX), re.DOTALL)
    assert guarded.strip().splitlines()[-2].strip() == "deny all;"
    [strangers] = re.findall(r"@strangers \{(.*?)\}", directives(CADDY), re.DOTALL)
    assert path in strangers.split()
    assert "respond @strangers 403" in directives(CADDY)


def test_both_proxies_count_open_connections():
    assert "least_conn;" in directives(NGINX)
    assert "lb_policy least_conn" in directives(CADDY)
