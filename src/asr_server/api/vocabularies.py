"""Hotword lists over HTTP, as DashScope's `speech-biasing` model: one address, five actions."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from asr_server.access import Access, Caller
from asr_server.api.requests import body
from asr_server.errors import InvalidParameter, ModelNotFound
from asr_server.protocol import http, models
from asr_server.settings import Settings
from asr_server.text.hotwords import check
from asr_server.vocabularies import Vocabularies, Vocabulary

PATH = "/{prefix:path}api/v1/services/audio/asr/customization"
MODEL = "speech-biasing"
MOST_WORDS = 500
DEFAULT_WEIGHT = 4


class Word(BaseModel):
    """One hotword; further keys, such as Gummy's `translation`, are kept as they are."""

    model_config = ConfigDict(extra="allow")

    text: str
    weight: int = DEFAULT_WEIGHT


class Create(BaseModel):
    """`create_vocabulary`."""

    target_model: str = Field(min_length=1, max_length=256)
    prefix: str = Field(pattern=r"^[a-z0-9]{1,10}$")
    vocabulary: list[Word] = Field(max_length=MOST_WORDS)


class Query(BaseModel):
    """`query_vocabulary` and `delete_vocabulary`."""

    vocabulary_id: str


class Update(Query):
    """`update_vocabulary`."""

    vocabulary: list[Word] = Field(max_length=MOST_WORDS)


class Listing(BaseModel):
    """`list_vocabulary`."""

    prefix: str | None = None
    page_index: int = Field(default=0, ge=0)
    page_size: int = Field(default=10, ge=1, le=1000)


INPUTS: dict[str, type[BaseModel]] = {
    "create_vocabulary": Create,
    "list_vocabulary": Listing,
    "query_vocabulary": Query,
    "update_vocabulary": Update,
    "delete_vocabulary": Query,
}


def router(vocabularies: Vocabularies, access: Access, settings: Settings) -> APIRouter:
    """The address that all actions are posted to."""
    routes = APIRouter()

    @routes.post(PATH)
    async def customization(request: Request) -> dict[str, Any]:
        caller = access.check(request.headers.get("authorization"))
        action, asked = _read(await body(request), settings)
        output = await vocabularies.run(_act, vocabularies, caller, action, asked)
        return {"output": output, "usage": {"count": 1}, "request_id": http.request_id()}

    return routes


def _read(message: dict[str, Any], settings: Settings) -> tuple[str, Any]:
    """The action and its input. Raises ModelNotFound, InvalidParameter."""
    if message.get("model") != MODEL:
        raise ModelNotFound(str(message.get("model"))[:100])
    given = message.get("input")
    action = given.get("action") if isinstance(given, dict) else None
    if action not in INPUTS:
        raise InvalidParameter("Invalid value of parameter 'input.action'.")
    try:
        asked = INPUTS[action].model_validate(given)
    except ValidationError as error:
        where = ".".join(map(str, ("input", *error.errors()[0]["loc"])))
        raise InvalidParameter(f"Invalid value of parameter '{where}'.") from error
    for word in getattr(asked, "vocabulary", ()):
        try:
            check(word.text, word.weight)
        except ValueError as error:
            raise InvalidParameter(str(error)) from error
    if isinstance(asked, Create):
        models.find(asked.target_model, settings.model_aliases)
    return action, asked


def _act(vocabularies: Vocabularies, caller: Caller, action: str, asked: Any) -> dict[str, Any]:
    match action:
        case "create_vocabulary":
            words = [word.model_dump() for word in asked.vocabulary]
            created = vocabularies.create(caller, asked.prefix, asked.target_model, words)
            return {"vocabulary_id": created}
        case "list_vocabulary":
            page = vocabularies.list(caller, asked.prefix, asked.page_index, asked.page_size)
            return {"vocabulary_list": [{"vocabulary_id": v.id, **_dates(v)} for v in page]}
        case "query_vocabulary":
            found = vocabularies.get(caller, asked.vocabulary_id)
            return {
                **_dates(found),
                "target_model": found.target_model,
                "vocabulary": list(found.words),
            }
        case "update_vocabulary":
            words = [word.model_dump() for word in asked.vocabulary]
            vocabularies.replace(caller, asked.vocabulary_id, words)
        case "delete_vocabulary":
            vocabularies.delete(caller, asked.vocabulary_id)
    return {}


def _dates(vocabulary: Vocabulary) -> dict[str, str]:
    return {
        "gmt_create": vocabulary.created.strftime("%Y-%m-%d %H:%M:%S"),
        "gmt_modified": vocabulary.modified.strftime("%Y-%m-%d %H:%M:%S"),
        "status": "OK",  # there is nothing to deploy
    }
