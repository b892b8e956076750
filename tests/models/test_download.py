"""Downloads over real sockets from a hub with the interfaces of both hubs."""

import hashlib
import shutil
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest

from asr_server.models import registry
from asr_server.models.catalog import PRODUCTION, PUNCTUATION, HubName, ModelError, lookup
from asr_server.models.download import fetch
from asr_server.models.hubs import http_client, list_files
from asr_server.models.lock import lock_path, read_lock
from tests.support.model_hub import COMMIT


def quiet(path: str, done: int, size: int) -> None:
    pass


def get(hub: Any, tmp_path: Path, name: HubName = "modelscope", **options: Any) -> Path:
    model = lookup(PRODUCTION)
    assert model is not None
    with httpx2.Client() as client:
        listing = list_files(model, name, hub.settings(tmp_path), client)
    return fetch(listing, tmp_path / "models" / PRODUCTION, quiet, 0, **options)


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_a_download_holds_the_files_of_the_model_only(hub, tmp_path, name):
    directory = get(hub, tmp_path, name)
    for path, data in hub.files.items():
        assert (directory / path).exists() == (path != "unwanted.bin")
        if path != "unwanted.bin":
            assert (directory / path).read_bytes() == data
    lock = read_lock(directory)
    assert lock is not None
    assert (lock.hub, lock.revision) == (name, "master" if name == "modelscope" else COMMIT)
    assert lock.files.keys() == hub.files.keys() - {"unwanted.bin"}
    for path, locked in lock.files.items():
        assert locked.sha256 == hashlib.sha256(hub.files[path]).hexdigest()


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_a_download_resumes_after_a_broken_connection(hub, tmp_path, name):
    hub.cut_after = [300_000, 0, 200_000]
    directory = get(hub, tmp_path, name)
    assert (directory / "model.pt").read_bytes() == hub.files["model.pt"]
    asked = hub.ranges_of("model.pt")
    assert asked == [None, "bytes=300000-", "bytes=300000-", "bytes=500000-"]


def test_a_later_call_resumes_an_interrupted_download(hub, tmp_path):
    hub.cut_after = [300_000] + [0] * 5
    with pytest.raises(ModelError, match="300000 of 1048576 bytes.*run the same command again"):
        get(hub, tmp_path)
    assert registry.resolve(PRODUCTION, hub.settings(tmp_path / "models")) is None
    hub.asked.clear()
    directory = get(hub, tmp_path)
    assert hub.ranges_of("model.pt") == ["bytes=300000-"]
    assert hub.ranges_of("config.yaml") == []
    assert (directory / "model.pt").read_bytes() == hub.files["model.pt"]


def test_a_server_without_ranges_sends_the_whole_file_again(hub, tmp_path):
    hub.ranges = False
    hub.cut_after = [300_000]
    directory = get(hub, tmp_path)
    assert (directory / "model.pt").read_bytes() == hub.files["model.pt"]


def test_a_damaged_file_is_downloaded_once_more(hub, tmp_path):
    hub.spoil = 1
    directory = get(hub, tmp_path)
    assert (directory / "model.pt").read_bytes() == hub.files["model.pt"]


def test_a_file_that_stays_damaged_is_refused(hub, tmp_path):
    hub.spoil = 9
    with pytest.raises(ModelError, match=r"model\.pt arrived twice with another hash"):
        get(hub, tmp_path)
    assert registry.resolve(PRODUCTION, hub.settings(tmp_path / "models")) is None


def test_a_small_file_that_stays_damaged_is_refused_on_a_hub_without_its_sha256(hub, tmp_path):
    hub.spoiled, hub.spoil = "config.yaml", 9
    with pytest.raises(ModelError, match=r"config\.yaml arrived twice with another hash"):
        get(hub, tmp_path, "huggingface")


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
@pytest.mark.parametrize("removed", [True, False], ids=["removed", "present"])
def test_a_file_that_changed_since_the_first_download_is_refused_unless_accepted(
    hub, tmp_path, name, removed
):
    directory = get(hub, tmp_path, name)
    before = hub.files["config.yaml"]
    changed = hub.files["config.yaml"] = before.upper()
    if removed:
        shutil.rmtree(directory)
    with pytest.raises(ModelError, match=r"config\.yaml.*--accept-changes"):
        get(hub, tmp_path, name)
    assert get(hub, tmp_path, name, accept_changes=True) == directory
    assert (directory / "config.yaml").read_bytes() == changed
    assert get(hub, tmp_path, name) == directory


def test_another_hub_has_to_publish_the_same_files(hub, tmp_path):
    shutil.rmtree(get(hub, tmp_path, "modelscope"))
    get(hub, tmp_path, "huggingface")
    shutil.rmtree(tmp_path / "models" / PRODUCTION)
    hub.files["tokens.json"] += b" "
    with pytest.raises(ModelError, match=r"tokens\.json of .* changed"):
        get(hub, tmp_path, "huggingface")


def test_a_lock_that_cannot_be_read_is_named(hub, tmp_path):
    lock = lock_path(get(hub, tmp_path))
    lock.write_text('{"files": 3}')
    with pytest.raises(ModelError, match="lock.json cannot be read"):
        get(hub, tmp_path)


def test_the_files_of_the_wanted_revision_are_downloaded(hub, tmp_path):
    settings = hub.settings(tmp_path, model_revision="v2.0.4")
    hub.models += (lookup(PUNCTUATION).modelscope,)
    registry.download(PRODUCTION, settings)
    assert set(hub.revisions) == {"v2.0.4"}
    hub.revisions.clear()
    registry.download(PUNCTUATION, settings)
    assert hub.revisions == ["master"]


def test_an_unencrypted_hub_on_another_machine_is_a_warning(hub, tmp_path, caplog):
    get(hub, tmp_path)
    assert not caplog.records
    http_client("http://hub.example:8080/x", 1).close()
    assert "http://hub.example is unencrypted" in caplog.text


def test_a_redirect_from_https_to_http_is_refused(hub):
    with http_client("https://hub.example", 1) as client:
        with pytest.raises(ModelError, match="redirects to unencrypted http://127"):
            client.get(hub.url)


def test_a_deleted_file_is_not_retried(hub, tmp_path):
    with httpx2.Client() as client:
        listing = list_files(lookup(PRODUCTION), "huggingface", hub.settings(tmp_path), client)
    del hub.files["model.pt"]
    hub.models = ()
    with pytest.raises((ModelError, httpx2.HTTPError)):
        fetch(listing, tmp_path / "m", quiet, 0)


def test_a_path_outside_the_model_is_refused(hub, tmp_path):
    hub.files["../escaped"] = b"evil"
    model = lookup(PRODUCTION)
    with httpx2.Client() as client:
        listing = list_files(model, "modelscope", hub.settings(tmp_path), client)
    assert all(".." not in file.path for file in listing.files)


def test_concurrent_downloads_of_one_model_make_one_transfer(hub, tmp_path):
    threads = [Thread(target=get, args=(hub, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub.ranges_of("model.pt")) == 1


def test_an_incomplete_directory_is_completed(hub, tmp_path):
    directory = tmp_path / "models" / PRODUCTION
    directory.mkdir(parents=True)
    (directory / "note.txt").write_text("mine")
    assert get(hub, tmp_path) == directory
    assert (directory / "note.txt").read_text() == "mine"
    assert (directory / "model.pt").read_bytes() == hub.files["model.pt"]


def test_progress_reaches_every_files_size(hub, tmp_path):
    seen: dict[str, tuple[int, int]] = {}

    def note(path: str, done: int, size: int) -> None:
        assert seen.get(path, (0, 0))[0] <= done <= size
        seen[path] = (done, size)

    registry.download(PRODUCTION, hub.settings(tmp_path), note)
    assert seen["model.pt"] == (1 << 20, 1 << 20)
    assert all(done == size for done, size in seen.values())


def test_a_model_larger_than_the_free_space_is_not_downloaded(hub, tmp_path):
    from dataclasses import replace

    with httpx2.Client() as client:
        listing = list_files(lookup(PRODUCTION), "modelscope", hub.settings(tmp_path), client)
    huge = replace(listing, files=(replace(listing.files[0], size=1 << 60),))
    with pytest.raises(ModelError, match="MB more in .* choose another place"):
        fetch(huge, tmp_path / "m", quiet, 0)
    assert hub.asked == []
