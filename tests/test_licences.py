"""NOTICE names what an installation and an image contain."""

import importlib.util
import re
from pathlib import Path

import pytest

from tools import licences

NOTICE = licences.NOTICE.read_text(encoding="utf-8")


def test_every_locked_package_is_in_the_notice_with_its_versions_and_a_licence():
    listed = NOTICE.partition(licences.HEAD)[2]
    for name, versions in licences.locked().items():
        line = re.search(
            rf"^{re.escape(licences.entry(name, versions))}\w.*$", listed, re.MULTILINE
        )
        assert line, f"{name}: run `python -m tools.licences`"


def test_a_package_without_a_known_licence_is_an_error():
    with pytest.raises(LookupError, match="add its licence"):
        licences.licence("no-such-package")


def test_every_package_of_the_runtime_lock_has_hashes():
    for path in (licences.LOCKS[0], licences.DEVELOPMENT):
        blocks = re.split(r"^(?=[\w])", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        assert blocks
        assert all("--hash=sha256:" in block for block in blocks)


def test_torch_is_pinned_apart_because_its_files_differ_by_index():
    assert re.fullmatch(r"torch==[\d.]+\n", licences.LOCKS[1].read_text(encoding="utf-8"))
    for path in (licences.LOCKS[0], licences.DEVELOPMENT):
        assert not re.search(r"^(torch==|triton|nvidia-(?!ml-py)|cuda-)", path.read_text(), re.M)


def test_every_library_in_the_wheel_of_pyav_is_in_the_notice():
    found = importlib.util.find_spec("av")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent.with_name("av.libs")
    if not folder.is_dir():
        pytest.skip("this PyAV bundles no libraries in the way of Linux wheels")
    names = {re.sub(r"-[0-9a-f]{8}\..*", "", file.name) for file in folder.iterdir()}
    missing = {name for name in names if not re.search(rf"\b{name}\b", NOTICE)}
    assert not missing
