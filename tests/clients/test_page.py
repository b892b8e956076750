"""The files of the demo page are all served from a checkout, and no other file is."""

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from starlette.routing import Route

from asr_server.api import page

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "clients" / "web"
DEMO = WEB / "demo"
REFERENCE = re.compile(r"""(?:^(?:import\b|}).* from |src=|href=)['"]([./][\w./-]+)['"]""", re.M)


def served_paths() -> set[str]:
    return {route.path for route in page.router().routes if isinstance(route, Route)}


@pytest.mark.parametrize("prefix", ["/", "/asr/"])  # a proxy strips all but the first "/"
def test_every_file_the_page_refers_to_is_served(prefix: str):
    paths = {prefix + path[1:] for path in served_paths()}
    paths.add(f"{prefix}standalone.html")  # which the page opened as a file refers to
    assert prefix in paths
    for source in [WEB / "index.html", *DEMO.glob("*.js")]:
        base = prefix + source.relative_to(WEB).as_posix()
        text = source.read_text("utf-8")
        for name in REFERENCE.findall(text):
            if source.name == "theme.js":  # writes into the page
                base = prefix
            assert urljoin(base, name) in paths, f"{source.name} needs {name}"


def test_the_samples_are_served_with_their_manifest():
    assert {"/samples/manifest.json", "/samples/phone.wav"} <= served_paths()


def test_only_scripts_styles_pages_and_samples_are_served():
    allowed = re.compile(r"/|/(demo/)?[\w-]+\.(js|css)|/samples/[\w.-]+\.(wav|json)")
    assert all(allowed.fullmatch(path) for path in served_paths())


def test_the_page_refers_to_no_other_host():
    for source in [WEB / "index.html", *DEMO.iterdir()]:
        text = source.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://(?!localhost|127\.0\.0\.1)", text), source.name


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_text_exists_in_both_languages(language):
    text = (DEMO / "i18n.js").read_text("utf-8")
    block = re.search(rf"const {language} = {{(.*?)^}};", text, re.S | re.M)
    assert block
    keys = set(re.findall(r"^  '?([\w.-]+)'?:", block[1], re.M))
    html = (WEB / "index.html").read_text("utf-8")
    code = "".join(file.read_text("utf-8") for file in DEMO.glob("*.js"))
    used = set(re.findall(r'data-i18n(?:-label)?="([\w.-]+)"', html))
    used |= set(re.findall(r"\bt\('([\w.-]+)'", code))
    assert used <= keys, used - keys
