"""Which printed names and settings stand for the same thing, within a paper and between papers.

A paper may print one method under several names, and two papers may print it under different ones.
This file lists what is taken as the same.
"""

from deep_clustering.ablations._published import PublishedCell

#: The method that a paper proposes, by the name that `name` gives it.
OWN = {"cdc": "CDC-Cal", "dpac": "DPAC^{opa}", "ruc": "SCAN + RUC (Confidence)"}

#: Keys of settings that a row's printed name tells already.
_IN_ROW_NAME = ("threshold", "removed", "strategy")

#: (paper, name): another head of the network that the paper's method is a head of.
OTHER_HEADS = frozenset({("cdc", "CDC-Clu")})

#: Tables that compare the paper's method with changes of itself.
ABLATIONS = frozenset(
    {("cdc", "table2"), ("cdc", "table8"), ("cdc", "table9")}
    | {("dpac", "table5a"), ("dpac", "table5c"), ("dpac", "table7"), ("ruc", "table2")}
)

#: What a sweep's setting is in the rest of the paper, by the setting's keys. CDC: Sec. 4.1 and the
#: equal digits in its table 1. DPAC: m = 1.03 in Sec. 4.1.
DEFAULTS = {
    ("cdc", "table5", "B;K"): "B=1000;K=0%",
    ("cdc", "table6", "H"): "H=512",
    ("cdc", "table6", "lambda"): "lambda=1.0",
    ("dpac", "table6", "m;alpha"): "m=1.03;alpha=33.3",
}

#: Methods with a balance regulariser of their own against those without (DPAC, table 5c).
_REGULARISED = {
    "SCAN": "CR=with",
    "CC": "CR=with",
    "GCC": "CR=with",
    "DPAC^{Jpac}": "CR=without",
    "DPAC^{opa}": "CR=without",
}

#: (paper, printed name) -> name. SCAN's, SPICE's and SeCu's numbers with self-labelling are a later
#: stage than those without: CDC counts the stages, DPAC marks the later one with a dagger. RUC's
#: dagger is a re-run, and its SCAN has the self-labelling.
_NAMES = {
    ("cdc", "CDC-Cal (Ours)"): "CDC-Cal",
    ("cdc", "CDC"): "CDC-Cal",
    ("cdc", "CDC-Clu (Ours)"): "CDC-Clu",
    ("dpac", "SCAN†"): "SCAN-3",
    ("dpac", "SPICE"): "SPICE-2",
    ("dpac", "SPICE†"): "SPICE-3",
    ("dpac", "SeCu"): "SeCu without self-labelling",
    ("dpac", "SeCu†"): "SeCu",
    ("dpac", "TCL†"): "TCL",
    ("ruc", "SCAN†"): "SCAN-3",
    ("ruc", "TSUC†"): "TSUC",
    ("ruc", "k-means"): "K-means",
    ("ruc", "RUC with all components"): "SCAN + RUC (Confidence)",
}

#: The same where the name depends on the table.
_IN_TABLE = {
    ("dpac", "table2", "KM"): "K-means",
    ("dpac", "table3", "KM"): "K-means on SimCLR features",
    ("dpac", "table5a", "SimCLR+KM"): "K-means on SimCLR features",
}


def name(cell: PublishedCell) -> str:
    """The name under which a cell's method is compared."""
    if cell.paper == "ruc" and cell.table in ("table3", "table5"):
        return f"{cell.section} ({cell.method})"  # the row names a strategy, the block its base
    of_table = _IN_TABLE.get((cell.paper, cell.table, cell.method))
    return of_table or _NAMES.get((cell.paper, cell.method), cell.method)


def keys(setting: str) -> str:
    """The keys of a setting, "B;K" of "B=500;K=-20%"."""
    return ";".join(part.partition("=")[0] for part in setting.split(";"))


def default(cell: PublishedCell) -> str | None:
    """The setting of the cell's row that the rest of the paper uses, None where it is not known."""
    if cell.table == "table5c" and cell.paper == "dpac":
        return _REGULARISED.get(cell.method)
    return DEFAULTS.get((cell.paper, cell.table, keys(cell.setting)))


def as_elsewhere(cell: PublishedCell) -> bool:
    """Whether the cell is of the setting that the rest of the paper uses."""
    if not cell.setting or keys(cell.setting) == "strategy":  # RUC's is part of the row's name
        return True
    return cell.setting in (default(cell), "removed=none", "epochs=100")


def setting_in_name(cell: PublishedCell) -> bool:
    """Whether the cell's printed row name tells its setting, or it has none."""
    return not cell.setting or keys(cell.setting) in _IN_ROW_NAME


def is_own(cell: PublishedCell) -> bool:
    """Whether the cell is of the method that its paper proposes."""
    return name(cell) == OWN.get(cell.paper)


def is_full_method(cell: PublishedCell, method: str) -> bool:
    """Whether the cell is of a method or of a reading of it whose spread stands for the method's.

    Args:
        method: its registered name. CDC's clustering head (CDC-Clu) is a head of another kind.
    """
    return cell.method.startswith(method.upper()) and "Clu" not in cell.method
