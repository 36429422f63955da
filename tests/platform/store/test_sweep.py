"""Every kind of stored file, with flipped bytes, cut short, emptied, or replaced by a brother.

Promises: no changed byte is ever read as a value, whatever goes wrong has a typed error, one bad
file hides nothing but its own run, and `verify` names it.

    THOROUGH=1 pytest tests/platform/store/test_sweep.py

tries every offset up to 400 a file instead of a seeded few.
"""

import os
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.run import manifest
from deep_clustering.platform.run.checkpoints import CheckpointDamage
from deep_clustering.platform.store.store import Store, StoreDamage
from support.golden import READS, fill

SEED = 20261128
FLIPS, CUTS = (400, 100) if os.environ.get("THOROUGH") else (1, 1)
KINDS = (
    "runs",
    "epochs",
    "predictions",
    "probabilities",
    "models",
    "stages",
    "artefacts",
    "paths",
    "plans",
    "checkpoints",
    "segments",
    "seals",
    "store.json",
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "store"
    fill(Store.open(folder))
    return folder


@pytest.fixture(scope="module")
def known(filled: Path) -> dict[str, Any]:
    return _answers(filled)


def _answers(folder: Path) -> dict[str, Any]:
    """What every way of reading says; None where it refuses with a typed error."""
    answers: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)
        warnings.simplefilter("ignore", CheckpointDamage)
        store = Store.open(folder, create=False)
        for name, read in READS.items():
            try:
                answers[name] = read(store)
            except PlatformError:
                answers[name] = None
    return answers


def _named(folder: Path) -> set[str]:
    """What `platform verify` names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)
        store = Store.open(folder, create=False)
        return {problem.path for problem in store.verify(manifest.findings(store))}


def _within(found: Any, whole: Any) -> bool:
    """Whether all that was found was so before; less is right, something else is not."""
    if isinstance(whole, dict):
        return all(name in whole and whole[name] == value for name, value in found.items())
    if isinstance(whole, list):
        if whole and isinstance(whole[0], dict):  # a column that only a lost row had is gone too
            return all(any(_within(row, other) for other in whole) for row in found)
        left = [repr(row) for row in whole]
        return len(found) <= len(left) and all(repr(row) in left for row in found)
    return bool(found == whole)


def _changes(data: bytes, brothers: list[bytes], chance: random.Random) -> Iterator[bytes]:
    for place in sorted(chance.sample(range(len(data)), min(FLIPS, len(data)))):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        yield bytes(changed)
    for length in sorted(chance.sample(range(len(data)), min(CUTS, len(data)))):
        yield data[:length]
    yield from brothers[:1]


@pytest.mark.ray
@pytest.mark.fault(21)
@pytest.mark.parametrize("kind", KINDS)
def test_no_change_of_a_file_is_read_as_a_value(
    filled: Path, known: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(filled, folder)
    root = folder / kind
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    chance = random.Random(f"{SEED} {kind}")
    contents = {file: file.read_bytes() for file in files}
    seen = 0
    for file in files if FLIPS > 10 else chance.sample(files, 1):
        data, name = contents[file], str(file.relative_to(folder))
        brothers = [contents[p] for p in files if p != file and p.suffix == file.suffix]
        own = Path(name).parts[1].partition(".")[0] if "/" in name else ""
        for changed in _changes(data, brothers, chance):
            if changed == data:
                continue
            shutil.rmtree(folder)
            shutil.copytree(filled, folder)
            file.write_bytes(changed)
            assert _named(folder) & {name, name.replace(".safetensors", ".json")}, name
            answers = _answers(folder)
            for read, whole in known.items():
                assert answers[read] is None or _within(answers[read], whole), (name, read)
            assert answers["runs"] is not None
            there = {row["run_id"] for row in answers["runs"]}
            assert {row["run_id"] for row in known["runs"]} - there <= {own}, name
            seen += 1
    assert seen >= 2
    assert _answers(filled) == known
