"""`asr-server models` against a simulated hub."""

import pytest

from asr_server.models.catalog import CATALOG, PRODUCTION, PUNCTUATION
from tests.support.command_line import asr_server


@pytest.fixture
def at_hub(hub, offline):
    hub.models += tuple(model.modelscope for model in CATALOG)
    return {**offline, "ASR_MODELSCOPE_ENDPOINT": hub.url, "HF_ENDPOINT": hub.url}


def test_the_list_shows_every_model_and_where_it_lies(tmp_path, offline):
    done = asr_server("models", "list", cwd=tmp_path, **offline)
    for model in CATALOG:
        assert model.name in done.stdout
    assert "FunASR Model License" in done.stdout


def test_a_download_brings_what_production_needs(tmp_path, hub, at_hub):
    done = asr_server("models", "download", cwd=tmp_path, **at_hub)
    assert done.returncode == 0, done.stderr
    for name in (PRODUCTION, PUNCTUATION):
        assert f"{name} lies in" in done.stdout
        assert (tmp_path / "models" / name / "model.pt").read_bytes() == hub.files["model.pt"]


def test_changed_files_are_refused_until_told_to_accept_them(tmp_path, hub, at_hub):
    command = ("models", "download", PRODUCTION)
    asr_server(*command, cwd=tmp_path, **at_hub)
    hub.files["am.mvn"] += b" "
    refused = asr_server(*command, cwd=tmp_path, **at_hub)
    assert refused.returncode == 1
    assert "am.mvn" in refused.stderr
    assert "--accept-changes" in refused.stderr
    assert asr_server(*command, "--accept-changes", cwd=tmp_path, **at_hub).returncode == 0
    assert (tmp_path / "models" / PRODUCTION / "am.mvn").read_bytes() == hub.files["am.mvn"]


def test_a_mirror_named_as_huggingfaces_tools_name_it_is_used(tmp_path, hub, at_hub):
    del at_hub["ASR_HUGGINGFACE_ENDPOINT"]
    options = (PRODUCTION, "--hub", "huggingface", "--model-dir", "elsewhere")
    done = asr_server("models", "download", *options, cwd=tmp_path, **at_hub)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "elsewhere" / PRODUCTION / "model.pt").exists()


def test_a_download_without_a_hub_is_an_error_with_its_reason(tmp_path, offline):
    done = asr_server("models", "download", cwd=tmp_path, **offline)
    assert done.returncode == 1
    assert f"{PRODUCTION} not downloaded: " in done.stderr
    assert "not reachable" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path, at_hub):
    (tmp_path / "models").write_text("a file where the folder should be")
    done = asr_server("models", "download", cwd=tmp_path, **at_hub)
    assert done.returncode == 1
    assert f"{PRODUCTION} not downloaded: " in done.stderr
    assert "models" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_name_is_refused_with_the_command_that_lists_names(tmp_path, offline):
    done = asr_server("models", "download", "whisper", cwd=tmp_path, **offline)
    assert done.returncode == 1
    assert "asr-server models list" in done.stderr


def test_a_whole_model_is_verified(tmp_path, tiny_model, offline):
    done = asr_server("models", "verify", str(tiny_model), cwd=tmp_path, **offline)
    assert done.returncode == 0, done.stdout
    assert "✓ model.pt: tensors as in config.yaml" in done.stdout


def test_a_directory_without_a_model_fails_verification(tmp_path, at_hub):
    asr_server("models", "download", PRODUCTION, cwd=tmp_path, **at_hub)
    done = asr_server("models", "verify", PRODUCTION, cwd=tmp_path, **at_hub)
    assert done.returncode == 1
    assert "✓ model.pt: SHA-256 as locked" in done.stdout
    assert "✗ config.yaml: content: describes no model" in done.stdout


def test_verifying_what_is_absent_names_the_command(tmp_path, offline):
    done = asr_server("models", "verify", cwd=tmp_path, **offline)
    assert done.returncode == 1
    assert "asr-server models download" in done.stderr
