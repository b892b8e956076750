"""Describe to OpenAPI what routes read by hand: the key, the form of a transcription."""

from typing import Any

from fastapi import Security
from fastapi.security import HTTPBearer

from asr_server.api.transcripts import FORMATS, GRANULARITIES

BEARER = Security(
    HTTPBearer(
        scheme_name="API key",
        description="`Authorization: Bearer KEY`; needed only where keys are configured.",
        auto_error=False,
    )
)

ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code")
            },
        }
    },
}


def _array(values: tuple[str, ...] = ()) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "string"}
    return {"type": "array", "items": item | ({"enum": list(values)} if values else {})}


TRANSCRIPTION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "flac, m4a, mp3, mp4, ogg, opus, wav, webm, aac or amr",
                        },
                        "model": {
                            "type": "string",
                            "default": "whisper-1",
                            "description": "a name of /v1/models; one model serves all of them",
                        },
                        "response_format": {
                            "type": "string",
                            "enum": list(FORMATS),
                            "default": "json",
                        },
                        "timestamp_granularities[]": _array(GRANULARITIES),
                        "stream": {"type": "boolean", "default": False},
                        "hotwords": {
                            "type": "string",
                            "description": "words to favour, one a line or with commas between",
                        },
                        "keywords[]": {**_array(), "description": "OpenAI's name for the same"},
                        "vocabulary_id": {
                            "type": "string",
                            "description": "a hotword list of this server",
                        },
                        "prompt": {
                            "type": "string",
                            "description": "what the recording is about: helps with names",
                        },
                        "language": {
                            "type": "string",
                            "description": "accepted; the model determines the language",
                        },
                        "temperature": {"type": "number", "description": "ignored"},
                    },
                }
            }
        },
    },
    "responses": {
        "200": {
            "description": "The transcript; with `stream`, server-sent events.",
            "content": {
                "application/json": {
                    "example": {"text": "你好。", "usage": {"type": "duration", "seconds": 1}}
                },
                "text/plain": {"example": "你好。\n"},
                "text/vtt": {"example": "WEBVTT\n\n00:00:00.120 --> 00:00:01.120\n你好。\n"},
                "application/x-subrip": {"example": "1\n00:00:00,120 --> 00:00:01,120\n你好。\n"},
                "text/event-stream": {
                    "example": 'data: {"type":"transcript.text.delta","delta":"你好。"}\n\n'
                },
            },
        },
        **{
            status: {
                "description": reason,
                "content": {"application/json": {"schema": ERROR}},
            }
            for status, reason in (
                ("400", "A field or the recording is at fault; the message names it."),
                ("401", "The key is missing or wrong."),
                ("413", "The request is longer than ASR_MAX_UPLOAD_BYTES."),
                ("429", "The server is full; try again later."),
            )
        },
    },
}


def _json_body(example: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a JSON body whose properties are all required."""
    schema = {"type": "object", "required": list(properties), "properties": properties}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


CUSTOMIZATION = _json_body(
    {
        "model": "speech-biasing",
        "input": {
            "action": "create_vocabulary",
            "target_model": "paraformer-realtime-v2",
            "prefix": "mine",
            "vocabulary": [{"text": "达摩院", "weight": 4}],
        },
    },
    {
        "model": {"type": "string", "enum": ["speech-biasing"]},
        "input": {
            "type": "object",
            "description": "`action` and what it takes; see the protocol's page",
        },
    },
)

REVOCATION = _json_body({"token": "st-…"}, {"token": {"type": "string"}})
