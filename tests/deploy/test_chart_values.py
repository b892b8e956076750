"""The Helm chart's values agree with the server, their schema and the README, without Helm."""

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings
from tests.support.chart import SCHEMA, VALUES
from tests.support.processes import ROOT
from tools.chart_docs import CHART, README, fill, leaves, values

DEFAULTS = Settings(_env_file=None)

REFUSED: dict[str, tuple[str, Any]] = {
    "wrong type": ("cpu.replicas", "two"),
    "wrong choice": ("model.source", "hub"),
    "no pod to scale from": ("cpu.minReplicas", 0),
    "name that is no setting": ("settings.THREADS", 4),
    "setting in the wrong place": ("env.ASR_THREADS", "4"),
    "short key": ("access.keys", ["secret"]),
    "timeout below the server's": ("ingress.timeoutSeconds", 60),
}


def sources() -> str:
    files = [*CHART.rglob("*.tpl"), *CHART.rglob("*.yaml"), *CHART.rglob("*.txt")]
    return "\n".join(file.read_text("utf-8") for file in files)


def test_every_setting_that_the_chart_names_exists():
    named = set(re.findall(r"\bASR_[A-Z_]+\b", sources())) - {"ASR_NAME"}
    assert len(named) > 10
    assert named <= {f"ASR_{name.upper()}" for name in Settings.model_fields}


def test_every_metric_that_the_chart_names_exists():
    named = set(re.findall(r"\basr_[a-z_]+\b", sources())) - {"asr_server"}
    assert named == {"asr_utilization_ratio", "asr_capacity_streams", "asr_live_delay_seconds"}
    assert named <= {family.name for family in Metrics().families()}


def test_the_default_values_follow_their_schema_and_all_are_described():
    jsonschema.validate(VALUES, SCHEMA)
    described = {path for path, _, _ in values()}
    assert set(leaves(VALUES, described)) == described


@pytest.mark.parametrize("case", REFUSED)
def test_the_schema_refuses(case):
    path, value = REFUSED[case]
    chosen = json.loads(json.dumps(VALUES))
    *parents, name = path.split(".")
    inner = chosen
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate(chosen, SCHEMA)
    assert refused.value.path[0] == parents[0]


def test_the_readme_lists_the_current_values():
    text = README.read_text("utf-8")
    assert fill(text) == text, "run python -m tools.chart_docs"


def test_the_schema_describes_every_value_and_allows_no_other():
    def closed(schema: dict[str, Any], chosen: dict[str, Any]) -> None:
        assert schema["additionalProperties"] is False
        assert set(chosen) == set(schema["properties"]) - {"global", "claims"}
        for name, inner in schema["properties"].items():
            if "properties" in inner:
                closed(inner, chosen[name])

    closed(SCHEMA, VALUES)


def test_the_default_drain_is_that_of_the_server():
    drain = VALUES["drain"]
    assert drain["timeoutSeconds"] == DEFAULTS.drain_timeout_s
    assert drain["closeTimeoutSeconds"] == DEFAULTS.close_timeout_s
    last_s = drain["preStopSeconds"] + DEFAULTS.drain_timeout_s + DEFAULTS.close_timeout_s
    assert drain["terminationGracePeriodSeconds"] > last_s


def test_the_defaults_that_the_validation_assumes_are_those_of_the_server():
    text = (CHART / "templates" / "_validate.tpl").read_text("utf-8")
    assert f'"ASR_MAX_DELAY_MS") {DEFAULTS.max_delay_ms:g}' in text
    assert f'"ASR_MAX_TASKS" | default {DEFAULTS.max_tasks}' in text


def test_chart_and_package_have_one_version():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    [version] = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert chart["version"] == chart["appVersion"] == version
