"""A toy evaluation from another folder: how many images are surer than a threshold."""

from collections.abc import Sequence

from rich.table import Table

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluation.contract import (
    Context,
    Evaluation,
    Finished,
    Outcome,
    Prepared,
    Row,
    Subject,
)


def prepare(subject: Subject, text: str, context: Context) -> Prepared:
    """What is asked for is the threshold."""
    try:
        threshold = float(text)
    except ValueError:
        raise InputError(f"--sure: needs a number, got '{text}'.") from None
    return Prepared(identity={"threshold": threshold}, config={"threshold": threshold})


def compute(run: Finished) -> Outcome:
    """Shares of the scored images, of each head."""
    threshold = run.config["threshold"]
    assert isinstance(threshold, float)
    columns: dict[str, object] = {"sure_run": run.row["run_id"], "sure_threshold": threshold}
    for head, p in run.store.probabilities(str(run.row["run_id"])).items():
        columns[f"{head}_sure_share"] = float((p.max(1) >= threshold).mean())
        columns["sure_share"] = columns[f"{head}_sure_share"]
    return Outcome(columns=columns)  # type: ignore[arg-type]


def table(rows: Sequence[Row]) -> Table:
    """A line a threshold."""
    shown = Table("threshold", "share")
    for row in rows:
        shown.add_row(f"{row['sure_threshold']}", f"{row['sure_share']:.3f}")
    return shown


EVALUATION = Evaluation(
    summary="how many images are surer than a threshold",
    metavar="THRESHOLD",
    help="A probability; repeatable.",
    version=1,
    label="sure_threshold",
    run="sure_run",
    metrics={"share": "sure_share"},
    prepare=prepare,
    compute=compute,
    heading=lambda rows: f"run {rows[0]['sure_run']}",
    table=table,
)
