"""List the locked packages and their licences in NOTICE: `python -m tools.licences`.

The list stands at the end of NOTICE. A licence comes from the installed package's own metadata;
`KNOWN` has those that are not installed everywhere or whose metadata are not exact. With `--check`
the command writes nothing and fails if the list is not current.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTICE = ROOT / "NOTICE"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-torch.lock")
DEVELOPMENT = ROOT / "requirements-dev.lock"
POSTGRES = ("psycopg", "psycopg-binary")
"""In container images and with the extra `postgres`, from the lock for development."""
HEAD = "The locked packages, their versions (which depend on Python's) and their licences:\n"
KNOWN = {
    "colorama": "BSD-3-Clause",  # Windows only
    "exceptiongroup": "MIT AND PSF-2.0",  # Python 3.10 only
    "greenlet": "MIT AND PSF-2.0",  # Python 3.10 only
    "jinja2": "BSD-3-Clause",
    "mpmath": "BSD-3-Clause",
    "nvidia-ml-py": "BSD-3-Clause",
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
    "segno": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
}
CLASSIFIERS = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
}


def locked() -> dict[str, list[str]]:
    """Return the versions of every package of an installation or an image."""
    found: dict[str, list[str]] = {}
    for path in (*LOCKS, DEVELOPMENT):
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE):
            if path != DEVELOPMENT or name in POSTGRES:
                found.setdefault(name, []).append(version)
    return dict(sorted(found.items()))


def licence(name: str) -> str:
    """Return a package's licence as an SPDX expression. Raises LookupError."""
    if name in KNOWN:
        return KNOWN[name]
    try:
        about = metadata(name)
    except PackageNotFoundError as exc:
        raise LookupError(f"{name} is not installed: add its licence to KNOWN") from exc
    for classifier in about.get_all("Classifier") or ():
        if classifier in CLASSIFIERS and not about["License-Expression"]:
            return CLASSIFIERS[classifier]
    found = about["License-Expression"] or about["License"]
    if not found or "\n" in found:
        raise LookupError(f"{name} states no licence: add it to KNOWN")
    return str(found)


def entry(name: str, versions: list[str]) -> str:
    """Return the beginning of a package's line in the list."""
    return f"  {name} {', '.join(versions)}: "


def fill(text: str) -> str:
    """Return NOTICE with the current list."""
    rows = [entry(name, versions) + licence(name) for name, versions in locked().items()]
    return text.partition(HEAD)[0] + HEAD + "\n" + "\n".join(rows) + "\n"


def main() -> int:
    """Write the list, or compare it."""
    text = NOTICE.read_text(encoding="utf-8")
    current = fill(text)
    if "--check" in sys.argv:
        if text != current:
            print("NOTICE is not current: run `python -m tools.licences`")
        return int(text != current)
    NOTICE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
