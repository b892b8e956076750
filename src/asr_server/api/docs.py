"""Serve `/docs`: the HTTP routes as one plain page, made from `/openapi.json`.

Swagger UI and Redoc load a megabyte of scripts from another site; this page needs none, so that it
works offline, below a prefix and under the strict Content-Security-Policy of the other pages.
"""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, HTMLResponse

from asr_server.api.status import STRICT

STATIC = Path(__file__).parent / "static" / "docs"


def router(app: FastAPI) -> APIRouter:
    """Return `/docs` for an application's routes."""
    docs = APIRouter(include_in_schema=False)
    template = Template((STATIC / "index.html").read_text(encoding="utf-8"))

    @docs.get("/docs")
    async def page() -> HTMLResponse:
        schema = app.openapi()
        routes = "".join(
            _route(method, path, operation)
            for path, operations in schema["paths"].items()
            for method, operation in operations.items()
        )
        return HTMLResponse(template.substitute(routes=routes), headers=STRICT)

    @docs.get("/docs/docs.css")
    async def style() -> FileResponse:
        return FileResponse(STATIC / "docs.css", headers=STRICT)

    return docs


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    """Return the section of one route."""
    key = "<span>key</span>" if operation.get("security") else ""
    parts = [
        f"<h2><code>{method.upper()} {escape(path)}</code>{key}</h2>",
        f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>",
        _fields("Parameters", operation.get("parameters", [])),
    ]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        required = schema.get("required", [])
        fields = [
            {"name": name, "schema": field, "required": name in required}
            for name, field in schema.get("properties", {}).items()
        ]
        parts += [_fields(f"Body, {kind}", fields), _example(content)]
    for status, response in operation.get("responses", {}).items():
        parts.append(f"<h3>{escape(status)}: {escape(response['description'])}</h3>")
        for kind, content in response.get("content", {}).items():
            parts.append(_example(content, kind))
    return f"<section>{''.join(parts)}</section>\n"


def _fields(title: str, fields: list[dict[str, Any]]) -> str:
    """Return a table of named values, or nothing."""
    rows = "".join(
        "<tr>"
        f"<td><code>{escape(field['name'])}</code></td>"
        f"<td>{escape(_kind(field.get('schema', {})))}</td>"
        f"<td>{'required' if field.get('required') else escape(_default(field))}</td>"
        f"<td>{escape(_meaning(field))}</td>"
        "</tr>"
        for field in fields
    )  # fmt: skip
    head = "<tr><th>name<th>type<th>default<th>meaning</tr>"
    return f"<h3>{escape(title)}</h3><table>{head}{rows}</table>" if rows else ""


def _meaning(field: dict[str, Any]) -> str:
    return str(field.get("description") or field.get("schema", {}).get("description", ""))


def _kind(schema: dict[str, Any]) -> str:
    values = schema.get("enum") or schema.get("items", {}).get("enum")
    return ", ".join(map(str, values)) if values else str(schema.get("type", ""))


def _default(field: dict[str, Any]) -> str:
    value = field.get("schema", {}).get("default")
    return "" if value is None else json.dumps(value).strip('"')


def _example(content: dict[str, Any], kind: str = "") -> str:
    example = content.get("example")
    if example is None:
        return ""
    if not isinstance(example, str):
        example = json.dumps(example, ensure_ascii=False, indent=2)
    return f"<p>{escape(kind)}</p><pre>{escape(example)}</pre>"
