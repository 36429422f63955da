"""Settings for all tests."""

import os
from pathlib import Path

# Programs started by a test find `support` too, as pytest does through `pythonpath`.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
