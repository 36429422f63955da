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
    2: (
        "a worker is killed",
        "retried once from its last checkpoint, then a failed run; others go on",
    ),
    3: ("Ray's servers are killed", "exit 5 within seconds; it goes on"),
    4: (
        "an agent of Ray or the planner is killed",
        "exit 5 within seconds; it goes on",
    ),
    5: ("Ctrl-C", "exit 130 within 15 s, what is done, how to continue; no process left"),
    6: ("Ctrl-C twice, SIGTERM, at any moment", "exit 130 at once; the store is whole"),
    7: ("everything is stopped for a while, as by sleep", "it goes on; nothing is done twice"),
    8: ("no memory left on the GPU (raised by hand)", "a failed run with advice; a new process"),
    9: ("no memory left on the machine", "a failed run; the others go on"),
    10: ("an error of the GPU (raised by hand)", "the process is not used again"),
    11: ("a GPU is asked for where there is none", "a sentence before anything is computed"),
    12: ("a process that loads images dies", "there is none: images are mapped into memory"),
    13: ("the clock jumps by a day", "newest is by epoch and number; nothing is lost"),
    14: ("a lane has carried out other runs before", "the same bits as in a fresh process"),
    15: ("a run hangs", "ended after --run-limit; a failed run, the others go on"),
    16: ("disk full at a commit", "a sentence, exit 4; nothing half-written; then it goes on"),
    17: ("disk full at a checkpoint", "the older checkpoint is kept"),
    18: ("the store is a file, or cannot be written", "told before anything is computed"),
    19: ("any call to the disk fails", "not acknowledged; absent or complete"),
    20: ("killed between any two calls to the disk", "absent or complete; rests are swept"),
    21: ("a file is cut, empty, changed or swapped", "never read as a value; harms only its run"),
    22: ("stray and foreign files in the store", "passed over, or named by `platform verify`"),
    23: ("a checkpoint is damaged", "the one before it is used, with a warning"),
    24: ("a checkpoint of another run or format", "it is not taken"),
    25: ("a pickle in place of a model or checkpoint", "refused; nothing runs"),
    26: ("two commands ask for the same runs at once", "they share the work"),
    27: ("two searches of one name that differ", "refused with what differs"),
    28: ("several commands commit one run", "one commits, whatever happens to its requests"),
    29: ("a store of an earlier release", "read whole, and continued"),
    30: ("columns that old files lack", "null there; nothing is dropped"),
    31: ("a store is moved or copied", "it works; paths in it are relative"),
    32: ("tens of thousands of runs", "a command reads as many files as with a few"),
    33: ("an archive is damaged, or half downloaded", "named and not unpacked"),
    34: ("an archive that would write elsewhere", "refused; nothing is written outside"),
    35: ("broken images in a folder", "a list before anything is trained, or left out when asked"),
    36: ("no images, an empty class", "told what was found and what was looked for"),
    37: ("one class", "agreement is undefined, not perfect"),
    38: ("no labels", "metrics of labels are absent, not 0"),
    39: ("labels or numbers missing or of the wrong kind", "refused with the first place"),
    40: ("all images are the same", "refused before anything is computed"),
    41: ("images that repeat others", "counted and told"),
    42: ("fewer images than a batch", "refused with both numbers"),
    43: ("the last batch of an epoch is short", "left out of the training, and scored"),
    44: ("a picture of very many pixels", "refused by its name; memory is bounded"),
    45: ("grey, CMYK, 16 bits, palettes, turned, animated", "converted by a stated rule"),
    46: ("odd and long names, names that differ by case", "they work"),
    47: ("links in a loop, pipes, files that cannot be read", "passed over or named; no hanging"),
    48: ("images change between runs, or during one", "other ids; the run stops"),
    49: ("a loss is not finite", "a failed run with its place; the worst value of a search"),
    50: ("features that are not finite", "an error at once"),
    51: ("more clusters than a batch or than points", "refused with both numbers"),
    52: ("an empty cluster in a batch", "a stated rule; targets stay finite"),
    53: ("no sample is confident", "the step is skipped and counted"),
    54: ("all predictions in one cluster", "scored correctly, and flagged"),
    55: ("a probability of 0 in an entropy", "the loss is finite"),
    56: ("low precision overflows", "losses and k-means stay in float32; close to exact"),
    57: ("fewer clusters than classes", "matched as far as it goes"),
    58: ("an unknown name", "exit 2 with the nearest one"),
    59: ("several values out of range", "exit 2 with all of them, each with its rule"),
    60: ("values of the wrong kind", "exit 2; nothing is cast in silence"),
    61: ("an empty search space, equal grid points", "refused; each point once"),
    62: ("names that lead out of the store", "refused; a stranger's row counts as damaged"),
    63: ("a batch that its parts do not divide", "refused with both numbers"),
    64: ("a package is missing", "told with the line that installs it"),
    65: ("an address without a Ray", "exit 5 within a minute"),
    66: ("RAY_AUTH_MODE=disabled, others on the machine", "a token all the same, no dashboard"),
    67: ("a small table that would fill the memory", "refused with its size before it is read"),
    68: ("a machine of a cluster is lost", "its runs go on elsewhere from their last checkpoint"),
    69: ("the journal of a search is damaged or gone", "written anew; equal proposals follow"),
    70: ("results are deleted by hand", "told by `platform verify` and reports; computed again"),
    71: ("`store.json` is damaged or gone", "told; the results beside it are read all the same"),
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
