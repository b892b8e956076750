"""The figures of a GPU. A stand-in has NVML's names; no GPU is needed."""

import asyncio
import contextlib
import sys
from types import SimpleNamespace

import pynvml
import pytest

from asr_server.observability import gpu
from asr_server.observability.metrics import Metrics

UUID = "GPU-ffc79498-8ff3-c2dc-3b0d-fafd804516ae"


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class Library(SimpleNamespace):
    """One GPU, half full, a quarter busy."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    sliced = False

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != UUID:
            raise NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(total=80, used=40, free=40)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        if self.sliced:
            raise NVMLError_NotSupported
        return SimpleNamespace(gpu=25, memory=10)


@pytest.fixture
def library(monkeypatch):
    stand_in = Library()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.setattr(gpu, "PERIOD_S", 0.01)
    gpu._library.cache_clear()
    yield stand_in
    gpu._library.cache_clear()


async def shown(metrics: Metrics, uuid: str | None) -> dict[str, float]:
    """Return the exported figures after a few periods."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(gpu.watch(metrics, lambda: uuid), 0.1)
    return {
        sample.name: sample.value
        for family in metrics.families()
        for sample in family.samples
        if "gpu" in sample.name
    }


async def test_memory_and_utilisation_of_the_gpu_are_exported(library):
    assert await shown(Metrics(), UUID) == {
        "asr_gpu_used_memory_bytes": 40,
        "asr_gpu_memory_bytes": 80,
        "asr_gpu_utilization_ratio": 0.25,
    }


async def test_of_a_mig_slice_only_the_memory_is_exported(library):
    library.sliced = True
    assert "asr_gpu_utilization_ratio" not in await shown(Metrics(), UUID)


async def test_without_a_gpu_the_library_is_not_used(library):
    library.nvmlInit = None
    assert await shown(Metrics(), None) == {}


async def test_an_unreadable_gpu_is_no_longer_exported_and_logged_once(library, caplog):
    metrics = Metrics()
    assert await shown(metrics, UUID) != {}
    assert await shown(metrics, "GPU-other") == {}
    assert [record.getMessage() for record in caplog.records] == [
        "no figures of the GPU: Not Found"
    ]


async def test_without_the_library_nothing_is_exported(library, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert await shown(Metrics(), UUID) == {}


def test_the_real_library_has_the_functions_used():
    gpu._library.cache_clear()
    for name in ("NVMLError", *(name for name in vars(Library) if name.startswith("nvml"))):
        assert hasattr(pynvml, name), name
    with pytest.raises(pynvml.NVMLError):  # there is no driver, or no such GPU
        gpu.read(UUID)
