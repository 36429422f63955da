"""Pictures sorted into a folder for each cluster: by links, or copies where links cannot be."""

import contextlib
import filecmp
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from deep_clustering.platform.data.dataset import Dataset
from deep_clustering.platform.errors import InputError, storage_error


def refuse(target: Path, dataset: Dataset, *, again: bool = False) -> None:
    """Refuse a folder that pictures cannot be sorted into; nothing is made or changed.

    Args:
        target: the folder.
        dataset: whose pictures.
        again: nothing is left to compute, so that it may hold what `into` has made before.

    Raises:
        InputError: says why.
    """
    place = target.expanduser().absolute()
    if dataset.paths is None:
        raise InputError(
            f"--sort-into: the images of {dataset.name} are no files; leave it out, or give a "
            "folder of pictures."
        )
    source = Path(dataset.name.removeprefix("folder:"))
    if place.resolve() == source or source in place.resolve().parents:
        raise InputError(
            f"--sort-into: {target} lies in the folder of the pictures, of which it would become "
            "a part; name a folder elsewhere."
        )
    if not place.parent.is_dir():
        raise InputError(f"--sort-into: there is no folder {place.parent} to make {place.name} in.")
    if not _free(place) and not (again and place.is_dir()):
        raise _taken(target)


def into(target: Path, dataset: Dataset, taken: pl.DataFrame) -> int:
    """Sort the pictures of a dataset; the folder is there whole or not at all.

    One that holds just what would be made stays as it is.

    Sure pictures go to `cluster-NN`, doubtful ones to `doubtful/cluster-NN`. No picture is moved,
    changed or deleted.

    Args:
        target: as `refuse` takes it.
        taken: table of `assignments`.

    Returns:
        How many pictures are copies because no link could be made.

    Raises:
        InputError: the folder holds something else.
    """
    source = Path(dataset.name.removeprefix("folder:"))
    place, copied = target.expanduser().absolute(), 0
    wanted = _places(source, taken)
    if not _free(place):
        if not _holds(place, wanted):
            raise _taken(target)
        return sum(not (place / below).is_symlink() for below in wanted)
    work = Path()
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        for below, picture in wanted.items():
            (work / below).parent.mkdir(parents=True, exist_ok=True)
            copied += _placed(picture, work / below)
        work.chmod(0o755)
        os.rename(work, place)
    except OSError as error:
        with contextlib.suppress(OSError):
            if work.name:
                shutil.rmtree(work)
        raise storage_error(error, str(place.parent), "the sorted pictures") from error
    return copied


def _free(place: Path) -> bool:
    """Whether nothing is there, or an empty folder."""
    return not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir()))


def _taken(target: Path) -> InputError:
    return InputError(
        f"--sort-into: {target} is there already and is not an empty folder; name another one "
        "(nothing in it is changed)."
    )


def _places(source: Path, taken: pl.DataFrame) -> dict[Path, Path]:
    """Where each picture goes below the folder -> the picture."""
    width = max(2, len(str(taken["cluster"].max())))
    names: set[tuple[Path, str]] = set()
    places = {}
    for path, cluster, doubtful in taken.select("path", "cluster", "doubtful").iter_rows():
        folder = Path("doubtful" if doubtful else "") / f"cluster-{cluster:0{width}d}"
        places[folder / _name(folder, path, names)] = source / path
    return places


def _holds(place: Path, wanted: Mapping[Path, Path]) -> bool:
    """Whether a folder has these links, or copies, and nothing else."""
    there = {p.relative_to(place) for p in place.rglob("*") if p.is_symlink() or not p.is_dir()}
    return there == wanted.keys() and all(
        os.readlink(place / below) == str(picture)
        if (place / below).is_symlink()
        else filecmp.cmp(place / below, picture)
        for below, picture in wanted.items()
    )


def _name(folder: Path, path: str, names: set[tuple[Path, str]]) -> str:
    """The picture's own name, with its folders where another one has it already."""
    name = Path(path).name
    if (folder, name) in names:
        name = path.replace("/", "__")
    number, free = 1, name
    while (folder, free) in names:
        number += 1
        free = f"{number}-{name}"
    names.add((folder, free))
    return free


def _placed(picture: Path, place: Path) -> bool:
    """A link to a picture, or a copy (True) where the file system has no links."""
    try:
        place.symlink_to(picture)
    except OSError:
        shutil.copy2(picture, place)
        return True
    return False
