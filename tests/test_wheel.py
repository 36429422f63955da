"""The wheel has every folder and file of the package, and works from a fresh place."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("platform", "methods", "search_spaces", "ablations")

#: Imports every module of the wheel and says where it came from.
_IMPORT_ALL = """
import importlib, sys
for name in sys.stdin.read().split():
    print(name, importlib.import_module(name).__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a wheel of the sources was unpacked."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    passed = shutil.ignore_patterns("__pycache__", ".*")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=passed)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run(
        [*build, "--no-index", "--disable-pip-version-check", "--wheel-dir", str(wheels), "."],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def _files(root: Path) -> set[str]:
    """All but what only the linter and Python itself use."""
    return {
        str(path.relative_to(root))
        for folder in FOLDERS
        for path in (root / folder).rglob("*")
        if path.is_file()
        and path.name != "ruff.toml"
        and not any(
            part == "__pycache__" or part[0] == "." for part in path.parts[len(root.parts) :]
        )
    }


@pytest.mark.ray
def test_every_file_is_in_the_wheel(installed: Path) -> None:
    expected = _files(ROOT)
    assert len(expected) > 130
    assert {Path(name).suffix for name in expected} >= {".py", ".csv", ".css", ".html", ".typed"}
    assert _files(installed / "deep_clustering") == expected


@pytest.mark.ray
def test_every_module_imports_from_there(installed: Path, tmp_path: Path) -> None:
    modules = [
        ".".join(("deep_clustering", *Path(name).with_suffix("").parts)).removesuffix(".__init__")
        for name in sorted(_files(ROOT))
        if name.endswith(".py")
    ]
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL],
        input="\n".join(modules),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert sorted(told) == sorted(modules)
    assert all(Path(file).is_relative_to(installed) for file in told.values())


@pytest.mark.ray
def test_the_command_works_from_there(installed: Path, tmp_path: Path) -> None:
    """A list that reads the registries, so the folders of methods and tables are found."""
    done = subprocess.run(
        [sys.executable, "-m", "deep_clustering.platform.start", "methods"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    named = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert {p.stem for p in (ROOT / "methods").glob("[a-z]*.py")} <= named
