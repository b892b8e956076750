"""Keys are accepted in every form that clients send, and nothing else is."""

import hashlib
import os

import pytest
from pydantic import ValidationError

from asr_server.access import ANONYMOUS, TOKEN_PREFIX, Access, Grant
from asr_server.errors import AccessDenied, InvalidApiKey
from asr_server.settings import Settings, SettingsError

KEY, OTHER = "sk-0123456789abcdef", "sk-of-another-client"


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_without_configured_keys_access_is_open():
    access = Access([])
    assert access.check(None) == access.check("Bearer anything") == Grant(ANONYMOUS)


@pytest.mark.parametrize(
    "authorization", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER  {KEY} ", KEY, f" {KEY} "]
)
def test_every_form_of_the_header_is_accepted(authorization):
    assert Access([KEY]).check(authorization)


def test_a_key_is_accepted_in_the_query_string():
    assert Access([KEY]).check(None, KEY)


def test_every_key_is_a_separate_caller():
    access = Access([KEY, OTHER])
    assert access.check(KEY) != access.check(OTHER)
    assert KEY not in access.check(KEY).caller


@pytest.mark.parametrize(
    "authorization",
    ["Bearer wrong", "Bearer " + KEY[:-1], "Basic " + KEY, "Bearer \ud800", "st-", "st-ä"],
)
def test_a_wrong_key_is_refused(authorization):
    with pytest.raises(InvalidApiKey, match=r"^Invalid API-key provided\.$"):
        Access([KEY]).check(authorization)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer "])
def test_a_missing_key_has_its_own_message(authorization):
    with pytest.raises(InvalidApiKey, match=r"^No API-key provided\.$"):
        Access([KEY]).check(authorization)


def test_a_token_stands_for_its_key_until_it_expires():
    clock = Clock()
    access = Access([KEY], clock=clock)
    caller = access.check(KEY).caller
    token, expires_at = access.issue(caller, 60)
    assert token.startswith(TOKEN_PREFIX)
    assert expires_at == clock.now + 60
    grant = access.check(f"Bearer {token}")
    assert (grant.caller, grant.expires_at) == (caller, expires_at)
    access.confirm(grant)
    clock.now += 60
    with pytest.raises(InvalidApiKey):
        access.check(token)
    with pytest.raises(InvalidApiKey, match="The temporary token has expired"):
        access.confirm(grant)


def test_a_revoked_token_starts_nothing_and_other_tokens_of_its_key_go_on():
    access = Access([KEY])
    caller = access.check_key(KEY)
    revoked, other = (access.check(access.issue(caller, 60)[0]) for _ in range(2))
    access.revoked = frozenset({revoked.token_id})
    with pytest.raises(InvalidApiKey, match="The temporary token was revoked"):
        access.confirm(revoked)
    access.confirm(other)
    access.confirm(access.check(KEY))


def test_an_expired_token_is_still_known_as_one_of_its_key():
    clock = Clock()
    access = Access([KEY], clock=clock)
    caller = access.check_key(KEY)
    token, _ = access.issue(caller, 60)
    clock.now += 60
    assert access.verify(token).caller == caller
    assert Access([OTHER]).verify(token) is None
    assert access.verify(KEY) is None


def test_a_token_is_valid_in_another_process_until_its_key_is_removed():
    access = Access([KEY, OTHER])
    token, _ = access.issue(access.check(KEY).caller, 60)
    grant = Access([KEY]).check(token)
    assert grant.caller == access.check(KEY).caller
    with pytest.raises(InvalidApiKey):
        Access([OTHER]).check(token)
    with pytest.raises(InvalidApiKey):
        Access([OTHER]).confirm(grant)


def test_a_token_is_no_key():
    access = Access([KEY])
    token, _ = access.issue(access.check_key(KEY), 60)
    with pytest.raises(AccessDenied, match="may only start tasks"):
        access.check_key(token)


def test_a_token_signed_with_an_empty_key_is_invalid():
    forged, _ = Access([""]).issue(hashlib.sha256(b"").hexdigest()[:16], 60)
    keys = [key.get_secret_value() for key in Settings(api_keys=f" ,{KEY},").api_keys]
    with pytest.raises(InvalidApiKey):
        Access(keys).check(forged)


def test_a_token_cannot_be_changed():
    access = Access([KEY])
    token, _ = access.issue(access.check(KEY).caller, 60)
    for at in range(len(TOKEN_PREFIX), len(token)):
        forged = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        if at < len(token) - 1:  # the last character has bits that mean nothing
            with pytest.raises(InvalidApiKey):
                access.check(forged)


def test_a_token_of_an_open_server_is_invalid_where_keys_are_required():
    token, _ = Access([]).issue(ANONYMOUS, 60)
    with pytest.raises(InvalidApiKey):
        Access([KEY]).check(token)


def test_the_keys_file_is_reloaded_when_it_changes(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# team A\n{OTHER}\n\n")
    access = Access([KEY], str(file))
    removed = access.check(OTHER)
    assert access.check(KEY)
    file.write_text("a second, longer key\n")
    os.utime(file, ns=(1, 1))
    assert access.check("Bearer a second, longer key")
    with pytest.raises(InvalidApiKey):
        access.check(OTHER)
    with pytest.raises(InvalidApiKey):
        access.confirm(removed)


def test_an_empty_or_deleted_keys_file_grants_no_access(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{OTHER}\n")
    access = Access([], str(file))
    file.unlink()
    assert access.check(OTHER)
    file.write_text("")
    with pytest.raises(InvalidApiKey):
        access.check(OTHER)


def test_a_missing_keys_file_is_an_error_at_the_start(tmp_path):
    with pytest.raises(SettingsError, match="ASR_API_KEYS_FILE: .*missing: No such file"):
        Access([], str(tmp_path / "missing"))


def test_a_short_key_in_the_file_is_an_error_at_the_start_and_ignored_later(tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text("k-tiny\n")
    with pytest.raises(SettingsError, match="ASR_API_KEYS_FILE: .*a key is 6 long") as refusal:
        Access([], str(file))
    assert "k-tiny" not in str(refusal.value)
    file.write_text(f"{OTHER}\n")
    access = Access([], str(file))
    file.write_text("k-tiny\n")
    with pytest.raises(InvalidApiKey):
        access.check("k-tiny")
    assert access.check(OTHER)
    assert "the last keys stay valid: a key is 6 long" in caplog.text


# Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["api_keys", "api_keys_file"])
@pytest.mark.parametrize("value", ["", " ", ",", '["", " "]'])
def test_a_setting_that_is_present_but_blank_refuses_to_start(name, value):
    with pytest.raises(ValidationError, match="it is set but blank"):
        Settings(**{name: value})


@pytest.mark.parametrize("value", [f"{KEY}, ,{OTHER}", f'["{KEY}", "", "{OTHER}"]', (KEY, OTHER)])
def test_blank_keys_are_dropped(value):
    keys = [key.get_secret_value() for key in Settings(api_keys=value).api_keys]
    assert keys == [KEY, OTHER]


def test_a_short_key_is_refused_and_not_quoted():
    with pytest.raises(ValidationError, match="a key is 9 long; at least 16") as refusal:
        Settings(api_keys=f"{KEY},too-short")
    assert "too-short" not in str(refusal.value)
    assert KEY not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "127.0.0.1"),
        ({"host": " "}, "127.0.0.1"),
        ({"api_keys": KEY}, "0.0.0.0"),
        ({"api_keys_file": "keys"}, "0.0.0.0"),
        ({"host": "0.0.0.0"}, "0.0.0.0"),
        ({"host": "192.168.1.5", "api_keys": KEY}, "192.168.1.5"),
    ],
)
def test_without_keys_a_server_listens_on_loopback_unless_told_otherwise(settings, host):
    assert Settings(**settings).listen_host == host


def test_an_origin_is_a_scheme_and_a_host():
    given = "https://My.example/, null, *, capacitor://localhost, http://[::1]:80"
    origins = Settings(allowed_origins=given).allowed_origins
    assert origins[0] == "https://my.example"
    for wrong in ("my.example", "https://my.example/page", "https//my.example"):
        with pytest.raises(ValidationError, match="is no origin, such as https://my.example"):
            Settings(allowed_origins=wrong)
