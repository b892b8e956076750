"""Names to directories: what lies here, what can be had, what happens without a hub."""

import socket
import time
from pathlib import Path

import pytest

from asr_server.models import registry
from asr_server.models.catalog import CATALOG, DEMO, PRODUCTION, PUNCTUATION, ModelError, lookup
from asr_server.models.hubs import Hubs

ASR_ID = "iic/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online"


def lay(directory: Path) -> Path:
    directory.mkdir(parents=True)
    for file in lookup(PRODUCTION).files:
        (directory / file).write_text("x")
    return directory


@pytest.mark.parametrize(
    "name", [PRODUCTION, ASR_ID, ASR_ID.replace("iic", "damo"), "funasr/paraformer-zh-streaming"]
)
def test_a_model_is_known_by_its_name_and_every_hub_id(name):
    assert lookup(name) is CATALOG[0]


def test_any_other_hub_id_is_taken_for_a_model_of_the_same_kind():
    model = lookup("someone/paraformer-finetuned")
    assert model.ids == ("someone/paraformer-finetuned",)
    assert model.files == CATALOG[0].files


@pytest.mark.parametrize("name", ["paraformer", "./models", "../x", "/abs/path", "a/b/c", ""])
def test_what_is_no_name_is_unknown(name):
    assert lookup(name) is None


def test_a_directory_is_itself(tmp_path, nowhere):
    mine = lay(tmp_path / "mine")
    assert registry.resolve(mine, tmp_path, nowhere) == mine
    assert registry.resolve(tmp_path / "absent", tmp_path, nowhere) is None


@pytest.mark.parametrize(
    "place",
    [
        f"models/{PRODUCTION}",
        f"ms/hub/models/{ASR_ID}",
        f"ms/hub/{ASR_ID}",
        f"ms/models/{ASR_ID}",
        f"ms/hub/{ASR_ID.replace('iic', 'damo')}",
        f"ms/models/{ASR_ID.replace('/', '--')}/snapshots/master",
        "hf/hub/models--funasr--paraformer-zh-streaming/snapshots/abc",
        "hf/models--funasr--paraformer-zh-streaming/snapshots/abc",
    ],
)
def test_a_model_is_found_where_anybody_may_have_put_it(tmp_path, nowhere, place):
    assert registry.resolve(PRODUCTION, tmp_path / "models", nowhere) is None
    expected = lay(tmp_path / place)
    assert registry.resolve(PRODUCTION, tmp_path / "models", nowhere) == expected


def test_of_two_snapshots_the_one_that_main_names_is_taken(tmp_path, nowhere):
    repository = tmp_path / "hf/hub/models--funasr--paraformer-zh-streaming"
    old, _ = lay(repository / "snapshots/old"), lay(repository / "snapshots/new")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("old\n")
    assert registry.resolve(PRODUCTION, tmp_path, nowhere) == old


def test_half_a_model_is_not_found(tmp_path, nowhere):
    directory = lay(tmp_path / PRODUCTION)
    (directory / "am.mvn").unlink()
    assert registry.resolve(PRODUCTION, tmp_path, nowhere) is None


def test_auto_takes_the_production_model_that_lies_here(tmp_path, nowhere):
    directory = lay(tmp_path / PRODUCTION)
    choice = registry.choose("auto", tmp_path, hubs=nowhere)
    assert (choice.name, choice.path, choice.notice) == (PRODUCTION, directory, None)


def test_auto_downloads_the_production_model(tmp_path, hub):
    choice = registry.choose("auto", tmp_path, hubs=hub.hubs(tmp_path))
    assert choice.path == tmp_path / PRODUCTION
    assert choice.notice is None
    assert registry.resolve(PRODUCTION, tmp_path, hub.hubs(tmp_path)) == choice.path


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Path:
    """A stand-in for the embedded model's directory, which these tests must not depend on."""
    monkeypatch.setattr(registry, "EMBEDDED", tmp_path / "embedded")
    lay(tmp_path / "embedded" / "punctuation")
    return lay(tmp_path / "embedded" / "asr")


def test_auto_without_a_hub_is_the_demo_and_says_so(tmp_path, nowhere, demo):
    choice = registry.choose("auto", tmp_path, hubs=nowhere)
    assert choice.name == DEMO
    assert choice.path == demo
    assert "DEMO" in choice.notice
    assert "asr-server models download" in choice.notice
    assert choice.punctuation == demo.parent / "punctuation"
    assert "not reachable" in choice.reason


def test_hubs_that_never_answer_cost_less_than_ten_seconds(tmp_path, demo):
    black_hole = "http://198.51.100.1"  # TEST-NET-2: no machine has it
    with socket.create_server(("127.0.0.1", 0), backlog=8) as mute:
        accepts_only = f"http://127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        choice = registry.choose(
            "auto", tmp_path, hubs=Hubs(accepts_only, black_hole, tmp_path, tmp_path)
        )
        assert time.monotonic() - began < 9
    assert choice.name == DEMO


def test_a_sign_in_page_is_not_taken_for_a_hub(tmp_path, hub, demo):
    hub.portal = True
    choice = registry.choose("auto", tmp_path, hubs=hub.hubs(tmp_path))
    assert choice.name == DEMO
    assert "no file list" in choice.reason


def test_auto_asks_no_hub_when_downloads_are_off(tmp_path, hub, demo):
    choice = registry.choose("auto", tmp_path, allow_download=False, hubs=hub.hubs(tmp_path))
    assert choice.name == DEMO
    assert hub.asked == []


def test_a_hub_that_fails_gives_way_to_the_other(tmp_path, hub, nowhere):
    for hubs in (
        Hubs(hub.url, nowhere.huggingface, tmp_path, tmp_path),
        Hubs(nowhere.modelscope, hub.url, tmp_path, tmp_path),
    ):
        place = tmp_path / hubs.modelscope[-4:]
        assert registry.download(PRODUCTION, place, hubs=hubs) == place / PRODUCTION


def test_a_hub_may_be_demanded(tmp_path, hub, nowhere):
    hubs = Hubs(hub.url, nowhere.huggingface, tmp_path, tmp_path)
    with pytest.raises(ModelError, match="huggingface: not reachable"):
        registry.download(PRODUCTION, tmp_path, "huggingface", hubs=hubs)


def test_a_model_that_is_not_on_the_demanded_hub_says_so(tmp_path, hub):
    with pytest.raises(ModelError, match="huggingface: ct-punc-realtime is not published there"):
        registry.download(PUNCTUATION, tmp_path, "huggingface", hubs=hub.hubs(tmp_path))


def test_the_production_model_never_falls_back(tmp_path, nowhere, demo):
    with pytest.raises(ModelError, match="asr-server models download"):
        registry.choose(PRODUCTION, tmp_path, hubs=nowhere)
    with pytest.raises(ModelError, match="not reachable"):
        registry.choose(PRODUCTION, tmp_path, allow_download=True, hubs=nowhere)


def test_the_punctuation_model_comes_along_where_it_can_be_had(tmp_path, hub, nowhere):
    hub.models += (lookup(PUNCTUATION).modelscope,)
    choice = registry.choose(PRODUCTION, tmp_path, allow_download=True, hubs=hub.hubs(tmp_path))
    assert choice.punctuation == tmp_path / PUNCTUATION
    again = registry.choose(PRODUCTION, tmp_path, hubs=nowhere)
    assert again.punctuation == tmp_path / PUNCTUATION


def test_recognition_does_not_wait_for_a_punctuation_model_nobody_offers(tmp_path, hub, caplog):
    choice = registry.choose(PRODUCTION, tmp_path, allow_download=True, hubs=hub.hubs(tmp_path))
    assert choice.path == tmp_path / PRODUCTION
    assert choice.punctuation is None
    assert "no punctuation marks" in caplog.text


def test_an_unknown_name_is_told_where_names_are(tmp_path, nowhere):
    with pytest.raises(ModelError, match="asr-server models list"):
        registry.choose("paraformer", tmp_path, hubs=nowhere)


def test_the_demo_asked_for_by_name_still_says_what_it_is(tmp_path, nowhere, demo):
    choice = registry.choose(DEMO, tmp_path, hubs=nowhere)
    assert choice.name == DEMO
    assert "DEMO" in choice.notice


def test_reachability_is_decided_in_time(hub, nowhere, tmp_path):
    assert registry.hub_reachable(2, hub.hubs(tmp_path))
    began = time.monotonic()
    assert not registry.hub_reachable(2, nowhere)
    assert time.monotonic() - began < 2.5
