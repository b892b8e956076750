"""The device dies or hangs: the server reports it and restarts the engine."""

import asyncio
import contextlib
import subprocess
import sys
import threading

import httpx2
import numpy as np
import pytest
import torch

from asr_server import app
from asr_server.asr import engine as engine_module
from asr_server.asr.engine import Engine
from asr_server.asr.load import Loader, build_engine
from asr_server.asr.types import Backend, DeviceLostError, LoadError, StreamOptions
from asr_server.asr.worker import accelerator_fails
from asr_server.errors import EngineDead, InternalError
from asr_server.recognition import EndOfStream
from asr_server.settings import Settings
from tests.support.engines import engine_with
from tests.support.fake_backend import FakeBackend
from tests.support.processes import ROOT
from tests.support.serving import (
    LOUD,
    becomes,
    connected,
    error,
    finish_task,
    http_client,
    names,
    run_task,
    serving,
    within,
)

SPEECH = np.full(16_000, 0.1, dtype=np.float32)
LAUNCH_FAILURE = (
    "CUDA error: unspecified launch failure\n"
    "CUDA kernel errors might be asynchronously reported at some other API call\n"
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(engine_module, "RESTART_PAUSES_S", (0.0, 0.02))


@contextlib.contextmanager
def running(load, **options):
    """Let the application build this engine instead of its own."""

    def build(fake, settings, metrics):
        return engine_with(load, metrics, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "Engine", build)
        yield


@contextlib.asynccontextmanager
async def started(engine):
    """Start an engine, or one with this function that loads a backend."""
    engine = engine if isinstance(engine, Engine) else engine_with(engine)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def outcome(engine):
    """Return the type of the event or error that ends a stream of speech."""
    stream = engine.open(StreamOptions())
    stream.push(SPEECH)
    stream.finish()
    async with within(5):
        try:
            while not isinstance(event := await stream.next(), EndOfStream):
                pass
        except InternalError as error:
            return type(error)
        finally:
            stream.close()
    return type(event)


async def ready(served):
    async with http_client() as client:
        answer = await client.get(served.http + "/readyz")
    return answer.status_code, answer.json()


async def until(served, status):
    async with within(5):
        while True:
            code, body = await ready(served)
            if body["status"] == status:
                return code, body
            await asyncio.sleep(0.01)


async def recognised(served):
    async with connected(served) as client:
        await client.say(run_task(), LOUD, finish_task())
        return names(await client.until("task-finished"))[-1]


# Readiness ----------------------------------------------------------------------------------------


async def test_before_the_model_is_loaded_the_server_is_alive_but_not_ready():
    transport = httpx2.ASGITransport(app.create_app(Settings(), load=FakeBackend))
    async with http_client(transport=transport, base_url="http://x") as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
        assert (await client.get("/healthz")).status_code == 200


async def test_the_model_is_warm_before_the_engine_is_ready():
    events = []

    class Watched(FakeBackend):
        def warm_up(self):
            events.append(("warming", engine.state, threading.current_thread().name))

    engine = engine_with(Loader(lambda device: Watched(), "cpu"))
    async with started(engine):
        assert events == [("warming", "loading", "worker")]
        assert engine.state == "ready"


@pytest.mark.parametrize("fault", ["hangs", "exits", "breaks"])
async def test_a_device_that_dies_or_hangs_is_restarted_and_readiness_shows_that(fault):
    faults = iter([fault])
    release, may_load = threading.Event(), threading.Event()
    may_load.set()

    class Mortal(FakeBackend):
        def __init__(self):
            may_load.wait(5)
            super().__init__()

        def decode(self, works):
            match next(faults, None):
                case "hangs":
                    release.wait(5)
                case "exits":
                    raise SystemExit
                case "breaks":
                    raise torch.AcceleratorError(LAUNCH_FAILURE)
            return super().decode(works)

    with running(Mortal, step_timeout_s=1.0):
        async with serving(capacity=1) as served:  # else an estimate would take the first step
            may_load.clear()
            async with connected(served) as client:
                await client.say(run_task(), LOUD)
                events = await client.until("task-failed")
                assert error(events) == ("InternalError", InternalError.message)
                assert await client.closed() == 1011
            assert await ready(served) == (503, {"status": "restarting"})
            may_load.set()
            release.set()
            assert await until(served, "ready") == (200, {"status": "ready"})
            assert await recognised(served) == "task-finished"


async def test_a_bug_outside_the_backend_restarts_the_engine_too():
    mistakes = iter([True])

    class Malformed(FakeBackend):
        def decode(self, works):
            results = super().decode(works)
            if next(mistakes, False):
                results.append(results[0])  # one result too many
            return results

    async with started(Malformed) as engine:
        assert await outcome(engine) is EngineDead
        await becomes(engine, "ready")
        assert await outcome(engine) is EndOfStream


async def test_readiness_shows_why_a_restart_failed_until_one_succeeds():
    breaks = threading.Event()

    class Backend(FakeBackend):
        def __init__(self):
            if breaks.is_set():
                raise MemoryError("not enough")
            super().__init__()

        def detect(self, works):
            if breaks.is_set():
                raise SystemExit
            return super().detect(works)

    with running(Backend):
        async with serving() as served, connected(served) as client:
            breaks.set()
            await client.say(run_task(), LOUD)
            await client.until("task-failed")
            assert await until(served, "failed") == (
                503,
                {"status": "failed", "reason": "see the log"},
            )
            async with http_client() as http:
                assert (await http.get(served.http + "/healthz")).status_code == 200
            breaks.clear()
            assert await until(served, "ready") == (200, {"status": "ready"})
            assert await recognised(served) == "task-finished"


# A GPU that is lost -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        LAUNCH_FAILURE,
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(handle)`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "No CUDA GPUs are available",
        "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        "Torch not compiled with CUDA enabled",
        "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
    ],
)
def test_pytorchs_messages_about_a_failed_gpu_are_recognised(message):
    for kind in (RuntimeError, torch.AcceleratorError, AssertionError):
        assert accelerator_fails(kind(message))


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "The size of tensor a (3) must match the size of tensor b (7)",
        "",
    ],
)
def test_out_of_memory_and_ordinary_errors_are_no_failed_gpu(message):
    assert not accelerator_fails(RuntimeError(message))


class Gpu:
    """Builds backends as on a machine whose GPU can be removed, failing as PyTorch does."""

    def __init__(self):
        self.there = True
        self.built = []

    def __call__(self, device):
        device = device if device != "auto" else ("cuda" if self.there else "cpu")
        if device == "cuda" and not self.there:
            raise RuntimeError("No CUDA GPUs are available")
        self.built.append(device)
        backend = FakeBackend()
        backend.device = device
        for name in ("detect", "decode"):
            setattr(backend, name, self._on_device(backend, getattr(backend, name)))
        return backend

    def _on_device(self, backend, step):
        """Return a step that fails once the GPU is gone."""

        def run(works):
            if backend.device == "cuda" and not self.there:
                raise torch.AcceleratorError(LAUNCH_FAILURE)
            return step(works)

        return run


@pytest.mark.parametrize("asked", ["cuda", "auto"])
async def test_a_lost_gpu_is_replaced_by_the_cpu_if_the_settings_allow_it(asked):
    gpu = Gpu()
    with running(Loader(gpu, asked, fallback="cpu")):
        async with serving() as served, connected(served) as client:
            gpu.there = False
            await client.say(run_task(), LOUD)
            assert error(await client.until("task-failed"))[0] == "InternalError"
            await until(served, "ready")
            assert served.engine.device == "cpu"
            assert await recognised(served) == "task-finished"
            gpu.there = True
    assert gpu.built == ["cuda", "cpu"]


@pytest.mark.parametrize("asked", ["cuda", "auto"])
async def test_a_lost_gpu_without_a_fallback_ends_the_engine(asked):
    gpu = Gpu()
    async with started(Loader(gpu, asked)) as engine:
        gpu.there = False
        assert await outcome(engine) is EngineDead
        await asyncio.wait_for(engine.lost.wait(), 5)
        assert engine.state == "failed"
        assert "No CUDA GPUs are available" in engine.failure
        assert "ASR_DEVICE_FALLBACK=cpu" in engine.failure
        assert gpu.built == ["cuda"]


async def test_a_gpu_that_comes_back_in_time_is_used_again():
    gpu = Gpu()
    async with started(Loader(gpu, "auto")) as engine:
        gpu.there = False
        assert await outcome(engine) is EngineDead
        await becomes(engine, "failed")
        gpu.there = True
        await becomes(engine, "ready")
        assert gpu.built == ["cuda", "cuda"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
async def test_a_missing_gpu_is_reported_with_the_setting_that_helps(tmp_path):
    model = ROOT / "src" / "asr_server" / "models" / "demo" / "asr"
    with pytest.raises(DeviceLostError, match="ASR_DEVICE_FALLBACK=cpu"):
        await build_engine(Settings(device="cuda"), model).start()
    settings = Settings(device="cuda", device_fallback="cpu", max_tasks=1)
    async with started(build_engine(settings, model)) as engine:
        assert engine.device == "cpu"


def test_a_server_that_lost_its_gpu_exits_with_1_for_its_supervisor(tmp_path):
    script = """
import sys, threading
from tests.operations.test_recovery import Gpu
from asr_server import app
from asr_server.asr import engine
from asr_server.asr.load import Loader
from asr_server.asr.types import StreamOptions
from asr_server.process.serving import serve
from asr_server.settings import Settings
import numpy as np

engine.RESTART_PAUSES_S = (0.0,)
gpu = Gpu()
settings = Settings(host="127.0.0.1", port=0, log_format="json")
server = app.create_app(settings, load=Loader(gpu, "cuda"))

def listening(port):
    gpu.there = False
    stream = server.state.engine.open(StreamOptions())
    stream.push(np.full(16_000, 0.1, dtype=np.float32))

sys.exit(serve(server, settings, listening))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert "only a new process can use the device again" in done.stderr


def broken() -> Backend:
    raise LoadError("second_pass/config.yaml is of the class Conformer")


async def test_a_server_that_may_do_without_an_offline_model_starts_and_names_the_reason(caplog):
    loader = Loader(lambda device: broken(), "cpu", build_without=lambda device: FakeBackend())
    engine = Engine(loader, Settings(), why_no_second_pass=lambda: loader.no_second_pass)
    await engine.start()
    assert engine.state == "ready"
    assert engine.no_second_pass == "second_pass/config.yaml is of the class Conformer"
    await engine.stop()
    assert "the offline model cannot be used; there is no second pass" in caplog.messages


async def test_a_server_that_must_have_an_offline_model_does_not_start_without():
    with pytest.raises(LoadError, match="of the class Conformer"):
        await engine_with(Loader(lambda device: broken(), "cpu")).start()
