"""HTTPS for a phone: the certificate, the key, the link."""

import datetime as dt
import ssl
import stat
import sys
from pathlib import Path

import httpx2
import pytest
import websockets
from cryptography import x509

from asr_server.network import host_names, lan_addresses, page_url
from asr_server.process.https import LIFETIME, RENEWAL, certify, fingerprint, prepare
from asr_server.settings import Settings, SettingsError
from tests.support.serving import serving, within

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc)


def made(folder: Path, *names: str, now: dt.datetime = NOW) -> x509.Certificate:
    certificate, private = certify(folder, names, now)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private)
    return x509.load_pem_x509_certificate(certificate.read_bytes())


def test_a_certificate_names_addresses_and_hosts_and_suits_phones(tmp_path):
    certificate = made(tmp_path, "localhost", "192.168.1.20", "fe80::1", "laptop.local")
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(name.value) for name in alternatives.value] == [
        "localhost", "192.168.1.20", "fe80::1", "laptop.local",
    ]  # fmt: skip
    assert certificate.not_valid_after_utc - NOW == LIFETIME
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert x509.oid.ExtendedKeyUsageOID.SERVER_AUTH in usage.value


def test_a_certificate_is_kept_until_it_expires_or_an_address_is_new(tmp_path):
    first = made(tmp_path, "localhost", "10.0.0.1")
    assert made(tmp_path, "localhost", now=NOW + LIFETIME - RENEWAL - dt.timedelta(days=1)) == first
    assert made(tmp_path, "localhost", now=NOW + LIFETIME - RENEWAL) != first
    second = made(tmp_path, "localhost", "10.0.0.2")
    assert "10.0.0.2" in str(second.extensions)


@pytest.mark.parametrize("file", ["certificate.pem", "private_key.pem"])
def test_a_damaged_or_foreign_file_is_replaced(tmp_path, file):
    first = made(tmp_path, "localhost")
    kept = (tmp_path / file).read_bytes()
    second = made(tmp_path, "another")
    assert second != first
    (tmp_path / file).write_bytes(kept)
    third = made(tmp_path, "another")
    assert third not in (first, second)
    (tmp_path / file).write_text("nothing")
    assert made(tmp_path, "another") != third


@pytest.mark.skipif(sys.platform == "win32", reason="files have no modes")
def test_only_the_user_can_read_what_is_made(tmp_path):
    settings = prepare(Settings(https=True, https_dir=str(tmp_path / "data" / "https")))
    folder = tmp_path / "data" / "https"
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert settings.api_keys_file == str(folder / "api_keys")


def test_https_listens_on_all_addresses_with_a_key_of_its_own_that_stays(tmp_path):
    given = Settings(https=True, https_dir=str(tmp_path))
    first = prepare(given)
    assert first.listen_host == "0.0.0.0"
    assert first.keyed
    key = (tmp_path / "api_keys").read_text()
    assert len(key.strip()) >= 32
    assert prepare(given) == first
    assert (tmp_path / "api_keys").read_text() == key


def test_https_leaves_the_users_own_keys_and_address_alone(tmp_path):
    own = Settings(https=True, https_dir=str(tmp_path), api_keys="k" * 16, host="127.0.0.1")
    settings = prepare(own)
    assert settings.listen_host == "127.0.0.1"
    assert settings.api_keys_file is None
    assert not (tmp_path / "api_keys").exists()


def test_a_certificate_that_cannot_serve_is_named_before_the_model_is_loaded(tmp_path):
    certificate, private = certify(tmp_path, ["localhost"])
    missing = str(tmp_path / "missing.pem")
    for given, fault in (
        ({"ssl_keyfile": str(private)}, "ASR_SSL_KEYFILE needs ASR_SSL_CERTFILE"),
        ({"ssl_certfile": missing}, f"ASR_SSL_CERTFILE: {missing}: No such file or directory"),
        ({"ssl_certfile": str(certificate)}, "ASR_SSL_CERTFILE, ASR_SSL_KEYFILE: "),
        ({"https": True, "https_dir": f"{certificate}/x"}, f"ASR_HTTPS_DIR: {certificate}"),
    ):
        with pytest.raises(SettingsError, match=fault):
            prepare(Settings(**given))


async def test_a_phone_gets_page_link_and_speech_over_tls_with_the_key_of_the_link(tmp_path):
    settings = prepare(Settings(https=True, https_dir=str(tmp_path)))
    key = (tmp_path / "api_keys").read_text().strip()
    trusted = ssl.create_default_context(cafile=settings.ssl_certfile)
    given = settings.model_dump(include={"https", "ssl_certfile", "ssl_keyfile", "api_keys_file"})
    async with serving(**given) as served:
        base = f"https://localhost:{served.port}"
        async with httpx2.AsyncClient(verify=trusted, trust_env=False) as client:
            assert (await client.get(f"{base}/")).status_code == 200
            assert (await client.get(f"{base}/page/phone")).status_code == 401
            headers = {"authorization": f"Bearer {key}"}
            answer = await client.get(f"{base}/page/phone", headers=headers)
        if lan_addresses():
            link = page_url(lan_addresses()[0], served.port, tls=True, key=key)
            assert answer.json()["url"] == link
            assert answer.json()["qr"].startswith("data:image/svg+xml")
            assert answer.headers["cache-control"] == "no-store"
        else:
            assert answer.status_code == 404
        address = f"wss://localhost:{served.port}/api-ws/v1/inference?api_key={key}"
        async with within(10), websockets.connect(address, ssl=trusted, proxy=None):
            pass


async def test_a_server_without_https_offers_no_link():
    async with serving() as served, httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{served.http}/page/phone")).status_code == 404


def test_a_fingerprint_is_written_as_browsers_show_it(tmp_path):
    certificate, _ = certify(tmp_path, ["localhost"])
    pairs = fingerprint(certificate).split(":")
    assert len(pairs) == 32
    assert all(len(pair) == 2 and pair == pair.upper() for pair in pairs)


def test_names_of_this_machine_are_none_of_loopback():
    assert not any(address.startswith("127.") for address in lan_addresses())
    assert "localhost" not in host_names()
    assert page_url("::1", 8000, tls=False) == "http://[::1]:8000/"
