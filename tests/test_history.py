"""Ten minutes of figures: rates, quantiles, and expiry."""

import math

import pytest

from asr_server.observability.history import POINTS, WINDOW, History, quantile
from asr_server.observability.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def history(metrics):
    return History(metrics)


def later(history: History, seconds: float):
    """Return the figures of a point that is added some seconds after the first."""
    history.sample(history.began_s + seconds)
    return history.points[-1].figures


def test_utilisation_is_the_time_in_steps_per_worker_over_the_elapsed_time(metrics, history):
    metrics.stepped(duration_s=2 * 1.5, chunks=4, waited_s=0.01, workers=2)
    assert later(history, 5)["busy"] == pytest.approx(0.3)


def test_the_real_time_factor_is_the_time_in_steps_over_the_audio(metrics, history):
    metrics.stepped(duration_s=2 * 0.5, chunks=4, waited_s=0.01, workers=2)
    metrics.received_audio.inc(10)
    assert later(history, 5)["real_time_factor"] == pytest.approx(0.05)


def test_without_audio_there_is_no_real_time_factor_and_no_latency(history):
    point = later(history, 5)
    for figure in ("real_time_factor", "first_text_p95_s", "tail_p50_s"):
        assert point[figure] is None
    assert (point["busy"], point["own_errors_per_min"]) == (0, 0)


def test_errors_are_counted_by_cause(metrics, history):
    for code in ("InternalError", "Throttling.RateQuota", "ServiceUnavailable", "InvalidParameter"):
        metrics.errors.labels(code).inc()
    point = later(history, 30)
    assert point["own_errors_per_min"] == 2
    assert point["refusals_per_min"] == 4
    assert point["client_errors_per_min"] == 2


def test_a_point_covers_one_window(metrics, history):
    metrics.tail_latency.observe(0.07)
    for number in range(1, WINDOW + 1):
        assert later(history, 5 * number)["tail_p50_s"] == pytest.approx(0.075)
    assert later(history, 5 * (WINDOW + 1))["tail_p50_s"] is None


def test_points_are_kept_for_ten_minutes(history):
    for number in range(1, 2 * POINTS):
        later(history, 5 * number)
    assert len(history.points) == POINTS
    assert history.points[-1].at_s - history.points[0].at_s == pytest.approx(5 * (POINTS - 1))


def test_a_quantile_is_interpolated_as_prometheus_does():
    buckets = [(0.1, 10.0), (0.2, 30.0), (0.4, 40.0), (math.inf, 40.0)]
    assert quantile(0.5, buckets) == pytest.approx(0.15)
    assert quantile(0.25, buckets) == pytest.approx(0.1)
    assert quantile(0.95, buckets) == pytest.approx(0.36)


def test_a_quantile_beyond_the_last_bound_is_that_bound():
    assert quantile(0.95, [(0.1, 1.0), (math.inf, 10.0)]) == 0.1


def test_a_quantile_of_nothing_is_nothing():
    assert quantile(0.5, [(0.1, 0.0), (math.inf, 0.0)]) is None
