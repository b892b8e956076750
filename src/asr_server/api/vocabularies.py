"""Serve hotword vocabularies as DashScope's `speech-biasing` model: one route, five actions."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from asr_server.access import Access, Caller
from asr_server.api.json_body import read_object
from asr_server.api.schemas import BEARER, CUSTOMIZATION
from asr_server.errors import InvalidParameter, ModelNotFound
from asr_server.protocol import http, models
from asr_server.protocol.refusals import invalid, invalid_field
from asr_server.settings import Settings
from asr_server.text.hotwords import check
from asr_server.vocabularies import Vocabularies, Vocabulary

PATH = "/api/v1/services/audio/asr/customization"
MODEL = "speech-biasing"
MAX_HOTWORDS = 500
DEFAULT_WEIGHT = 4
MAX_EXTRA_BYTES = 1024
MAX_PAGE = 1_000_000

Text = Annotated[str, StringConstraints(max_length=256)]
"""A limit makes pydantic refuse lone surrogates too, which no database can hold."""


def _scalar(value: Any) -> Any:
    """Return a value. Raises ValueError unless it is short and no container."""
    if isinstance(value, dict | list):
        raise ValueError("a container")  # its depth could be more than JSON's reader bears
    written = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    if len(written) > MAX_EXTRA_BYTES:
        raise ValueError("too long")
    return value


class HotwordInput(BaseModel):
    """One hotword; further keys, such as Gummy's `translation`, are stored unchanged."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Text, Annotated[Any, AfterValidator(_scalar)]] = Field(init=False)

    text: Text
    weight: int = DEFAULT_WEIGHT


class Create(BaseModel):
    target_model: Text = Field(min_length=1)
    prefix: str = Field(pattern=r"^[a-z0-9]{1,10}$")
    vocabulary: list[HotwordInput] = Field(max_length=MAX_HOTWORDS)


class Query(BaseModel):
    vocabulary_id: Text


class Update(Query):
    vocabulary: list[HotwordInput] = Field(max_length=MAX_HOTWORDS)


class Listing(BaseModel):
    prefix: Text | None = None
    page_index: int = Field(default=0, ge=0, le=MAX_PAGE)
    page_size: int = Field(default=10, ge=1, le=1000)


INPUTS: dict[str, type[BaseModel]] = {
    "create_vocabulary": Create,
    "list_vocabulary": Listing,
    "query_vocabulary": Query,
    "update_vocabulary": Update,
    "delete_vocabulary": Query,
}


def router(vocabularies: Vocabularies, access: Access, settings: Settings) -> APIRouter:
    """Return the route of all actions."""
    routes = APIRouter(tags=["DashScope"], dependencies=[BEARER])

    @routes.post(PATH, openapi_extra=CUSTOMIZATION)
    @routes.post("/{prefix:path}" + PATH[1:], include_in_schema=False)
    async def customization(request: Request) -> dict[str, Any]:
        """Create, list, query, update or delete hotword lists; `input.action` says which."""
        caller = access.check_key(request.headers.get("authorization"))
        action, given = _parse(await read_object(request), settings)
        output = await vocabularies.database.run(_act, vocabularies, caller, action, given)
        return {"output": output, "usage": {"count": 1}, "request_id": http.request_id()}

    return routes


def _parse(message: dict[str, Any], settings: Settings) -> tuple[str, Any]:
    """Return the action and its input. Raises ModelNotFound, InvalidParameter."""
    model = message.get("model")
    if model != MODEL:
        if isinstance(model, str) and model.isprintable():
            raise ModelNotFound(model[:100])
        raise invalid("model", model, f"It must be '{MODEL}'")
    raw = message.get("input")
    action = raw.get("action") if isinstance(raw, dict) else None
    if not isinstance(action, str) or action not in INPUTS:
        raise invalid("input.action", action, f"It must be one of {', '.join(INPUTS)}")
    try:
        given = INPUTS[action].model_validate(raw)
    except ValidationError as error:
        raise invalid_field("input", error) from error
    for index, word in enumerate(getattr(given, "vocabulary", ())):
        try:
            check(word.text, word.weight)
        except ValueError as error:
            place = f"input.vocabulary.{index}"
            raise InvalidParameter(f"Invalid value of parameter '{place}': {error}") from error
    if isinstance(given, Create):
        models.find(given.target_model, settings.model_aliases)
    return action, given


def _act(vocabularies: Vocabularies, caller: Caller, action: str, given: Any) -> dict[str, Any]:
    match action:
        case "create_vocabulary":
            words = [word.model_dump() for word in given.vocabulary]
            id = vocabularies.create(caller, given.prefix, given.target_model, words)
            return {"vocabulary_id": id}
        case "list_vocabulary":
            page = vocabularies.list(caller, given.prefix, given.page_index, given.page_size)
            return {"vocabulary_list": [{"vocabulary_id": v.id, **_dates(v)} for v in page]}
        case "query_vocabulary":
            found = vocabularies.get(caller, given.vocabulary_id)
            target = found.target_model
            return {**_dates(found), "target_model": target, "vocabulary": found.words}
        case "update_vocabulary":
            words = [word.model_dump() for word in given.vocabulary]
            vocabularies.replace(caller, given.vocabulary_id, words)
        case "delete_vocabulary":
            vocabularies.delete(caller, given.vocabulary_id)
    return {}


def _dates(vocabulary: Vocabulary) -> dict[str, str]:
    return {
        "gmt_create": vocabulary.created.strftime("%Y-%m-%d %H:%M:%S"),
        "gmt_modified": vocabulary.modified.strftime("%Y-%m-%d %H:%M:%S"),
        "status": "OK",  # a vocabulary needs no deployment here
    }
