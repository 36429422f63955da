"""Where Triton's programs can be tested: by its interpreter, on the CPU."""

import os

import pytest

from deep_clustering.methods._proven import triton_is_there

#: `conftest.py` asks for the interpreter where there is no GPU.
interpreted = pytest.mark.skipif(
    not triton_is_there() or os.environ.get("TRITON_INTERPRET") != "1",
    reason="needs Triton and, as TRITON_INTERPRET=1, its interpreter",
)
