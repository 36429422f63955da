"""Whether criteria that need no labels would have found the best trial of a search."""

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.registry import GROUPS
from deep_clustering.platform.report.markup.parts import Paragraph, Part, cell, label, number, table
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._study_record import StudyRecord, metrics
from deep_clustering.platform.report.pages._words import quoted
from deep_clustering.platform.search import trust


def trust_in_criteria(draft: Draft, select: str, record: StudyRecord) -> list[Part]:
    """The table of label-free criteria; `select` is the expression of the study's runs."""
    records = trust.assess([values for trial in record.done if (values := metrics(trial))])
    of_all = [r for r in records if r.trials == "all"]
    if [r.n for r in of_all] == [r.n for r in records if r.trials != "all"]:
        records = of_all  # nothing collapsed, so that both groups are the same trials
    if not records:
        return [Paragraph("No trial has a label-free criterion.")]
    lines = [
        [
            label(measures.name(r.criterion)),
            cell(r.trials),
            number(str(r.n)),
            number(r.reason or _with_interval(r.spearman, r.spearman_interval)),
            number(_with_interval(r.kendall, None)),
            number(_percent(r.regret)),
            number(_percent(r.chance)),
        ]
        for r in records
    ]
    names = quoted(("acc", *dict.fromkeys(r.criterion for r in records)))
    query = draft.query(
        f'trials = {select}.filter(pl.col("status") == "ok").collect()  # one row per run\n'
        f"trials.select({names})\ntrust.assess(trials)",
        trust,
    )
    known = [m.name for m in GROUPS["criteria"] if m.name in record.objectives]
    aim = f" {measures.name(known[0])} was the objective here." if known else ""
    heads = ["criterion", "trials", "n", "Spearman", "Kendall", "regret in ACC %", "at random"]
    return [
        Paragraph(
            "For each criterion that needs no labels: how well it ranks the trials by accuracy "
            "(Spearman, Kendall), and how much accuracy is lost by taking the trial that it likes "
            "best (regret), beside what taking one at random loses. Both are of these trials. "
            "Intervals of Spearman's are 95 % intervals over trials. A criterion that was the "
            f"objective of the search chose the trials itself, so its numbers prove little.{aim}"
        ),
        table("Would a label-free criterion have found the best?", heads, lines),
        query,
    ]


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.2f}"
    if interval is not None:
        text += f" [{interval[0]:.2f}, {interval[1]:.2f}]"
    return text.replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
