"""The GPU that computes, as NVIDIA's management library sees it; nothing where there is none."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from asr_server.observability.metrics import Metrics

log = logging.getLogger(__name__)

PERIOD_S = 5.0
"""Time between two readings."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a GPU."""

    used_memory_bytes: int
    memory_bytes: int
    utilization: float | None
    """0 to 1; None where the driver does not say, as of a slice of a GPU."""


def read(uuid: str) -> Reading:
    """Look at the GPU of this UUID, as in `GPU-ffc79498-8ff3-c2dc-3b0d-fafd804516ae`.

    Raises `ImportError` without nvidia-ml-py, `pynvml.NVMLError` without a driver or that GPU.
    """
    nvml = _library()
    handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        utilization = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except nvml.NVMLError_NotSupported:
        utilization = None
    return Reading(memory.used, memory.total, utilization)


async def watch(metrics: Metrics, uuid: Callable[[], str | None]) -> None:
    """Show the GPU that `uuid` names, while it names one, until cancelled."""
    complaint = ""
    while True:
        reading = None
        if name := uuid():
            try:
                # In a thread: the driver of a GPU in trouble takes its time.
                reading = await asyncio.to_thread(read, name)
            except Exception as exc:  # whatever is wrong with it, recognition goes on
                if str(exc) != complaint:
                    complaint = str(exc)
                    log.warning("no figures of the GPU: %s", exc)
        _show(metrics, name, reading)
        await asyncio.sleep(PERIOD_S)


def _show(metrics: Metrics, uuid: str | None, reading: Reading | None) -> None:
    for gauge in (metrics.gpu_used_memory, metrics.gpu_memory, metrics.gpu_utilization):
        gauge.clear()
    if uuid and reading:
        metrics.gpu_used_memory.labels(uuid).set(reading.used_memory_bytes)
        metrics.gpu_memory.labels(uuid).set(reading.memory_bytes)
        if reading.utilization is not None:
            metrics.gpu_utilization.labels(uuid).set(reading.utilization)


@cache
def _library() -> Any:
    import pynvml

    pynvml.nvmlInit()
    return pynvml
