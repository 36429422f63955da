"""The rooms of the platform: each says what it is for, and imports only what stands to its left.

The order is the paragraph of CONTRIBUTING.md from `errors` to `start`; what shares a place there
does not import one another.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLATFORM = ROOT / "platform"
PACKAGE = "deep_clustering.platform"
_ORDER = re.search(
    r"^ +(errors\b[^.]*< start)$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
)
assert _ORDER is not None, "CONTRIBUTING.md does not say the order of the rooms"
LEVELS = [re.split(r",\s*", level.strip()) for level in _ORDER[1].split("<")]
ROOMS = sorted(path.parent.name for path in PLATFORM.glob("*/__init__.py"))
FILES = sorted(PLATFORM.rglob("*.py"))

#: No file of the package is longer, so that it can be read at once; a method's file follows its
#: paper from top to bottom and may be longer.
LINES, LINES_OF_A_METHOD = 600, 800

#: What a room holds beside its docstring to which other folders may add files.
_OPEN_TO_OTHERS = [
    "from pkgutil import extend_path",
    "__path__ = extend_path(__path__, __name__)",
]


def level(name: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if name in names)


def banned(name: str) -> set[str]:
    """What a room or file may not import: its own level and all to its right."""
    return {other for names in LEVELS[level(name) :] for other in names} - {name}


def test_the_line_names_every_room_and_file_once() -> None:
    files = [p.stem for p in PLATFORM.glob("*.py")]
    named = [name for names in LEVELS for name in names]
    assert sorted(named) == sorted([*ROOMS, *files])
    assert len(ROOMS) >= 12
    assert {p.name for p in PLATFORM.iterdir() if p.is_dir() and any(p.glob("*.py"))} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_opens_with_a_docstring(room: str) -> None:
    for file in sorted((PLATFORM / room).rglob("__init__.py")):
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree), file
        rest = [ast.unparse(node) for node in tree.body[1:]]
        assert rest in ([], _OPEN_TO_OTHERS), f"{file} is for the docstring alone"
    assert "ay import" in (ast.get_docstring(ast.parse(_opening(room))) or "")


def _opening(room: str) -> str:
    return (PLATFORM / room / "__init__.py").read_text()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_bans_exactly_what_stands_to_its_right(room: str) -> None:
    found = tomllib.loads((PLATFORM / room / "ruff.toml").read_text())
    assert found["extend"] == "../../pyproject.toml"
    bans = found["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(bans) == {f"{PACKAGE}.{name}" for name in banned(room)}
    for name, ban in bans.items():
        other = name.removeprefix(f"{PACKAGE}.")
        assert ban["msg"] == f"{room} comes before {other}: move what both need to the left"


def _imports(file: Path) -> set[str]:
    """Modules of the platform that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relative to itself"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith(f"{PACKAGE}.")}


def test_nothing_imports_what_stands_to_its_right() -> None:
    """As the linter sees to in the rooms; it has no rule for the files beside them."""
    seen = 0
    for file in FILES:
        place = file.relative_to(PLATFORM).with_suffix("").parts[0]
        for name in _imports(file):
            other = name.removeprefix(f"{PACKAGE}.").split(".")[0]
            assert other == place or level(other) < level(place), f"{file} imports {name}"
            seen += 1
    assert seen > 200


def test_the_other_folders_do_not_import_the_platform() -> None:
    others = [f for name in ("methods", "search_spaces") for f in (ROOT / name).rglob("*.py")]
    assert len(others) > 30
    for file in others:
        assert _imports(file) == set(), file


def test_shared_parts_of_methods_have_rooms_with_a_docstring() -> None:
    rooms = sorted(p for p in (ROOT / "methods").iterdir() if any(p.glob("*.py")))
    assert len(rooms) >= 5
    for room in rooms:
        assert ast.get_docstring(ast.parse((room / "__init__.py").read_text())), room


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    folders = ("platform", "methods", "search_spaces", "ablations")
    long = set()
    for file in (f for name in folders for f in (ROOT / name).rglob("*.py")):
        bound = LINES_OF_A_METHOD if file.parent.name == "algorithms" else LINES
        if len(file.read_text().splitlines()) > bound:
            long.add(str(file.relative_to(ROOT)))
    assert long == set()
