"""Prepare TLS: check the certificate of the settings, or make one and keep it.

`https` is for the local network, where no authority certifies an address: browsers give a page the
microphone only over HTTPS, whoever signed. A certificate is made anew before it expires, and when
the machine has an address that the last one does not name. Where no API key is set, one is made.
"""

import datetime as dt
import ipaddress
import os
import secrets
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr_server.network import host_names, lan_addresses
from asr_server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from cryptography import x509

LIFETIME = dt.timedelta(days=397)
"""Apple's devices refuse certificates that are valid for much longer."""
RENEWAL = dt.timedelta(days=30)
"""A certificate with less left is made anew at the start."""
LOCAL = ("localhost", "127.0.0.1", "::1")


def prepare(settings: Settings) -> Settings:
    """Return the settings with the certificate and the API key that `https` demands.

    Raises SettingsError if a file cannot be used.
    """
    if not settings.tls:
        if settings.ssl_keyfile:
            raise SettingsError("ASR_SSL_KEYFILE needs ASR_SSL_CERTFILE")
        return settings
    changes: dict[str, str] = {}
    if settings.https:
        folder = Path(settings.https_dir).expanduser()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not settings.ssl_certfile:
                certificate, key = certify(folder, [*LOCAL, *lan_addresses(), *host_names()])
                changes |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
            if not settings.keyed:
                changes["api_keys_file"] = str(_keys_file(folder))
        except OSError as error:
            raise SettingsError(f"ASR_HTTPS_DIR: {folder}: {error.strerror}") from error
    settings = settings.model_copy(update=changes)
    _check(settings)
    return settings


def certify(
    folder: Path, names: Sequence[str], now: dt.datetime | None = None
) -> tuple[Path, Path]:
    """Return the files of a certificate for names and addresses, and of its private key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = now or dt.datetime.now(dt.timezone.utc)
    certificate, private = folder / "certificate.pem", folder / "private_key.pem"
    wanted = x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])
    if _serves(certificate, private, set(wanted), now + RENEWAL):
        return certificate, private
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"asr-server on {socket.gethostname()}"[:64])]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # clocks of phones differ
        .not_valid_after(now + LIFETIME)
        .add_extension(wanted, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    _write_private(private, key.private_bytes(pem, form, open_))
    _write_private(certificate, made.public_bytes(pem))
    return certificate, private


def fingerprint(certificate: Path) -> str:
    """Return the SHA-256 of a certificate as browsers show it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return loaded.fingerprint(hashes.SHA256()).hex(":").upper()


def _serves(certificate: Path, private: Path, names: set[object], until: dt.datetime) -> bool:
    """Return whether a kept certificate has these names, its key, and time left."""
    from cryptography import x509

    try:
        _load(certificate, private)
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        alternatives = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (OSError, ValueError, x509.ExtensionNotFound):  # ssl.SSLError is an OSError
        return False
    return loaded.not_valid_after_utc > until and names <= set(alternatives.value)


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode())


def _keys_file(folder: Path) -> Path:
    """Return the file of the API key made for `https`, the same one at each start."""
    file = folder / "api_keys"
    if not file.is_file() or not file.read_text(encoding="utf-8").strip():
        _write_private(file, f"{secrets.token_urlsafe(24)}\n".encode())
    return file


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, as a whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)


def _load(certificate: Path, private: Path | None) -> None:
    """Raise OSError if the files are no certificate with its key."""

    def no_password() -> str:
        raise OSError(0, "the private key is encrypted; openssl pkey -in KEY -out PLAIN_KEY")

    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private, no_password)


def _check(settings: Settings) -> None:
    """Raise SettingsError if uvicorn could not use the certificate."""
    certificate, private = Path(settings.ssl_certfile), settings.ssl_keyfile
    for name, file in (("CERTFILE", certificate), ("KEYFILE", Path(private or certificate))):
        try:
            file.open("rb").close()
        except OSError as error:
            raise SettingsError(f"ASR_SSL_{name}: {file}: {error.strerror}") from error
    try:
        _load(certificate, Path(private) if private else None)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        raise SettingsError(f"ASR_SSL_CERTFILE, ASR_SSL_KEYFILE: {reason}") from error
