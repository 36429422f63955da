"""Which rows of a suite more seeds may still help: `platform ablate --until-settled`.

A claim is open while it is INCONCLUSIVE and seeds can still settle it: at the most favourable true
difference that its runs leave (`outlook.py`) it is settled within the seeds that are allowed. The
two rows of an open claim get the seeds that this takes at least; no other row gets any. Verdicts
hold at every look, so they may decide what runs next; `tests/benchmarks/verdicts.py` has the error
rates.
"""

from collections.abc import Collection, Iterable

from deep_clustering.platform.suites.claims import JudgedClaim
from deep_clustering.platform.suites.suites import Arm, Expansion

#: Seeds of a row beyond which `--until-settled` adds none unless it is told to.
MOST = 20

#: Name of a row and of a data set.
Place = tuple[str, str]


def resumed(expansion: Expansion, asked: Collection[str], most: int) -> Expansion:
    """A suite with the seeds that earlier commands added.

    Args:
        expansion: with the seeds to begin with.
        asked: ids of the runs that commands asked for so far.
        most: seeds of a row at most.
    """
    seeds = {}
    for arm in expansion.arms:
        runs = arm.with_seeds(range(most)).runs
        new = (i for i, job in enumerate(runs) if job.id not in asked)
        seeds[_place(arm)] = max(len(arm.runs), next(new, len(runs)))
    return expansion.with_seeds(seeds)


def grown(expansion: Expansion, judged: Iterable[JudgedClaim], most: int) -> Expansion | None:
    """A suite with the seeds that the next look asks for; None where no claim is open.

    Args:
        expansion: all of it computed.
        judged: its claims.
        most: seeds of a row at most.
    """
    now = {_place(arm): len(arm.runs) for arm in expansion.arms}
    wanted: dict[Place, int] = {}
    for one in judged:
        places = [(one.variant, one.dataset), (one.against, one.dataset)]
        if one.fewest_seeds is None or not all(place in now for place in places):
            continue
        seeds = min(now[place] for place in places) + one.fewest_seeds
        if seeds <= most:
            for place in places:
                wanted[place] = max(seeds, wanted.get(place, now[place]))
    return expansion.with_seeds(wanted) if wanted else None


def furthest(expansion: Expansion, judged: Iterable[JudgedClaim] | None, most: int) -> Expansion:
    """The most that a suite can come to: every row of a claim that may be open has all its seeds.

    Args:
        expansion: as it is to begin.
        judged: its claims, None where not all of it is computed.
        most: seeds of a row at most.
    """
    if judged is None:
        claims = expansion.suite.claims
        open_rows = {
            (row, dataset)
            for claim in claims
            for row in (claim.row, claim.against)
            for dataset in claim.datasets or expansion.requests
        }
    else:
        open_rows = {
            (row, one.dataset)
            for one in judged
            for row in (one.variant, one.against)
            if one.fewest_seeds is not None
        }
    return expansion.with_seeds(
        {
            place: max(most, len(arm.runs))
            for arm in expansion.arms
            if (place := _place(arm)) in open_rows
        }
    )


def _place(arm: Arm) -> Place:
    return arm.row.name, arm.dataset
