"""Hotword vocabularies and tokens over HTTP, with the official SDK and without."""

import asyncio

import dashscope
import pytest
from dashscope.audio.asr import VocabularyService, VocabularyServiceException
from websockets.exceptions import InvalidStatus

from tests.support.serving import (
    LOUD,
    connected,
    finish_task,
    http_client,
    names,
    run_task,
    serving,
)

KEY, OTHER = "sk-0123456789abcdef", "sk-of-another-client"
WORDS = [{"text": "天地玄黄", "weight": 4, "lang": "zh"}, {"text": "Lake Tai", "weight": 5}]
MODEL = "paraformer-realtime-v2"
PATH = "/api/v1/services/audio/asr/customization"


@pytest.fixture
async def served(tmp_path, monkeypatch):
    database = f"sqlite:///{tmp_path}/lists.sqlite3"
    async with serving(api_keys=(KEY, OTHER), database_url=database, max_vocabularies=2) as server:
        monkeypatch.setattr(dashscope, "base_http_api_url", server.http + "/api/v1")
        monkeypatch.setattr(dashscope, "api_key", KEY)
        yield server


async def post(served, path, json=None, key=KEY, **options):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with http_client() as client:
        return await client.post(served.http + path, json=json, headers=headers, **options)


async def act(served, action, key=KEY, **given):
    message = {"model": "speech-biasing", "input": {"action": action, **given}}
    return await post(served, PATH, message, key)


async def create(served, **given):
    given = {"target_model": MODEL, "prefix": "demo", "vocabulary": WORDS, **given}
    return await act(served, "create_vocabulary", **given)


# The official SDK ---------------------------------------------------------------------------------


async def test_the_sdk_creates_reads_updates_and_deletes_a_vocabulary(served):
    def run():
        service = VocabularyService()
        id = service.create_vocabulary(target_model=MODEL, prefix="demo", vocabulary=WORDS)
        listed = service.list_vocabularies()
        found = service.query_vocabulary(id)
        service.update_vocabulary(id, WORDS[:1])
        changed = service.query_vocabulary(id)
        service.delete_vocabulary(id)
        return id, listed, found, changed, service.list_vocabularies(prefix="demo")

    id, listed, found, changed, left = await asyncio.to_thread(run)
    assert id.startswith("vocab-demo-")
    assert [item["vocabulary_id"] for item in listed] == [id]
    assert set(listed[0]) == {"vocabulary_id", "gmt_create", "gmt_modified", "status"}
    assert (found["status"], found["target_model"], found["vocabulary"]) == ("OK", MODEL, WORDS)
    assert changed["vocabulary"] == WORDS[:1]
    assert left == []


async def test_the_sdk_gets_the_code_of_an_error(served):
    def run():
        VocabularyService().query_vocabulary("vocab-none-0")

    with pytest.raises(VocabularyServiceException) as refusal:
        await asyncio.to_thread(run)
    assert refusal.value._code == "BadRequest.ResourceNotExist"


async def test_a_task_gets_its_vocabularys_words_and_runs_without_an_unknown_one(served):
    id = (await create(served)).json()["output"]["vocabulary_id"]
    headers = {"Authorization": KEY}
    async with connected(served, additional_headers=headers) as client:
        for vocabulary_id in (id, "vocab-from-aliyun-0", "", None):
            await client.say(run_task(vocabulary_id=vocabulary_id), LOUD, finish_task())
            assert names(await client.until("task-finished"))[-1] == "task-finished"


# By hand ------------------------------------------------------------------------------------------


async def test_the_envelope_is_dashscopes(served):
    answer = await create(served)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"output", "usage", "request_id"}
    assert body["usage"] == {"count": 1}


@pytest.mark.parametrize("given", [{}, {"prefix": None}, {"page_index": 0, "page_size": 10}])
async def test_listing_needs_no_input(served, given):
    await create(served)
    answer = await act(served, "list_vocabulary", **given)
    assert len(answer.json()["output"]["vocabulary_list"]) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"prefix": "Demo"},
        {"prefix": "elevenchars"},
        {"prefix": ""},
        {"prefix": None},
        {"target_model": None},
        {"vocabulary": None},
        {"vocabulary": "words"},
        {"vocabulary": [{"weight": 4}]},
        {"vocabulary": [{"text": "好", "weight": 6}]},
        {"vocabulary": [{"text": "好", "weight": 0}]},
        {"vocabulary": [{"text": "", "weight": 4}]},
        {"vocabulary": [{"text": "一" * 16, "weight": 4}]},
        {"vocabulary": [{"text": "a b c d e f g h", "weight": 4}]},
        {"vocabulary": [{"text": "好", "weight": 4}] * 501},
    ],
)
async def test_an_invalid_vocabulary_is_refused(served, given):
    answer = await create(served, **given)
    assert answer.status_code == 400
    assert answer.json()["code"] == "InvalidParameter"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ({"model": 7}, "Invalid value of parameter 'model': 7. It must be 'speech-biasing'."),
        ({"prefix": "Demo"}, "Invalid value of parameter 'input.prefix': \"Demo\". String should"),
        ({"prefix": None}, "Invalid value of parameter 'input.prefix': null. Input should be a"),
        ({"vocabulary": "words"}, "'input.vocabulary': \"words\". Input should be a valid list."),
        ({"vocabulary": [{"weight": 4}]}, "Missing required parameter 'input.vocabulary.0.text'!"),
        (
            {"vocabulary": [{"text": "好"}] * 501},
            "'input.vocabulary': an array of 501. List should",
        ),
        (
            {"vocabulary": [{"text": "好的"}, {"text": "好", "weight": 6}]},
            "'input.vocabulary.1': The weight of a hotword must be 1 to 5, or 50, not 6.",
        ),
        (
            {"vocabulary": [{"text": "一" * 16}]},
            "'input.vocabulary.0': A hotword may have 15 characters, not 16.",
        ),
        ({"action": "drop"}, "'input.action': \"drop\". It must be one of create_vocabulary, list"),
        ({"action": None}, "'input.action': null. It must be one of create_vocabulary"),
        ([], "The request is not a JSON object, but an array of 0."),
        ("text", 'The request is not a JSON object, but "text".'),
    ],
)
async def test_a_refusal_names_the_parameter_what_was_found_and_what_is_accepted(
    served, message, refusal
):
    if isinstance(message, dict) and "model" not in message:
        given = {"action": "create_vocabulary", "target_model": MODEL, "prefix": "demo"}
        message = {"model": "speech-biasing", "input": {**given, "vocabulary": WORDS, **message}}
    answer = await post(served, PATH, message)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert refusal in answer.json()["message"]


async def test_a_refused_lifetime_of_a_token_is_named(served):
    answer = await post(served, "/api/v1/tokens?expire_in_seconds=1801")
    assert answer.json()["message"] == (
        "Invalid value of parameter 'expire_in_seconds': \"1801\". It must be 1 to 1800, a whole"
        " number."
    )


async def test_a_vocabulary_for_an_unknown_model_is_refused(served):
    answer = await create(served, target_model="whisper")
    assert (answer.status_code, answer.json()["code"]) == (404, "ModelNotFound")


@pytest.mark.parametrize(
    "message",
    [
        {"model": "speech-biasing"},
        {"model": "speech-biasing", "input": {}},
        {"model": "speech-biasing", "input": {"action": "drop_tables"}},
        {"model": "speech-biasing", "input": {"action": "query_vocabulary"}},
        [],
        "text",
    ],
)
async def test_a_malformed_request_is_refused(served, message):
    answer = await post(served, PATH, message)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")


async def test_an_endless_request_is_refused(served):
    headers = {"Authorization": KEY, "Content-Type": "application/json"}
    async with http_client() as client:
        answer = await client.post(served.http + PATH, content=b"[" * (2 << 20), headers=headers)
    assert answer.status_code == 400
    assert "longer than" in answer.json()["message"]


async def test_one_vocabulary_above_the_limit_is_refused(served):
    for _ in range(2):
        assert (await create(served)).status_code == 200
    answer = await create(served)
    assert (answer.status_code, answer.json()["code"]) == (429, "Throttling.RateQuota")
    assert (await create(served, key=OTHER)).status_code == 200


async def test_another_key_finds_no_vocabulary(served):
    id = (await create(served)).json()["output"]["vocabulary_id"]
    assert (await act(served, "query_vocabulary", OTHER, vocabulary_id=id)).status_code == 404


async def test_a_request_without_a_key_is_refused(served):
    answer = await act(served, "list_vocabulary", key=None)
    assert (answer.status_code, answer.json()["message"]) == (401, "No API-key provided.")


async def test_a_failing_database_is_reported_as_unavailable(tmp_path):
    async with serving(database_url=f"sqlite:///{tmp_path}") as served:  # a directory
        answer = await act(served, "list_vocabulary")
        assert (answer.status_code, answer.json()["code"]) == (503, "ServiceUnavailable")


# Tokens -------------------------------------------------------------------------------------------


async def test_a_token_opens_the_socket_and_a_task_finds_its_keys_vocabularies(served, caplog):
    id = (await create(served)).json()["output"]["vocabulary_id"]
    answer = await post(served, "/api/v1/tokens?expire_in_seconds=60")
    token = answer.json()["token"]
    assert token.startswith("st-")
    async with connected(served, f"/api-ws/v1/inference?api_key={token}") as client:
        await client.say(run_task(vocabulary_id=id))
        assert names([await client.event()]) == ["task-started"]
    assert "vocabulary not found" not in caplog.text


async def test_a_token_neither_reads_nor_changes_lists_nor_issues_tokens(served):
    id = (await create(served)).json()["output"]["vocabulary_id"]
    token = (await post(served, "/api/v1/tokens")).json()["token"]
    for action in ("list_vocabulary", "query_vocabulary", "delete_vocabulary"):
        refused = await act(served, action, token, vocabulary_id=id)
        assert (refused.status_code, refused.json()["code"]) == (403, "AccessDenied")
    refused = await post(served, "/api/v1/tokens", key=token)
    assert (refused.status_code, refused.json()["code"]) == (403, "AccessDenied")
    assert (await act(served, "query_vocabulary", vocabulary_id=id)).status_code == 200


@pytest.mark.parametrize(
    "seconds", ["0", "1801", "x", "-1", "", "9" * 5000, "00000000131536000", "٦٠", "1e2", "60.0"]
)
async def test_a_token_of_an_invalid_duration_is_refused(served, seconds):
    answer = await post(served, f"/api/v1/tokens?expire_in_seconds={seconds}")
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")


async def test_a_token_needs_a_key(served):
    assert (await post(served, "/api/v1/tokens", key="sk-guess")).status_code == 401


async def revoke(served, token, key=KEY):
    return await post(served, "/api/v1/tokens/revoke", {"token": token}, key)


async def test_a_token_is_revoked_at_once_and_any_number_of_times(served):
    issued = (await post(served, "/api/v1/tokens")).json()
    for _ in range(2):
        answer = await revoke(served, issued["token"])
        assert (answer.status_code, answer.json()["expires_at"]) == (200, issued["expires_at"])
        with pytest.raises(InvalidStatus, match="401"):
            async with connected(served, f"/api-ws/v1/inference?api_key={issued['token']}"):
                pass


async def test_only_the_key_of_a_token_revokes_it(served):
    token = (await post(served, "/api/v1/tokens")).json()["token"]
    refused = await revoke(served, token, OTHER)
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidParameter")
    assert token not in refused.text
    refused = await revoke(served, token, token)
    assert (refused.status_code, refused.json()["code"]) == (403, "AccessDenied")
    assert (await revoke(served, token, None)).status_code == 401
    async with connected(served, f"/api-ws/v1/inference?api_key={token}"):
        pass


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ({}, "Missing required parameter 'token'!"),
        ({"token": 7}, "'token': 7. It must be a temporary token made from this API key."),
        ({"token": "st-忘"}, "It must be a temporary token made from this API key."),
        ({"token": KEY}, "It must be a temporary token made from this API key."),
        ([], "The request is not a JSON object, but an array of 0."),
    ],
)
async def test_what_is_no_token_is_not_revoked(served, message, refusal):
    answer = await post(served, "/api/v1/tokens/revoke", message)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert refusal in answer.json()["message"]


async def test_a_server_without_keys_has_no_tokens_to_revoke(tmp_path):
    async with serving(database_url=f"sqlite:///{tmp_path}/lists.sqlite3") as served:
        token = (await post(served, "/api/v1/tokens")).json()["token"]
        assert (await revoke(served, token)).status_code == 400
    assert not [*tmp_path.iterdir()]
