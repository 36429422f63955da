"""The table of faults in the README, made from the markers of the tests.

    PYTHONPATH=tests python -m support.faults

prints it. A test says `@pytest.mark.fault(21)`, with one number or several.
"""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Number -> the fault, and what is promised when it happens. The numbers are those of the markers.
FAULTS: dict[int, tuple[str, str]] = {
    1: ("a process is killed at any moment", "what was acknowledged stays; the rest is absent"),
    16: ("disk full at a commit", "a sentence, exit 4; nothing half-written; then it goes on"),
    17: ("disk full at a checkpoint", "the older checkpoint is kept"),
    19: ("any call to the disk fails", "not acknowledged; absent or complete"),
    20: ("killed between any two calls to the disk", "absent or complete; rests are swept"),
    21: ("a file is cut, empty, changed or swapped", "never read as a value; harms only its run"),
    22: ("stray and foreign files in the store", "passed over, or named by `platform verify`"),
    23: ("a checkpoint is damaged", "the one before it is used, with a warning"),
    24: ("a checkpoint of another run or format", "it is not taken"),
    25: ("a pickle in place of a model or checkpoint", "refused; nothing runs"),
    28: ("several commands commit one run", "one commits, whatever happens to its requests"),
    29: ("a store of an earlier release", "read whole, and continued"),
    30: ("columns that old files lack", "null there; nothing is dropped"),
    31: ("a store is moved or copied", "it works; paths in it are relative"),
    62: ("names in a stranger's store that lead out of it", "the row counts as damaged"),
}


def marked() -> dict[int, list[str]]:
    """Number -> the tests that have it, as `folder/file.py::function`."""
    found: dict[int, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text()
        if "mark.fault(" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                        for number in map(ast.literal_eval, mark.args):
                            name = f"{file.relative_to(ROOT / 'tests')}::{node.name}"
                            found[number].append(name)
    return dict(found)


def table() -> str:
    """The rows of the README."""
    named = marked()
    lines = ["| fault | promise | test |", "| --- | --- | --- |"]
    for number, (fault, promise) in FAULTS.items():
        own = "<br>".join(f"`{name}`" for name in named.get(number, []))
        lines.append(f"| {fault} | {promise} | {own} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
