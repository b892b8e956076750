"""The dashboard and the alerts, checked against the metrics and the runbook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from asr_server.observability.metrics import FIRST_TEXT_GOAL_S, TAIL_GOAL_S, Metrics

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/asr-server.json").read_text("utf-8"))
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RUNBOOKS = [ROOT / "docs/OPERATIONS.md", ROOT / "docs/OPERATIONS.zh-CN.md"]

PROMETHEUS_OWN = {"up": {"instance", "job"}}
EVERYWHERE = {"instance", "job"}
"""Labels that Prometheus adds to everything it collects."""


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression with the title of its panel or alert."""
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            yield panel["title"], expression
    for name, rule in ALERTS.items():
        yield name, rule["expr"]


def parts(expression: Any) -> Iterator[Any]:
    """Yield an expression and its parts."""
    yield expression
    for name in ("lhs", "rhs", "expr", "args", "vector_selector"):
        inner = getattr(expression, name, None) or []
        for each in inner if isinstance(inner, list) else [inner]:
            yield from parts(each)


def known() -> dict[str, set[str]]:
    """Return the names of all samples with their labels."""
    metrics = Metrics()
    metrics.watch_state(lambda: "ready")
    for gauge in (metrics.gpu_used_memory, metrics.gpu_memory, metrics.gpu_utilization):
        gauge.labels("GPU-1").set(1)
    found = dict(PROMETHEUS_OWN)
    for family in metrics.families():
        for sample in family.samples:
            found[sample.name] = EVERYWHERE | set(sample.labels)
    return found


def test_there_are_panels_and_alerts():
    assert len(PANELS) > 20
    assert len(ALERTS) > 10


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_the_metrics_and_labels_of_an_expression_exist(title, expression):
    names = known()
    labels: set[str] = set()
    for part in parts(promql_parser.parse(expression)):
        if isinstance(part, promql_parser.VectorSelector):
            assert part.name in names, part.name
            assert {matcher.name for matcher in part.matchers.matchers} <= names[part.name]
            labels |= names[part.name]
    for grouped in re.findall(r"by \((.*?)\)", expression):
        assert set(grouped.split(", ")) <= labels, grouped


def test_panels_do_not_overlap():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = any(
            a[at] + a[size] <= b[at]
            for at, size in (("x", "w"), ("y", "h"))
            for a, b in ((one, other), (other, one))
        )
        assert apart, (one, other)


def test_every_panel_has_a_description_and_the_chosen_data_source():
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_latency_comes_first():
    titles = [panel["title"] for panel in PANELS]
    assert titles[0].startswith("First text")


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_severity_a_description_and_a_runbook(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    annotations = rule["annotations"]
    assert "{{ $labels.instance }}" in annotations["summary"]
    assert annotations["description"].endswith(".")
    assert annotations["runbook_url"] == f"docs/OPERATIONS.md#{alert.lower()}"


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.name)
@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_section_in_the_runbook(alert, runbook):
    headings = re.findall(r"^#+ (.*?) *$", runbook.read_text("utf-8"), re.MULTILINE)
    assert alert in headings


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.name)
def test_the_runbook_has_no_sections_of_other_alerts(runbook):
    headings = re.findall(r"^#+ (Asr\w+)$", runbook.read_text("utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)


def test_latency_alerts_use_the_goals():
    for alert, goal_s in (("AsrFirstTextSlow", FIRST_TEXT_GOAL_S), ("AsrTailSlow", TAIL_GOAL_S)):
        assert f"> {goal_s}\n" in ALERTS[alert]["expr"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs Prometheus's promtool")
def test_alerts_fire_on_faults_only():
    files = sorted((ROOT / "tests/deploy").glob("alerts*_test.yml"))
    done = subprocess.run(["promtool", "test", "rules", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
