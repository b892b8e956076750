"""Without keys, only the server's own pages and those of localhost may use it."""

import json
import logging

import pytest
import websockets

from asr_client.protocol import PATH
from tests.support.attacks import requests
from tests.support.attacks.requests import CUSTOMIZATION, FOREIGN, REBOUND
from tests.support.serving import http_client, names, run_task, serving

LISTING = requests.customization("list_vocabulary")


@pytest.fixture
async def served(tmp_path):
    async with serving(database_url=f"sqlite:///{tmp_path}/lists.sqlite3") as server:
        yield server


async def ask(served, method="GET", path="/metrics", body=None, **headers):
    if body is not None:
        headers = {**requests.JSON, **headers}
    async with http_client() as client:
        return await client.request(
            method, served.http + path, headers=headers, content=body and json.dumps(body)
        )


async def shake_hands(served, Host="127.0.0.1", **headers):  # noqa: N803
    """Return the status of a handshake and, if it was refused, the message."""
    options = {"host": "127.0.0.1", "port": served.port, "compression": None, "proxy": None}
    try:
        async with websockets.connect(
            f"ws://{Host}{PATH}", additional_headers=headers, **options
        ) as socket:
            await socket.send(run_task())
            assert names([json.loads(await socket.recv())]) == ["task-started"]
            return 101, ""
    except websockets.InvalidStatus as refusal:
        return refusal.response.status_code, json.loads(refusal.response.body)["message"]


async def test_a_page_of_another_site_opens_no_socket(served):
    status, message = await shake_hands(served, Origin=FOREIGN)
    assert status == 403
    assert message == f"Pages of {FOREIGN!r} may not use this server; see ASR_ALLOWED_ORIGINS."


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1.evil.example", "http://["])
async def test_a_page_of_another_site_neither_writes_nor_reads(served, origin):
    written = await ask(served, "POST", CUSTOMIZATION, requests.create(), Origin=origin)
    assert (written.status_code, written.json()["code"]) == (403, "AccessDenied")
    plain = {"Origin": origin, "Content-Type": "text/plain"}
    assert (await ask(served, "POST", CUSTOMIZATION, LISTING, **plain)).status_code == 403
    read = await ask(served, Origin=origin)
    assert read.status_code == 403
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked = await ask(served, "OPTIONS", CUSTOMIZATION, **preflight)
    for answer in (written, read, asked):
        assert "access-control-allow-origin" not in answer.headers
    listed = await ask(served, "POST", CUSTOMIZATION, LISTING)
    assert listed.json()["output"]["vocabulary_list"] == []


async def test_a_name_that_was_rebound_to_the_server_is_refused(served):
    page = {"Host": REBOUND, "Origin": f"http://{REBOUND}"}
    status, message = await shake_hands(served, **page)
    assert status == 403
    assert "'evil.example:8000' is no name of this server" in message
    assert (await ask(served, "POST", CUSTOMIZATION, LISTING, **page)).status_code == 403
    assert (await ask(served, Host=REBOUND)).status_code == 403
    assert (await ask(served, path="/", Host=REBOUND)).status_code == 403


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://192.168.1.5:8000", "192.168.1.5:8000"),
        ("http://[fd00::1]:8000", "[fd00::1]:8000"),
        ("https://asr-box", "asr-box"),
        ("https://asr-box.local", "ASR-box.local:443"),
        ("http://localhost:5173", "127.0.0.1:8000"),
        ("http://demo.localhost:5173", "127.0.0.1:8000"),
        ("capacitor://localhost", "192.168.1.5:8000"),
        ("file://", "192.168.1.5:8000"),
    ],
)
async def test_own_pages_those_of_localhost_and_apps_may_use_the_server(served, origin, host):
    assert await shake_hands(served, Origin=origin, Host=host) == (101, "")
    answer = await ask(served, "POST", CUSTOMIZATION, LISTING, Origin=origin, Host=host)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    preflight = {"Origin": origin, "Host": host, "Access-Control-Request-Method": "POST"}
    assert (await ask(served, "OPTIONS", CUSTOMIZATION, **preflight)).status_code == 200


async def test_programs_notice_nothing_whatever_the_servers_name(served):
    assert await shake_hands(served, Host="asr.example.com") == (101, "")
    listed = await ask(served, "POST", CUSTOMIZATION, LISTING, Host="asr.example.com")
    assert listed.status_code == 200
    for path in ("/healthz", "/readyz"):
        assert (await ask(served, path=path, Host="asr.example.com")).status_code == 200
    assert (await ask(served, Host="asr-server:8000")).status_code == 200  # Prometheus in Compose


async def test_one_setting_admits_further_sites_and_names():
    async with serving(allowed_origins="https://asr.example.com, null") as served:
        assert (await shake_hands(served, Origin="https://asr.example.com"))[0] == 101
        assert (await shake_hands(served, Origin="null"))[0] == 101
        own = {"Origin": "https://asr.example.com", "Host": "asr.example.com"}
        assert (await shake_hands(served, **own))[0] == 101
        assert (await ask(served, Host="asr.example.com")).status_code == 200
        assert (await shake_hands(served, Origin=FOREIGN))[0] == 403
        assert (await ask(served, Origin=FOREIGN)).status_code == 403
    async with serving(allowed_origins="*") as served:
        assert (await shake_hands(served, Origin=FOREIGN, Host=REBOUND))[0] == 101
        assert (await ask(served, Origin=FOREIGN)).headers["access-control-allow-origin"] == "*"


async def test_where_keys_are_needed_they_decide_unless_sites_are_named():
    key = "sk-0123456789abcdef"
    page = {"Origin": FOREIGN, "Authorization": key}
    async with serving(api_keys=key) as served:
        assert (await shake_hands(served, Host="asr.example.com", **page))[0] == 101
        assert (await shake_hands(served, Origin=FOREIGN))[0] == 401
    async with serving(api_keys=key, allowed_origins="https://my.example") as served:
        assert (await shake_hands(served, **page))[0] == 403
        own = {"Origin": "https://asr.example.com", "Host": "asr.example.com"}
        assert (await shake_hands(served, Authorization=key, **own))[0] == 101


@pytest.mark.parametrize(
    ("settings", "warned"),
    [({"host": "0.0.0.0"}, 1), ({}, 0), ({"host": "0.0.0.0", "api_keys": "k" * 16}, 0)],
)
async def test_an_open_server_that_others_reach_warns_once(caplog, settings, warned):
    async with serving(**settings):
        pass
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [line for line in lines if "every client that reaches 0.0.0.0" in line] == lines
    assert len(lines) == warned
