"""The start of a server, and signals that come before it is ready."""

from uvicorn import Config

from asr_server.app import create_app
from asr_server.process.serving import Server, options
from asr_server.settings import Settings
from tests.support.fake_backend import FakeBackend


async def test_a_server_told_to_stop_while_it_loads_does_not_announce_that_it_listens():
    settings = Settings(model="fake", host="127.0.0.1", port=0)
    announced = []
    app = create_app(settings, load=FakeBackend)
    server = Server(Config(app, **options(settings)), announced.append)
    server.should_exit = True  # as uvicorn's signal handler does
    await server.serve()
    assert announced == []
