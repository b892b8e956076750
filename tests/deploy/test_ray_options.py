"""deploy/ray agrees with the server and refuses contradictions, without Ray."""

import re

import pytest
import yaml

from asr_server.settings import Settings
from deploy.ray.asr_serve.options import (
    BUILDER_SETS,
    HARD_STOP,
    MIN_DRAINING,
    RAY_LISTENS,
    Options,
    check_node,
)
from tests.support.chart import VALUES
from tests.support.ray_serve import CONFIG, RAY, node_environment

DEFAULTS = Settings(_env_file=None)
ARGUMENTS = yaml.safe_load(CONFIG.read_text("utf-8"))["applications"][0]["args"]

REFUSED = {
    "a number as text": ({"capacity": "many"}, "args.capacity"),
    "no capacity": ({"capacity": 0}, "args.capacity"),
    "an unknown argument": ({"replicas": 2}, "args.replicas"),
    "a relative directory": ({"directory": "asr"}, "'asr' must be absolute"),
    "fewer at most than at least": (
        {"min_replicas": 3, "max_replicas": 2},
        "min_replicas 3 is above max_replicas 2",
    ),
    "a target of nothing": (
        {"capacity": 1, "utilization": 0.5},
        "utilization 0.5 of capacity 1 is less than a task",
    ),
    "a target above the capacity": ({"utilization": 1.1}, "args.utilization"),
    "two GPUs for one device": ({"num_gpus": 2}, "args.num_gpus"),
    "fewer tasks than the capacity": (
        {"settings": {"ASR_MAX_TASKS": 8}},
        "ASR_MAX_TASKS 8 is below capacity 40",
    ),
    "a value that the server refuses": (
        {"settings": {"ASR_DRAIN_TIMEOUT_S": "long"}},
        "ASR_DRAIN_TIMEOUT_S: Input should be a valid number",
    ),
    "a name that is no setting": ({"settings": {"ASR_THREAD": 4}}, "ASR_THREAD is no setting"),
    "a key for all to see": ({"settings": {"ASR_API_KEYS": "k" * 16}}, "use ASR_API_KEYS_FILE"),
    "a password for all to see": (
        {"settings": {"ASR_DATABASE_URL": "postgresql://asr:kkkk@db/asr"}},
        "ASR_DATABASE_URL would appear",
    ),
    "a port of its own": ({"settings": {"ASR_PORT": 9000}}, "ASR_PORT has no effect"),
    "a second capacity": ({"settings": {"ASR_CAPACITY": 50}}, "ASR_CAPACITY is set already"),
}

MISPLACED = {
    "the default proxy": ("RAY_SERVE_ENABLE_HA_PROXY", "0"),
    "two event loops": ("RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD", "1"),
    "no retry": ("RAY_SERVE_HAPROXY_RETRY_ON", "conn-failure"),
    "WebSockets cut after two minutes": ("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "120"),
    "no number": ("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "2m"),
    "a timeout of requests": ("RAY_SERVE_REQUEST_PROCESSING_TIMEOUT_S", "60"),
}


def test_the_example_is_accepted() -> None:
    options = Options.of(ARGUMENTS)
    assert options.target == 28
    assert options.min_replicas < options.max_replicas
    check_node(node_environment())


@pytest.mark.parametrize("case", REFUSED)
def test_a_contradiction_fails_with_a_sentence(case) -> None:
    arguments, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        Options.of({**ARGUMENTS, **arguments})
    assert "kkkk" not in str(refused.value)


@pytest.mark.parametrize("case", MISPLACED)
def test_a_node_that_would_harm_conversations_fails_with_a_sentence(case) -> None:
    name, value = MISPLACED[case]
    with pytest.raises(ValueError, match=name):
        check_node({**node_environment(), name: value})


def test_a_node_without_the_environment_hears_of_each_variable() -> None:
    with pytest.raises(ValueError, match=r"serve\.env") as refused:
        check_node({})
    assert str(refused.value).count("must") == 4


def test_a_replica_outlives_its_drain() -> None:
    settings = {"ASR_DRAIN_TIMEOUT_S": 600, "ASR_CLOSE_TIMEOUT_S": 7}
    for given, drain_s in (
        ({}, DEFAULTS.drain_timeout_s + DEFAULTS.close_timeout_s),
        (settings, 607),
    ):
        options = Options.of({**ARGUMENTS, "settings": given})
        deployment = options.deployment({**node_environment(), MIN_DRAINING: "10"})
        assert deployment["graceful_shutdown_timeout_s"] > 10 + drain_s


def test_a_drain_longer_than_haproxy_lives_fails_with_a_sentence() -> None:
    options = Options.of({**ARGUMENTS, "settings": {"ASR_DRAIN_TIMEOUT_S": 7200}})
    node = {**node_environment(), MIN_DRAINING: "10", HARD_STOP: "3600"}
    with pytest.raises(ValueError, match=f"{HARD_STOP} must be above 7215"):
        options.deployment(node)


def test_the_server_refuses_before_ray_lets_connections_wait() -> None:
    options = Options.of(ARGUMENTS)
    settings = options.server
    assert settings.refuse_when_full
    assert options.target < options.capacity == settings.capacity <= settings.max_tasks
    assert settings.max_connections < options.deployment(node_environment())["max_ongoing_requests"]


def test_settings_reach_the_replicas_as_the_server_reads_them() -> None:
    given = {"ASR_PREVIEWS": False, "ASR_LOG_LEVEL": "debug", "ASR_THREADS": 3}
    environment = Options.of({**ARGUMENTS, "settings": given}).environment
    assert environment.items() >= {
        ("ASR_PREVIEWS", "false"),
        ("ASR_LOG_LEVEL", "debug"),
        ("ASR_THREADS", "3"),
    }


def test_ray_scales_by_the_numbers_of_the_chart() -> None:
    options, scaling = Options.of(ARGUMENTS), VALUES["autoscaling"]
    assert options.utilization == scaling["utilizationPercent"] / 100
    assert options.downscale_delay_s == scaling["scaleDownStabilizationSeconds"]


def test_nothing_in_the_example_ends_long_connections() -> None:
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    assert "request_timeout_s" not in config["http_options"]
    assert "deployments" not in config["applications"][0]  # would win over what is derived


def test_every_setting_that_deploy_ray_names_exists() -> None:
    files = [*RAY.glob("*.*"), *(RAY / "asr_serve").glob("*.py")]
    text = "\n".join(file.read_text("utf-8") for file in files)
    named = set(re.findall(r"\bASR_[A-Z_]+\b", text)) - {"ASR_NAME"}
    assert named > {*BUILDER_SETS, *RAY_LISTENS}
    assert named <= {f"ASR_{name.upper()}" for name in Settings.model_fields}
