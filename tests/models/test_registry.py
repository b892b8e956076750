"""From names to directories: local models, downloads, and the fallback without a hub."""

import socket
import time
from pathlib import Path

import pytest

from asr_server.models import registry
from asr_server.models.catalog import (
    CATALOG,
    DEMO,
    PRODUCTION,
    PUNCTUATION,
    SECOND_PASS,
    ModelError,
    lookup,
)
from tests.support.model_hub import hub_settings

OFFLINE_ID = "iic/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch"
ASR_ID = "iic/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online"


def lay(directory: Path) -> Path:
    directory.mkdir(parents=True)
    for file in lookup(PRODUCTION).files:
        (directory / file).write_text("x")
    return directory


@pytest.mark.parametrize(
    "name", [PRODUCTION, ASR_ID, ASR_ID.replace("iic", "damo"), "funasr/paraformer-zh-streaming"]
)
def test_a_model_is_found_by_its_name_and_every_hub_id(name):
    assert lookup(name) is CATALOG[0]


def test_the_offline_model_is_found_by_its_name_and_its_id():
    model = lookup(SECOND_PASS)
    assert model is lookup(OFFLINE_ID) is lookup(OFFLINE_ID.replace("iic", "damo"))
    assert set(model.files) == set(lookup(PRODUCTION).files)
    assert lookup("funasr/paraformer-zh") is not model  # has neither times nor hotwords


def test_any_other_hub_id_is_taken_for_a_model_of_the_same_kind():
    model = lookup("someone/paraformer-finetuned")
    assert model.ids == ("someone/paraformer-finetuned",)
    assert model.files == CATALOG[0].files


@pytest.mark.parametrize("name", ["paraformer", "./models", "../x", "/abs/path", "a/b/c", ""])
def test_a_text_that_is_no_name_is_unknown(name):
    assert lookup(name) is None


def test_a_directory_resolves_to_itself(tmp_path, nowhere):
    mine = lay(tmp_path / "mine")
    assert registry.resolve(mine, nowhere) == mine
    assert registry.resolve(tmp_path / "absent", nowhere) is None


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
def test_a_model_is_found_in_every_layout_of_the_caches(tmp_path, nowhere, place):
    settings = nowhere.model_copy(update={"model_dir": str(tmp_path / "models")})
    assert registry.resolve(PRODUCTION, settings) is None
    expected = lay(tmp_path / place)
    assert registry.resolve(PRODUCTION, settings) == expected


def test_of_two_snapshots_the_one_that_main_names_is_taken(tmp_path, nowhere):
    repository = tmp_path / "hf/hub/models--funasr--paraformer-zh-streaming"
    old, _ = lay(repository / "snapshots/old"), lay(repository / "snapshots/new")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("old\n")
    assert registry.resolve(PRODUCTION, nowhere) == old


def test_an_incomplete_model_is_not_found(tmp_path, nowhere):
    directory = lay(tmp_path / PRODUCTION)
    (directory / "am.mvn").unlink()
    assert registry.resolve(PRODUCTION, nowhere) is None


def test_auto_takes_the_local_production_model(tmp_path, nowhere):
    directory = lay(tmp_path / PRODUCTION)
    choice = registry.choose(nowhere)
    assert (choice.name, choice.path, choice.notice) == (PRODUCTION, directory, None)


def test_auto_downloads_the_production_model(tmp_path, hub):
    choice = registry.choose(hub.settings(tmp_path))
    assert choice.path == tmp_path / PRODUCTION
    assert choice.notice is None
    assert registry.resolve(PRODUCTION, hub.settings(tmp_path)) == choice.path


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Path:
    """A stand-in for the embedded model's directory, which these tests must not depend on."""
    monkeypatch.setattr(registry, "EMBEDDED", tmp_path / "embedded")
    lay(tmp_path / "embedded" / "punctuation")
    return lay(tmp_path / "embedded" / "asr")


def test_auto_without_a_hub_is_the_demo_with_a_warning(tmp_path, nowhere, demo):
    choice = registry.choose(nowhere)
    assert choice.name == DEMO
    assert choice.path == demo
    assert "DEMO" in choice.notice
    assert "asr-server models download" in choice.notice
    assert choice.punctuation == demo.parent / "punctuation"
    assert "not reachable" in choice.reason


def test_hubs_that_never_answer_delay_the_start_by_less_than_ten_seconds(tmp_path, demo):
    black_hole = "http://198.51.100.1"  # TEST-NET-2: no machine has it
    with socket.create_server(("127.0.0.1", 0), backlog=8) as mute:
        accepts_only = f"http://127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        choice = registry.choose(hub_settings(tmp_path, accepts_only, black_hole))
        assert time.monotonic() - began < 9
    assert choice.name == DEMO


def test_a_sign_in_page_is_not_taken_for_a_hub(tmp_path, hub, demo):
    hub.portal = True
    choice = registry.choose(hub.settings(tmp_path))
    assert choice.name == DEMO
    assert "no file list" in choice.reason


def test_auto_asks_no_hub_when_downloads_are_off(tmp_path, hub, demo):
    choice = registry.choose(hub.settings(tmp_path, download="never"))
    assert choice.name == DEMO
    assert hub.asked == []


def test_a_hub_that_fails_gives_way_to_the_other(tmp_path, hub, nowhere):
    gone = nowhere.modelscope_endpoint
    for place, hubs in ((tmp_path / "a", (hub.url, gone)), (tmp_path / "b", (gone, hub.url))):
        settings = hub_settings(place, *hubs)
        assert registry.download(PRODUCTION, settings) == place / PRODUCTION


def test_only_the_configured_hub_is_used(tmp_path, hub, nowhere):
    gone = nowhere.huggingface_endpoint
    settings = hub_settings(tmp_path, hub.url, gone, hub="huggingface")
    with pytest.raises(ModelError, match="huggingface: not reachable"):
        registry.download(PRODUCTION, settings)


def test_a_model_missing_on_the_configured_hub_is_an_error(tmp_path, hub):
    with pytest.raises(ModelError, match="huggingface: ct-punc-realtime is not published there"):
        registry.download(PUNCTUATION, hub.settings(tmp_path, hub="huggingface"))


def test_the_production_model_never_falls_back(tmp_path, nowhere, demo):
    with pytest.raises(ModelError, match="asr-server models download"):
        registry.choose(nowhere.model_copy(update={"model": PRODUCTION}))
    with pytest.raises(ModelError, match="not reachable"):
        registry.choose(nowhere.model_copy(update={"model": PRODUCTION, "download": "always"}))


def test_the_punctuation_model_is_downloaded_too(tmp_path, hub, nowhere):
    hub.models += (lookup(PUNCTUATION).modelscope,)
    choice = registry.choose(hub.settings(tmp_path, model=PRODUCTION, download="always"))
    assert choice.punctuation == tmp_path / PUNCTUATION
    again = registry.choose(nowhere.model_copy(update={"model": PRODUCTION}))
    assert again.punctuation == tmp_path / PUNCTUATION


def test_recognition_works_without_an_available_punctuation_model(tmp_path, hub, caplog):
    choice = registry.choose(hub.settings(tmp_path, model=PRODUCTION, download="always"))
    assert choice.path == tmp_path / PRODUCTION
    assert choice.punctuation is None
    assert "no punctuation marks" in caplog.text


def test_an_unknown_name_is_an_error_that_points_to_the_list(tmp_path, nowhere):
    with pytest.raises(ModelError, match="asr-server models list"):
        registry.choose(nowhere.model_copy(update={"model": "paraformer"}))


def test_the_demo_chosen_by_name_has_a_warning_too(tmp_path, nowhere, demo):
    choice = registry.choose(nowhere.model_copy(update={"model": DEMO}))
    assert choice.name == DEMO
    assert "DEMO" in choice.notice


def test_the_offline_model_is_used_if_it_is_here_and_never_missed(tmp_path, nowhere, demo):
    choice = registry.choose(nowhere)
    assert choice.second_pass is None
    assert choice.no_second_pass == "the model demo is not on this machine"
    offline = lay(demo.parent / "second_pass")
    choice = registry.choose(nowhere)
    assert (choice.second_pass, choice.no_second_pass) == (offline, "")
    off = registry.choose(nowhere.model_copy(update={"second_pass": "off"}))
    assert (off.second_pass, off.no_second_pass) == (None, "it is switched off")


def test_an_offline_model_that_is_demanded_and_absent_is_named(tmp_path, nowhere):
    lay(tmp_path / PRODUCTION)
    settings = nowhere.model_copy(update={"second_pass": "on"})
    with pytest.raises(ModelError, match="paraformer-zh"):
        registry.choose(settings)
    other = lay(tmp_path / "mine")
    settings = settings.model_copy(update={"second_pass_model": str(other)})
    assert registry.choose(settings).second_pass == other
