"""Export memory and utilisation of the GPU that computes, from NVIDIA's management library."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from asr_server.observability.metrics import Metrics

log = logging.getLogger(__name__)

PERIOD_S = 5.0
"""Time between two samples."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """Hold the figures of a GPU at one moment."""

    used_memory_bytes: int
    memory_bytes: int
    utilization: float | None
    """0 to 1; None if the driver does not report one, as for a MIG slice."""


def read(uuid: str) -> GpuSample:
    """Return a sample of the GPU of this UUID, as in `GPU-ffc79498-8ff3-c2dc-3b0d-fafd804516ae`.

    Raises `ImportError` without nvidia-ml-py, `pynvml.NVMLError` without a driver or that GPU.
    """
    nvml = _library()
    handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        utilization = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except nvml.NVMLError_NotSupported:
        utilization = None
    return GpuSample(memory.used, memory.total, utilization)


async def watch(metrics: Metrics, uuid: Callable[[], str | None]) -> None:
    """Export the GPU that `uuid` returns, if any, every period until cancelled."""
    last_error = ""
    while True:
        sample = None
        if name := uuid():
            try:
                # In a thread: the driver of a failing GPU may block.
                sample = await asyncio.to_thread(read, name)
            except Exception as exc:  # recognition must go on without figures
                if str(exc) != last_error:
                    last_error = str(exc)
                    log.warning("no figures of the GPU: %s", exc)
        _export(metrics, name, sample)
        await asyncio.sleep(PERIOD_S)


def _export(metrics: Metrics, uuid: str | None, sample: GpuSample | None) -> None:
    for gauge in (metrics.gpu_used_memory, metrics.gpu_memory, metrics.gpu_utilization):
        gauge.clear()
    if uuid and sample:
        metrics.gpu_used_memory.labels(uuid).set(sample.used_memory_bytes)
        metrics.gpu_memory.labels(uuid).set(sample.memory_bytes)
        if sample.utilization is not None:
            metrics.gpu_utilization.labels(uuid).set(sample.utilization)


@cache
def _library() -> Any:
    import pynvml

    pynvml.nvmlInit()
    return pynvml
