"""What a client writes: the text frames of one recognition task."""

import json
from collections.abc import Mapping
from typing import Any


def run_task(task_id: str, model: str, parameters: Mapping[str, Any]) -> str:
    """Begin a task; among the parameters are `format` and `sample_rate`."""
    payload = {
        "task_group": "audio",
        "task": "asr",
        "function": "recognition",
        "model": model,
        "parameters": dict(parameters),
        "input": {},
    }
    return _frame("run-task", task_id, payload)


def finish_task(task_id: str) -> str:
    """Say that all audio has been sent."""
    return _frame("finish-task", task_id, {"input": {}})


def _frame(action: str, task_id: str, payload: Mapping[str, Any]) -> str:
    header = {"action": action, "task_id": task_id, "streaming": "duplex"}
    return json.dumps({"header": header, "payload": payload}, ensure_ascii=False)
