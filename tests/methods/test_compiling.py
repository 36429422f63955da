"""Triton's programs are compiled for a GPU, as far as its assembler; none is needed for that."""

import json
import os
import subprocess
import sys

import pytest

from deep_clustering.methods._proven import triton_is_there

#: Compiles each program for an H100 and prints what registers it spills and memory it shares.
_SCRIPT = """
import json
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from deep_clustering.methods.clustering import programs as seeds
from deep_clustering.methods.images import programs as views

def compiled(program, warps, constants, **pointers):
    signature = {name: kind for name, kind in pointers.items()}
    signature |= dict.fromkeys(constants, "constexpr")
    order = {name: signature[name] for name in program.arg_names}
    source = ASTSource(program, order, constants)
    options = {"num_warps": warps, "enable_fp_fusion": False}
    made = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return [len(made.asm["cubin"]), made.metadata.shared]

f, i = "*fp32", "*i32"
picture = dict(pixels="*u8", span=f, steps=f, mirrored=i, operation=i, magnitude=f, matrix=i)
picture |= dict(below=f, hole=i, shift=f, scale=f, result=f)
sizes = dict(source=32, side=32, padded=32, width=32)
weak = dict(slots=0, by_cubic=False, holed=False, fill=-1)
strong = dict(slots=4, by_cubic=True, holed=True, fill=127)
seeding = dict(distances=f, draws="*fp64", chosen="*i64", n="i32", steps="i32", restarts="i32")
print(json.dumps([
    compiled(views._view, 8, sizes | weak, **picture),
    compiled(views._view, 8, sizes | strong, **picture),
    compiled(seeds._seed, 8, dict(trials=8, padded=8, width=1024), **seeding),
]))
"""


@pytest.mark.ray  # takes seconds
@pytest.mark.skipif(not triton_is_there(), reason="needs Triton")
def test_every_program_compiles_for_a_gpu() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    made = json.loads(ran.stdout)
    assert len(made) == 3
    assert all(size > 1000 for size, _ in made)
    assert all(shared <= 48 * 1024 for _, shared in made)  # bytes; what every GPU has
