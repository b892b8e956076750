"""What pyproject.toml cannot say: the demo page and its recordings go into the package.

They live in `clients/web` and `tests/data`, from where a checkout serves them.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

STATIC = Path("asr_server", "api", "static")
FILES = {
    "clients/web/AsrClient.js": "",
    "clients/web/pcm-worklet.js": "",
    "clients/web/index.html": "",
    "clients/web/demo/*": "demo",
    "tests/data/*.wav": "samples",
    "tests/data/manifest.json": "samples",
}


class BuildWithPage(build_py):
    """build_py, and the page."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for pattern, folder in FILES.items():
            target = Path(self.build_lib) / STATIC / folder
            target.mkdir(parents=True, exist_ok=True)
            for file in Path().glob(pattern):
                shutil.copy(file, target)


setup(cmdclass={"build_py": BuildWithPage})
