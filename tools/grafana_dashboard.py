"""Grafana's dashboard: `python -m tools.grafana_dashboard > deploy/grafana/asr-server.json`.

Built with Grafana's own typed builders, so that it is a dashboard whatever is changed here.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)

from asr_server.metrics import FIRST_TEXT_GOAL_S, TAIL_GOAL_S

SOURCE = DataSourceRef("prometheus", "${datasource}")
OF = '{instance=~"$instance"}'
WINDOW = "[$__rate_interval]"

Builder: TypeAlias = Any
"""Builders of different panels share their methods, but no type."""
Query: TypeAlias = tuple[str, str]
"""An expression and how its lines are called."""


def rate(metric: str, *by: str) -> str:
    """Its growth in a second, over all instances that are looked at."""
    grouped = f" by ({', '.join(by)}) " if by else ""
    return f"sum{grouped}(rate({metric}{OF}{WINDOW}))"


def quantiles(metric: str, *shares: float) -> list[Query]:
    """Quantiles of a histogram."""
    buckets = rate(f"{metric}_bucket", "le")
    return [(f"histogram_quantile({share}, {buckets})", f"p{share * 100:g}") for share in shares]


BUSY = f"max(rate(asr_busy_seconds_total{OF}{WINDOW}))"
REAL_TIME_FACTOR = (
    f"{rate('asr_busy_seconds_total')} / ({rate('asr_received_audio_seconds_total')} > 0)"
)


def panel(
    make: Builder, title: str, meaning: str, unit: str, queries: Sequence[Query], width: int
) -> Builder:
    """What panels of any kind have."""
    built = make.title(title).description(meaning).unit(unit).datasource(SOURCE).span(width)
    for number, (expression, name) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression).legend_format(name)
        built = built.with_target(query.ref_id("ABCDEFGH"[number]))
    return built


def number(
    title: str, meaning: str, unit: str, expression: str, goal: float | None = None
) -> Builder:
    """One figure of now, red above its goal."""
    built = panel(stat.Panel(), title, meaning, unit, [(expression, "")], 4).height(4)
    newest = common.ReduceDataOptions().calcs(["lastNotNull"])
    return built.reduce_options(newest).no_value("–").thresholds(limits(goal))


def lines(
    title: str,
    meaning: str,
    unit: str,
    *queries: Query,
    goal: float | None = None,
    width: int = 8,
) -> Builder:
    """Figures over time; what is over the goal is marked."""
    legend = common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    style = common.GraphThresholdsStyleConfig()
    built = panel(timeseries.Panel(), title, meaning, unit, queries, width).height(7).min(0)
    return (
        built.fill_opacity(8)
        .line_width(1)
        .legend(legend.display_mode(LegendDisplayMode.LIST).calcs(["lastNotNull"]))
        .tooltip(tooltip)
        .thresholds(limits(goal))
        .thresholds_style(
            style.mode(GraphThresholdsStyleMode.DASHED if goal else GraphThresholdsStyleMode.OFF)
        )
    )


def stacked(title: str, meaning: str, unit: str, *queries: Query) -> Builder:
    """Lines that add up."""
    return lines(title, meaning, unit, *queries).stacking(
        common.StackingConfig().mode(StackingMode.NORMAL)
    )


def limits(goal: float | None) -> Builder:
    """Green, and red from the goal on."""
    steps = [Threshold(None, "green")] + ([Threshold(goal, "red")] if goal else [])
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def latency() -> Iterator[Builder]:
    """What users feel."""
    yield lines(
        "First text",
        "From the arrival of a sentence's first sample to its first interim with text.",
        "s",
        *quantiles("asr_first_text_latency_seconds", 0.5, 0.95, 0.99),
        goal=FIRST_TEXT_GOAL_S,
    )
    yield lines(
        "Final",
        "From the arrival of the last sample of speech to the final. The silence that ends a "
        "sentence is part of it: the goal is max_sentence_silence and 150 ms.",
        "s",
        *quantiles("asr_final_latency_seconds", 0.5, 0.95, 0.99),
    )
    yield lines(
        "Tail",
        "From finish-task to task-finished.",
        "s",
        *quantiles("asr_tail_latency_seconds", 0.5, 0.95, 0.99),
        goal=TAIL_GOAL_S,
    )


def now() -> Iterator[Builder]:
    """The figures of the moment."""
    first_text, tail = (
        quantiles(f"asr_{name}_latency_seconds", 0.95)[0][0] for name in ("first_text", "tail")
    )
    yield number("First text, p95", "The goal is 600 ms.", "s", first_text, FIRST_TEXT_GOAL_S)
    yield number("Tail, p95", "The goal is 150 ms.", "s", tail, TAIL_GOAL_S)
    yield number("Tasks", "Open now.", "short", f"sum(asr_open_tasks{OF})")
    yield number("Busy", "Share of the time the busiest device computes.", "percentunit", BUSY, 0.9)
    yield number(
        "Errors of ours",
        "In the last hour.",
        "short",
        'sum(increase(asr_errors_total{instance=~"$instance", code="InternalError"}[1h]))'
        " or vector(0)",
        1,
    )
    ready = 'sum(asr_server_state{instance=~"$instance", state="ready"})'
    yield number("Ready", "Servers that take tasks.", "short", ready)


def load() -> Iterator[Builder]:
    """How much there is to do."""
    yield lines(
        "Tasks and slots",
        "Tasks between task-started and their end, beside what the server would take.",
        "short",
        (f"sum(asr_open_tasks{OF})", "tasks"),
        (f"sum(asr_used_slots{OF})", "slots taken"),
        (f"sum(asr_slots{OF})", "slots"),
    )
    yield lines(
        "Connections",
        "Open WebSocket connections.",
        "short",
        (f"sum(asr_open_connections{OF})", "connections"),
    )
    yield lines(
        "Audio",
        "Seconds of audio that arrive in a second: live streams, on average.",
        "short",
        (rate("asr_received_audio_seconds_total"), "seconds a second"),
    )
    yield lines(
        "Device busy",
        "Share of the time in which the device computes, and the VAD beside it.",
        "percentunit",
        (f"rate(asr_busy_seconds_total{OF}{WINDOW})", "{{instance}}"),
        (f"rate(asr_judging_seconds_total{OF}{WINDOW})", "{{instance}} VAD"),
        goal=0.9,
    )
    yield lines(
        "Real-time factor",
        "Seconds of the device per second of audio. It falls as batches grow, so its inverse at "
        "low load is not yet what the device can hold.",
        "none",
        (REAL_TIME_FACTOR, "real-time factor"),
    )
    yield lines(
        "Dropped previews",
        "Early texts left out in a second, because the device was busy: the first thing to go.",
        "short",
        (rate("asr_dropped_previews_total"), "previews"),
    )


def errors() -> Iterator[Builder]:
    """What went wrong."""
    yield stacked(
        "Tasks by outcome",
        "Tasks that end in a second. Vanished: the client left before the end.",
        "ops",
        (rate("asr_tasks_total", "outcome"), "{{outcome}}"),
    )
    yield stacked(
        "Errors by code",
        "In a second. InternalError is ours, Throttling and ServiceUnavailable mean full, every "
        "other is the client's.",
        "ops",
        (rate("asr_errors_total", "code"), "{{code}}"),
    )
    yield lines(
        "Device restarts",
        "Every one of them ended all tasks of that server.",
        "short",
        (f"increase(asr_device_restarts_total{OF}{WINDOW})", "{{instance}}"),
    )


def engine() -> Iterator[Builder]:
    """How the recogniser works."""
    yield lines(
        "Step",
        "How long a step of the device takes. A live stream brings a chunk every 0.6 s.",
        "s",
        *quantiles("asr_step_duration_seconds", 0.5, 0.95, 0.99),
        goal=0.6,
    )
    yield lines(
        "Chunks a step",
        "How many streams ride together.",
        "short",
        *quantiles("asr_step_chunks", 0.95),
        (f"{rate('asr_step_chunks_sum')} / {rate('asr_step_chunks_count')}", "mean"),
    )
    yield lines(
        "Queue age",
        "How long the oldest chunk of a step had waited for it.",
        "s",
        *quantiles("asr_queue_age_seconds", 0.5, 0.95, 0.99),
        goal=0.6,
    )
    yield lines(
        "Delay of live audio",
        "Through the recogniser. Where one task more would bring it over ASR_MAX_DELAY_MS, it is "
        "refused.",
        "s",
        (f"asr_live_delay_seconds{OF}", "{{instance}}"),
    )


def process() -> Iterator[Builder]:
    """The process around it."""
    yield lines(
        "Memory",
        "Resident memory of the process.",
        "bytes",
        (f"process_resident_memory_bytes{OF}", "{{instance}}"),
    )
    yield lines(
        "CPU",
        "Cores in use.",
        "short",
        (f"rate(process_cpu_seconds_total{OF}{WINDOW})", "{{instance}}"),
    )
    yield lines(
        "File descriptors",
        "Share of the limit that is open.",
        "percentunit",
        (f"process_open_fds{OF} / process_max_fds{OF}", "{{instance}}"),
        goal=0.8,
    )
    yield lines(
        "Event loop lag",
        "How late the event loop wakes what it should.",
        "s",
        *quantiles("asr_event_loop_lag_seconds", 0.5, 0.95, 0.99),
        goal=0.1,
    )
    yield panel(
        statetimeline.Panel(),
        "State",
        "What each server was doing.",
        "short",
        [(f"asr_server_state{OF} == 1", "{{instance}} {{state}}")],
        8,
    ).height(7)
    yield lines(
        "Up for",
        "Time since the process began.",
        "s",
        (f"time() - process_start_time_seconds{OF}", "{{instance}}"),
    )


def gpu() -> Iterator[Builder]:
    """The GPU, where there is one."""
    yield lines(
        "GPU memory",
        "In use by whatever process, beside what there is.",
        "bytes",
        (f"asr_gpu_used_memory_bytes{OF}", "{{instance}} used"),
        (f"asr_gpu_memory_bytes{OF}", "{{instance}}"),
        width=12,
    )
    yield lines(
        "GPU utilisation",
        "Share of the time in which the GPU computed anything.",
        "percentunit",
        (f"asr_gpu_utilization_ratio{OF}", "{{instance}}"),
        width=12,
    )


ROWS = {
    "Now": now,
    "What users feel": latency,
    "Load": load,
    "Errors": errors,
    "Engine": engine,
    "Process": process,
    "GPU": gpu,
}


def built() -> dict[str, Any]:
    """The dashboard as Grafana stores it."""
    board = (
        dashboard.Dashboard("asr-server")
        .uid("asr-server")
        .description("Real-time Mandarin speech recognition: what users feel, and why.")
        .tags(["asr-server"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(
            dashboard.QueryVariable("instance")
            .label("Instance")
            .datasource(SOURCE)
            .query("label_values(asr_slots, instance)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(VariableOption(True, "All", "$__all"))
        )
    )
    for title, panels in ROWS.items():
        board = board.with_row(dashboard.Row(title))
        for each in panels():
            board = board.with_panel(each)
    result: dict[str, Any] = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    for identity, each in enumerate(result["panels"], 1):
        each["id"] = identity  # for links to a panel, which would be others after each change
    return result


if __name__ == "__main__":
    print(json.dumps(built(), indent=1, ensure_ascii=False))
