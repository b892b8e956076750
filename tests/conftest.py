"""What every test shares."""

import os

from hypothesis import settings

# A second busy process makes torch ten times slower: a deadline would test the machine.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
