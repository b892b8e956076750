"""Keys are accepted in every form that clients send, and nothing else is."""

import os

import pytest

from asr_server.access import ANONYMOUS, TOKEN_PREFIX, Access
from asr_server.errors import InvalidApiKey
from asr_server.settings import SettingsError

KEY = "sk-0123456789abcdef"


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_without_configured_keys_access_is_open():
    access = Access([])
    assert access.check(None) == access.check("Bearer anything") == ANONYMOUS


@pytest.mark.parametrize(
    "authorization", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER  {KEY} ", KEY, f" {KEY} "]
)
def test_every_form_of_the_header_is_accepted(authorization):
    assert Access([KEY]).check(authorization)


def test_a_key_is_accepted_in_the_query_string():
    assert Access([KEY]).check(None, KEY)


def test_every_key_is_a_separate_caller():
    access = Access([KEY, "other"])
    assert access.check(KEY) != access.check("other")
    assert KEY not in access.check(KEY)


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
    caller = access.check(KEY)
    token, expires_at = access.issue(caller, 60)
    assert token.startswith(TOKEN_PREFIX)
    assert expires_at == clock.now + 60
    assert access.check(f"Bearer {token}") == caller
    clock.now += 60
    with pytest.raises(InvalidApiKey):
        access.check(token)


def test_a_token_is_valid_in_another_process_until_its_key_is_removed():
    access = Access([KEY, "other"])
    token, _ = access.issue(access.check(KEY), 60)
    assert Access([KEY]).check(token) == access.check(KEY)
    with pytest.raises(InvalidApiKey):
        Access(["other"]).check(token)


def test_a_token_cannot_be_changed():
    access = Access([KEY])
    token, _ = access.issue(access.check(KEY), 60)
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
    file.write_text("# team A\nfirst\n\n")
    access = Access([KEY], str(file))
    assert access.check("first")
    assert access.check(KEY)
    file.write_text("second key\n")
    os.utime(file, ns=(1, 1))
    assert access.check("Bearer second key")
    with pytest.raises(InvalidApiKey):
        access.check("first")


def test_an_empty_or_deleted_keys_file_grants_no_access(tmp_path):
    file = tmp_path / "keys"
    file.write_text("first\n")
    access = Access([], str(file))
    file.unlink()
    assert access.check("first")
    file.write_text("")
    with pytest.raises(InvalidApiKey):
        access.check("first")


def test_a_missing_keys_file_is_an_error_at_the_start(tmp_path):
    with pytest.raises(SettingsError, match="ASR_API_KEYS_FILE: .*missing: No such file"):
        Access([], str(tmp_path / "missing"))
