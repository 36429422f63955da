"""What methods that start from a finished run see in what is known of it before it has run."""

from deep_clustering.methods._method import Values

_KIND = ("backbone", "stem", "stem_padding")


def check_clusters(base: Values, by_hand: Values) -> None:
    """Raises ValueError where another number of clusters than the base's was set by hand."""
    own = base.get("clusters")
    asked = by_hand.get("clusters", own)
    if own is not None and asked != own:
        raise ValueError(f"clusters: the base has {own} clusters, got {asked}; leave it out")


def misfit(base: Values, by_hand: Values) -> str | None:
    """Why a network as set by hand cannot take the weights of the base; None where it can."""
    if "backbone" not in base:
        return "it trains no network, or one of a kind of its own"
    for name in _KIND:
        if (asked := by_hand.get(name, base[name])) != base[name]:
            return f"its {name} is {base[name]}, and {asked} was set"
    return None
