"""Authenticate callers by API keys and by temporary tokens made from them.

Without any key configured every caller is let through. A token is not stored: it carries its key's
fingerprint and is signed with the key, so every process of an installation accepts it until it
expires, is revoked or its key is removed. A token may start tasks and nothing else.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import secrets
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from asr_server.errors import AccessDenied, InvalidApiKey
from asr_server.settings import SettingsError, check_key

log = logging.getLogger(__name__)

Caller: TypeAlias = str
"""Fingerprint of the caller's key, safe to log; ANONYMOUS where no key is configured."""

ANONYMOUS: Caller = ""
TOKEN_PREFIX = "st-"
_CLAIMS = struct.Struct(">8s8sQ")  # key's fingerprint, nonce, expiry in Unix seconds


@dataclass(frozen=True, slots=True)
class Grant:
    """Hold whom a key or a token stands for."""

    caller: Caller
    expires_at: float | None = None
    """Unix time in seconds at which a token expires; None for a key."""
    token_id: str = ""
    """What revokes a token; empty for a key."""


class Access:
    """Hold the keys of this installation. Raises SettingsError if their file cannot be used."""

    def __init__(
        self, keys: Iterable[str], file: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._given = {_fingerprint(key): key for key in keys}
        self._file = file
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._unreadable = False
        self._keys = dict(self._given)
        self.revoked: frozenset[str] = frozenset()
        """Ids of tokens that are no longer valid."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise SettingsError(f"ASR_API_KEYS_FILE: {file}: {_why(error)}") from error

    @property
    def open(self) -> bool:
        """Return whether no key is configured."""
        return not self._keys and not self._file

    def check(self, authorization: str | None, query_key: str | None = None) -> Grant:
        """Return whom a key or token stands for. Raises InvalidApiKey.

        It comes as `Bearer key` in any case, as a bare key, or in a query string.
        """
        self._reload()
        if self.open:
            return Grant(ANONYMOUS)
        given = _bare(authorization) or query_key
        if not given:
            raise InvalidApiKey("No API-key provided.")
        caller = self._owner(given)
        if caller is not None:
            return Grant(caller)
        grant = self.verify(given)
        if grant is None or self._expired(grant) or grant.token_id in self.revoked:
            raise InvalidApiKey
        return grant

    def check_key(self, authorization: str | None) -> Caller:
        """Return the caller of a key. Raises InvalidApiKey, and AccessDenied for a token."""
        grant = self.check(authorization)
        if grant.expires_at is not None:
            raise AccessDenied("A temporary token may only start tasks; use its API key here.")
        return grant.caller

    def confirm(self, grant: Grant) -> None:
        """Raise InvalidApiKey if the token has expired or was revoked, or its key was removed."""
        self._reload()
        if self._expired(grant):
            raise InvalidApiKey("The temporary token has expired.")
        if grant.token_id in self.revoked:
            raise InvalidApiKey("The temporary token was revoked.")
        if not self.open and grant.caller not in self._keys:
            raise InvalidApiKey

    def issue(self, caller: Caller, seconds: int) -> tuple[str, int]:
        """Return a token that stands for the caller's key, and its expiry in Unix seconds."""
        expiry = int(self._clock()) + seconds
        fingerprint = bytes.fromhex(caller) if caller else bytes(8)
        claims = _CLAIMS.pack(fingerprint, secrets.token_bytes(8), expiry)
        signed = claims + _sign(claims, self._keys.get(caller, ""))
        return TOKEN_PREFIX + base64.urlsafe_b64encode(signed).decode().rstrip("="), expiry

    def _owner(self, given: str) -> Caller | None:
        matching = [  # compares all of them: constant time, whichever is close
            caller
            for caller, key in self._keys.items()
            if hmac.compare_digest(key.encode(), given.encode(errors="replace"))
        ]
        return matching[0] if matching else None

    def verify(self, token: str) -> Grant | None:
        """Return whom a token was issued to, even if it has expired; None if it was not here."""
        if not token.startswith(TOKEN_PREFIX):
            return None
        body = token[len(TOKEN_PREFIX) :]
        try:
            signed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            claims, signature = signed[: _CLAIMS.size], signed[_CLAIMS.size :]
            fingerprint, nonce, expiry = _CLAIMS.unpack(claims)
        except (ValueError, binascii.Error, struct.error):
            return None
        key = self._keys.get(fingerprint.hex())
        if key is None or not hmac.compare_digest(signature, _sign(claims, key)):
            return None
        return Grant(fingerprint.hex(), expiry, nonce.hex())

    def _expired(self, grant: Grant) -> bool:
        return grant.expires_at is not None and self._clock() >= grant.expires_at

    def _reload(self) -> None:
        try:
            self._read()
            self._unreadable = False
        except (OSError, ValueError) as error:  # the last keys stay valid
            if not self._unreadable:  # log once, not for every client
                log.error("cannot read the keys file; the last keys stay valid: %s", _why(error))
            self._unreadable = True

    def _read(self) -> None:
        """Read the keys file if there is one and it has changed."""
        if not self._file:
            return
        file = Path(self._file)
        status = file.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        lines = (line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
        keys = [check_key(line) for line in lines if line and not line.startswith("#")]
        self._keys = self._given | {_fingerprint(key): key for key in keys}
        self._stamp = stamp
        log.info("keys read from the keys file", extra={"keys": len(keys)})


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return error.strerror or "" if isinstance(error, OSError) else str(error)


def _bare(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else scheme


def _fingerprint(key: str) -> Caller:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _sign(claims: bytes, key: str) -> bytes:
    return hmac.digest(b"token:" + key.encode(), claims, "sha256")
