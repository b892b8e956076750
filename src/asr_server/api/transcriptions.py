"""Serve recordings as OpenAI's API does: `/v1/audio/transcriptions` and `/v1/models`."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Any, Protocol

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from asr_server.access import Access, Caller
from asr_server.api import transcripts
from asr_server.api.forms import all_of, listed, one_of, read_form, text_of, unsupported
from asr_server.api.schemas import BEARER, TRANSCRIPTION
from asr_server.audio.formats import (
    ACCEPTED,
    DEMUXERS,
    HEAD_BYTES,
    MAX_HEAD_BYTES,
    RAW,
    identify,
)
from asr_server.errors import AsrError, ModelNotFound
from asr_server.protocol import models
from asr_server.protocol.commands import Parameters, RunTask
from asr_server.protocol.events import Sentence
from asr_server.protocol.openai import InvalidRequest, error_body
from asr_server.protocol.realtime_session import KEYWORD_WEIGHT, MOST_KEYWORDS
from asr_server.settings import Settings
from asr_server.text.hotwords import check
from asr_server.text.tokens import joined

BLOCK_BYTES = 32 * 1024
SUFFIXES = {"mpeg": "mp3", "mpga": "mp3", "oga": "ogg", **{name: name for name in DEMUXERS}}
"""A task's `format` by the end of a file's name."""
CREATED = 1_764_460_800
"""When the models were made, for clients that show it: 30 November 2025."""


class Recognition(Protocol):
    """What a route needs of one task."""

    @property
    def duration_s(self) -> float:
        """Return the seconds of audio so far."""
        ...

    def sentences(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[Sentence]:
        """Yield the final sentences. Raises AsrError."""
        ...

    def close(self) -> None:
        """End the task."""
        ...


class Recogniser(Protocol):
    """Open a task for a caller's recording. Raises AsrError."""

    async def __call__(self, request: Request, caller: Caller, command: RunTask) -> Recognition: ...


def router(recognise: Recogniser, access: Access, settings: Settings) -> APIRouter:
    """Return the routes below `/v1`."""
    routes = APIRouter(tags=["OpenAI"], dependencies=[BEARER])

    @routes.post("/v1/audio/transcriptions", openapi_extra=TRANSCRIPTION, response_model=None)
    async def transcriptions(request: Request) -> Response:
        """Transcribe a recording."""
        caller = access.check(request.headers.get("authorization")).caller
        form = await read_form(request, settings.max_upload_bytes)
        streams = False
        try:
            asked = _Asked(form, settings)
            file, format = await _file(form)
            task = await recognise(request, caller, asked.command(format))
            streams = asked.stream
            return await _respond(request, asked, task, file)
        finally:
            if not streams:  # else the response reads it
                await form.close()

    @routes.post("/v1/audio/translations")
    async def translations(request: Request) -> None:
        """Refuse: this server does not translate."""
        access.check(request.headers.get("authorization"))
        raise InvalidRequest("This server does not translate; use /v1/audio/transcriptions.", None)

    @routes.get("/v1/models")
    async def list_models(request: Request) -> dict[str, Any]:
        """List the model names that tasks may use; one model serves all of them."""
        access.check(request.headers.get("authorization"))
        return {"object": "list", "data": [_model(name) for name in _names(settings)]}

    @routes.get("/v1/models/{model}")
    async def retrieve_model(request: Request, model: str) -> dict[str, Any]:
        """Describe one model name."""
        access.check(request.headers.get("authorization"))
        if model not in _names(settings):
            raise ModelNotFound(model[:100])
        return _model(model)

    return routes


class _Asked:
    """Hold the fields of a request beside the file. Raises InvalidRequest, ModelNotFound."""

    def __init__(self, form: FormData, settings: Settings) -> None:
        self.model = text_of(form, "model") or "whisper-1"
        models.find(self.model, settings.model_aliases)
        self.format = one_of(form, "response_format", transcripts.FORMATS, "json")
        self.granularities = all_of(form, "timestamp_granularities")
        for name in self.granularities:
            if name not in transcripts.GRANULARITIES:
                raise unsupported("timestamp_granularities", name, transcripts.GRANULARITIES)
        self.stream = one_of(form, "stream", ("true", "false"), "false") == "true"
        if self.stream and self.format not in ("json", "text"):
            raise InvalidRequest(
                "With 'stream', 'response_format' must be 'json' or 'text'.", "response_format"
            )
        self.prompt = text_of(form, "prompt")
        self.vocabulary_id = text_of(form, "vocabulary_id")
        self.hotwords = all_of(form, "keywords") + listed(text_of(form, "hotwords"))
        if len(self.hotwords) > MOST_KEYWORDS:
            raise InvalidRequest(f"There may be at most {MOST_KEYWORDS} hotwords.", "hotwords")
        try:
            for word in self.hotwords:
                check(word, KEYWORD_WEIGHT)
        except ValueError as error:
            raise InvalidRequest(str(error), "hotwords") from error

    def command(self, format: str) -> RunTask:
        """Return the task for a recording of a format."""
        parameters = Parameters(
            format=format,
            word_confidence_enabled=self.format == "verbose_json",
            vocabulary={word: KEYWORD_WEIGHT for word in self.hotwords},
            vocabulary_id=self.vocabulary_id,
        )
        context = (self.prompt,) if self.prompt else ()
        return RunTask(uuid.uuid4().hex, self.model, parameters, context=context)


async def _respond(
    request: Request, asked: _Asked, task: Recognition, file: UploadFile
) -> Response:
    sentences = task.sentences(_blocks(file))
    if asked.stream:
        return _EventStream(task, file, _events(task, sentences))
    collecting = asyncio.ensure_future(_collect(sentences))
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            return Response(status_code=499)  # nobody reads it
        body, media_type = transcripts.written(
            collecting.result(), asked.format, asked.granularities, task.duration_s
        )
        return Response(body, media_type=media_type)
    finally:
        for waiting in (collecting, leaving):
            waiting.cancel()
        task.close()


class _EventStream(StreamingResponse):
    """Send a transcript as server-sent events; the task ends with the response, begun or not."""

    def __init__(self, task: Recognition, file: UploadFile, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._task = task
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.close()
            await self._file.close()


async def _events(task: Recognition, sentences: AsyncIterator[Sentence]) -> AsyncIterator[str]:
    """Yield the events of a transcript, sentence by sentence."""
    whole = ""
    try:
        async for sentence in sentences:
            before, whole = whole, joined(whole, sentence.text)
            yield transcripts.delta(whole[len(before) :])
        yield transcripts.done(whole, task.duration_s)
    except AsrError as error:
        yield transcripts.failed(error_body(error))


async def _collect(sentences: AsyncIterator[Sentence]) -> list[Sentence]:
    return [sentence async for sentence in sentences]


async def _disconnected(request: Request) -> None:
    """Return once the client is gone; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


# The form -----------------------------------------------------------------------------------------


async def _file(form: FormData) -> tuple[UploadFile, str]:
    """Return the recording and its format, by its first bytes or its name."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("'file' is missing: the recording, with its name.", "file")
    head = await file.read(MAX_HEAD_BYTES)
    await file.seek(0)
    if len(head) < HEAD_BYTES:
        raise InvalidRequest(f"'file' has {len(head)} bytes: too few for a recording.", "file")
    suffix = PurePath(file.filename or "").suffix.lower().removeprefix(".")
    declared = SUFFIXES.get(suffix, "wav")
    tagged = head.startswith(b"ID3")
    if not tagged and identify(head, declared, last=True) == RAW:  # samples without a rate
        raise InvalidRequest(f"'file' is no recording in a known format; {ACCEPTED}.", "file")
    return file, declared


async def _blocks(file: UploadFile) -> AsyncIterator[bytes]:
    while block := await file.read(BLOCK_BYTES):
        yield block


# Models -------------------------------------------------------------------------------------------


def _names(settings: Settings) -> list[str]:
    return sorted({*models.MODELS, *models.REALTIME_MODELS, *settings.model_aliases})


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "asr-server"}
