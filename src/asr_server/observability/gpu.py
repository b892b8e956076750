"""Export memory and utilisation of the GPU that computes, from NVIDIA's management library."""

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from asr_server.observability.metrics import Metrics

log = logging.getLogger(__name__)

PERIOD_S = 5.0
"""Time between two samples."""


def read(uuid: str) -> tuple[float, float, float | None]:
    """Return the used and total bytes of a GPU's memory, and its utilisation, 0 to 1.

    The latter is None if the driver does not report it, as for a MIG slice. The UUID is as in
    `GPU-ffc79498-8ff3-c2dc-3b0d-fafd804516ae`. Raises `ImportError` without nvidia-ml-py,
    `pynvml.NVMLError` without a driver or that GPU.
    """
    nvml = _library()
    handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        return memory.used, memory.total, nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except nvml.NVMLError_NotSupported:
        return memory.used, memory.total, None


async def watch(metrics: Metrics, uuid: Callable[[], str | None]) -> None:
    """Export the GPU that `uuid` returns, if any, every period until cancelled."""
    gauges = (metrics.gpu_used_memory, metrics.gpu_memory, metrics.gpu_utilization)
    last_error = ""
    while True:
        sample: tuple[float | None, ...] = ()
        if name := uuid():
            try:
                # In a thread: the driver of a failing GPU may block.
                sample = await asyncio.to_thread(read, name)
            except Exception as exc:  # recognition must go on without figures
                if str(exc) != last_error:
                    last_error = str(exc)
                    log.warning("no figures of the GPU: %s", exc)
        for gauge in gauges:
            gauge.clear()
        for gauge, value in zip(gauges, sample, strict=False):
            if value is not None:
                gauge.labels(name).set(value)
        await asyncio.sleep(PERIOD_S)


@cache
def _library() -> Any:
    import pynvml

    pynvml.nvmlInit()
    return pynvml
