"""Files for Compose, systemd and proxies agree with the server and with each other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asr_server.settings import Settings
from tests.support.balancers import ENVOY, HAPROXY
from tests.support.processes import ROOT

COMPOSE = ROOT / "compose.yaml"
UNIT = ROOT / "deploy" / "systemd" / "asr-server.service"
NGINX = ROOT / "deploy" / "nginx" / "asr-server.conf"
CADDY = ROOT / "deploy" / "caddy" / "Caddyfile"
DEFAULTS = Settings(_env_file=None)
OWN_VARIABLES = {
    *("ASR_PUBLISH", "ASR_MEMORY"),
    *("ASR_DOMAIN", "ASR_SERVERS"),
    *("ASR_LISTEN", "ASR_STATS", "ASR_SERVER_1", "ASR_SERVER_2", "ASR_SERVER_3"),
}
"""Those that Compose, Caddy and HAProxy read and the server does not."""

systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")


def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def unit() -> dict[str, str]:
    """The last value of each key; comments are left out."""
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE))


def directives(path: Path) -> str:
    """An nginx or Caddy file without its comments."""
    return re.sub(r"#.*", "", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "path", [COMPOSE, UNIT, NGINX, CADDY, HAPROXY, ENVOY], ids=lambda path: path.name
)
def test_every_named_variable_is_a_setting(path):
    named = set(re.findall(r"\bASR_[A-Z0-9_]+\b", path.read_text(encoding="utf-8")))
    assert named - OWN_VARIABLES <= {f"ASR_{name.upper()}" for name in Settings.model_fields}


def test_compose_follows_its_specification():
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


def test_compose_starts_only_the_server_by_default():
    assert [name for name, service in services().items() if "profiles" not in service] == [
        "asr-server"
    ]


def test_the_files_that_compose_mounts_exist():
    mounted = {
        volume.split(":")[0]
        for service in services().values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    }
    assert mounted
    for path in mounted:
        assert (ROOT / path).exists(), path


def test_compose_publishes_ports_on_this_machine_only():
    for name, service in services().items():
        for port in service.get("ports", ()):
            assert "127.0.0.1:" in port, name


def test_every_container_is_limited_and_restarted():
    for name, service in services().items():
        if "extends" in service:
            service = {**services()[service["extends"]], **service}
        assert {"mem_limit", "restart", "logging"} <= service.keys(), name
        assert service["cap_drop"] == ["ALL"], name


def test_both_service_managers_wait_for_the_drain_timeout():
    last_words_s = DEFAULTS.drain_timeout_s + DEFAULTS.close_timeout_s
    assert int(services()["asr-server"]["stop_grace_period"].removesuffix("s")) > last_words_s
    assert int(unit()["TimeoutStopSec"]) > last_words_s


def test_the_limit_of_files_suffices_for_all_connections():
    files = 2 * DEFAULTS.max_connections
    assert services()["asr-server"]["ulimits"]["nofile"] > files
    assert int(unit()["LimitNOFILE"]) > files


@systemd
def test_systemd_accepts_the_unit(tmp_path):
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
    verified = subprocess.run(command, capture_output=True, text=True)
    if "unrecognized option" in verified.stderr:
        pytest.skip("systemd before 250 verifies running units only")
    assert verified.returncode == 0, verified.stdout


def test_the_timeouts_of_nginx_exceed_the_servers():
    silence_s = max(
        DEFAULTS.connection_timeout_s,
        DEFAULTS.idle_timeout_s,
        DEFAULTS.input_timeout_s,
        DEFAULTS.response_timeout_s,
    )
    for direction in ("read", "send"):
        [seconds] = re.findall(rf"proxy_{direction}_timeout (\d+)s;", directives(NGINX))
        assert int(seconds) > silence_s


def test_nginx_forwards_websockets():
    text = directives(NGINX)
    for directive in (
        "proxy_http_version 1.1;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $asr_connection;",
        "proxy_buffering off;",
        "proxy_set_header Host $http_host;",  # compared with a page's Origin
    ):
        assert directive in text
    assert "Authorization" not in text


def test_no_proxy_logs_a_key():
    [logged] = re.findall(r"log_format asr_server (.*?);", directives(NGINX), re.DOTALL)
    assert not re.search(r"\$(request|request_uri|args|query_string|arg_\w+|http_\w+)\b", logged)
    assert re.search(r"error_log \S+ crit;", directives(NGINX))
    assert re.search(r"request>uri query \{\s*delete api_key\s*\}", directives(CADDY))


@pytest.mark.parametrize("path", ["/metrics", "/status"])
def test_external_addresses_cannot_read_metrics(path):
    [guarded] = re.findall(rf"location \S+ {path} \{{(.*?)\}}", directives(NGINX), re.DOTALL)
    assert guarded.strip().splitlines()[-2].strip() == "deny all;"
    [external] = re.findall(r"@external \{(.*?)\}", directives(CADDY), re.DOTALL)
    assert path in external.split()
    assert "respond @external 403" in directives(CADDY)


def test_both_proxies_balance_open_connections():
    assert "least_conn;" in directives(NGINX)
    assert "lb_policy least_conn" in directives(CADDY)
