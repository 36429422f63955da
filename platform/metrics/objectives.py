"""What a search can optimise."""

from collections.abc import Iterable

from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.metrics.metric import Metric
from deep_clustering.platform.metrics.registry import METRICS

#: Everything `--objective` knows, by name.
OBJECTIVES: dict[str, Metric] = {m.name: m for m in METRICS.values() if m.objective}

#: What `--objective label-free` stands for: the criterion that followed NMI best over settings of
#: two deep clustering methods when scored in shared embeddings (ACE, Tables 1 and 2).
LABEL_FREE = "silhouette"

#: Without `--objective`. Needs no labels, so that the plain command never selects with them.
DEFAULT_OBJECTIVE = LABEL_FREE


def parse_objective(text: str) -> tuple[Metric, ...]:
    """The objectives of `--objective`, several separated by commas.

    Args:
        text: such as "acc,ece"; "label-free" stands for `LABEL_FREE`.

    Raises:
        InputError: an unknown name, one given twice, or none at all.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    names = [LABEL_FREE if name == "label-free" else name for name in names]
    if not names:
        raise InputError(f"--objective: needs a name. Known: {', '.join(OBJECTIVES)}.")
    for name in names:
        if name in METRICS and METRICS[name].unfit:
            raise InputError(
                f"{name} is reported and guarded, but is no objective: {METRICS[name].unfit}. "
                f"Label-free objectives: {', '.join(_free())}."
            )
        if name not in OBJECTIVES:
            known = (*OBJECTIVES, "label-free")
            raise InputError(
                f"there is no objective '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
            )
        if names.count(name) > 1:
            raise InputError(f"--objective: '{name}' is given twice; name each objective once.")
    return tuple(OBJECTIVES[name] for name in names)


def refuse_labels(objectives: Iterable[Metric]) -> None:
    """For a dataset without labels.

    Raises:
        InputError: names the objectives that need labels, and those that do not.
    """
    asking = [o.name for o in objectives if o.needs_labels]
    if asking:
        raise InputError(
            f"the objective {', '.join(asking)} needs labels, and the dataset has none; "
            f"without labels choose from {', '.join(_free())}."
        )


def refuse_features(method: str, objectives: Iterable[Metric]) -> None:
    """For a method whose runs stand on no features.

    Raises:
        InputError: names the objectives that are computed in features, and those that are not.
    """
    asking = [o.name for o in objectives if not o.needs_labels]
    if asking:
        others = [o.name for o in OBJECTIVES.values() if o.needs_labels]
        raise InputError(
            f"the objective {', '.join(asking)} is computed in pretrained features, and {method} "
            f"has none; choose --objective from {', '.join(others)}, which need labels."
        )


def _free() -> list[str]:
    return [o.name for o in OBJECTIVES.values() if not o.needs_labels]
