"""The page of an ablation suite: its table, its verdicts, and what its runs look like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from deep_clustering.ablations._suite import Row as SuiteRow
from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.evaluation import bins as _samples
from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.report import _charts as charts
from deep_clustering.platform.report import _html as page
from deep_clustering.platform.report import _parts as _report
from deep_clustering.platform.report._html import Cell, Note, Row, Section
from deep_clustering.platform.report._parts import Page, Report
from deep_clustering.platform.suites import cells

_REJECTION = ("auroc", "aurc", "fpr95")
#: Losses of one row that a panel can tell apart.
_MOST_LOSSES = 6
#: Columns of epochs that are no losses: counts and states that a method reports beside them.
_ON_THE_WAY = ("confidence", "skipped", "threshold", "prototype_overlap", "selected")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Rows of a suite on a data set that are read from the same predictions."""

    label: str
    head: str | None
    runs: tuple[str, ...]  # finished


def build(report: Report, name: str) -> Page:
    """The page of a suite of the store."""
    found = cells.measured(report.store, name)
    suite, planned = found.planned.suite, found.planned
    table, judged = cells.cells(found), cells.judged(found)
    entries = {e["run_id"]: e for e in planned.entries}
    rows = [found.rows[run] for run in entries if run in found.rows]
    done = [row for row in rows if row["status"] == "ok"]
    lost = [row for row in rows if row["status"] != "ok"]
    reader = _samples.Reader(report.store, found.rows)
    sections = [Section(title="Read first", parts=_first(report, found, table, judged, lost))]
    sections.append(Section(title="Table", parts=_tables(report, name, table)))
    if judged.height:
        sections.append(Section(title="Claims", parts=_claims(report, name, judged)))
    for dataset in planned.datasets:
        parts = _pictures(report, found, dataset, reader)
        if parts:
            sections.append(Section(title=f"Runs on {dataset}", parts=parts))
    select = f"results.suite({name!r}, store)"
    metrics = [*suite.metrics, *_REJECTION, "acc", "ece", "mean_confidence"]
    sections += _report.glossary(metrics)
    sections.append(_report.provenance(report, rows, select, planned.commands))
    count = measures.plural
    seeds = sorted({e["seed"] for e in planned.entries})
    summary = [
        f"{suite.method}: {suite.title}.",
        f"{count(len(suite.rows), 'row')} on {_report.listed(planned.datasets)} with "
        f"{count(len(seeds), 'seed')}: {count(len(entries), 'run')} planned, "
        + _report.counted(
            {
                "finished": len(done),
                "without a result": len(lost),
                "not run yet": len(entries) - len(rows),
            }
        )
        + ".",
    ]
    if judged.height:
        verdicts = judged["verdict"].value_counts(sort=True).rows()
        told = ", ".join(f"{n} {verdict.lower()}" for verdict, n in verdicts)
        summary.append(f"{count(judged.height, 'claim')}: {told}.")
    return Page(title=name, summary=summary, sections=sections)


# ---- what to know first


def _first(
    report: Report,
    found: cells.Measured,
    table: pl.DataFrame,
    judged: pl.DataFrame,
    lost: Sequence[Mapping[str, Any]],
) -> list[Markup]:
    planned, suite = found.planned, found.planned.suite
    names: dict[str, list[str]] = {}
    for entry in planned.entries:
        names.setdefault(entry["run_id"], []).append(entry["variant"])
    labelled = [(_report.listed(names[run]), row) for run, row in found.rows.items()]
    done = [(label, row) for label, row in labelled if row["status"] == "ok"]
    without = [(_report.listed(names[row["run_id"]]), row) for row in lost]
    notes = []
    if lost:
        count = measures.plural(len(lost), "run has", "runs have")
        notes.append(
            Note(level="bad", head=f"{count} no result.", text="The table below says why.")
        )
    notes += _report.flagged((f"{label}, seed {row['seed']}", row) for label, row in done)
    notes += [
        Note(level="bad", head=f"{variant} is not possible on {dataset}.", text=reason)
        for (variant, dataset), reason in planned.impossible.items()
    ]
    notes += [Note(level="bad", text=f"{remark}.") for remark in planned.remarks]
    missing = len({e["run_id"] for e in planned.entries} - set(found.rows))
    if missing:
        text = f"{measures.plural(missing, 'run')} of the plan {'is' if missing == 1 else 'are'}"
        notes.append(Note(level="bad", text=f"{text} not in the store yet."))
    if suite.mismatch:
        notes.append(Note(head="Not the paper's setting.", text=f"{suite.mismatch}.", level="bad"))
    if table.filter(pl.col("n") == 1).height:
        notes.append(Note(text="Values of a single run, marked (1), have no interval."))
    chosen = table.filter(pl.col("reason").str.contains("chosen with labels", literal=True))
    if chosen.height:
        text = f"{chosen.height} published values were chosen with labels. Ours never are."
        notes.append(Note(text=text))
    if suite.table and table["published"].null_count() == table.height:
        notes.append(Note(text="The paper prints no values for these data sets."))
    if suite.note:
        notes.append(Note(text=f"{suite.note[0].upper()}{suite.note[1:]}."))
    notes += _report.mixtures([row for _, row in done])
    notes.append(
        Note(
            level="good",
            text="Labels were used to evaluate only: every value is of the last epoch, none was "
            "selected. Means are over finished runs; intervals are 95 % t intervals over seeds "
            "and say nothing about other data.",
        )
    )
    return [page.notes(notes), *_report.failures(report, without, "row")]


# ---- the table


def _tables(report: Report, name: str, table: pl.DataFrame) -> list[Markup]:
    parts = []
    for dataset in table["dataset"].unique(maintain_order=True):
        mine = table.filter(pl.col("dataset") == dataset)
        parts += [
            *_table(dataset, mine),
            page.query(
                report.code(
                    f'results.cells({name!r}, store).filter(pl.col("dataset") == {dataset!r})'
                    ".collect()"
                )
            ),
        ]
    return parts


def _table(dataset: str, table: pl.DataFrame) -> list[Markup]:
    lines = table.rows(named=True)
    keys = list(dict.fromkeys((c["ood_dataset"], c["metric"]) for c in lines))
    printed = {k for k in keys if any(_key(c) == k and c["printed"] for c in lines)}
    blocks: list[tuple[str, str, dict[Any, dict[str, Any]]]] = []
    for line in lines:
        fresh = not blocks or blocks[-1][:2] != (line["section"], line["variant"])
        if fresh or _key(line) in blocks[-1][2]:
            blocks.append((line["section"], line["variant"], {}))
        blocks[-1][2][_key(line)] = line
    remarks: dict[str, int] = {}
    prefix = _report.slug("note", dataset)
    rows = []
    section = ""
    width = 1 + len(keys) + len(printed)
    for block, variant, found in blocks:
        if block and block != section:
            cell = Cell(content=block, heading=True, columns=width)
            rows.append(Row(cells=[cell], class_="block"))
        section = block
        failed = max(c["failed"] for c in found.values())
        only = all(c["mark"] == "published only" for c in found.values())
        label: list[str | Markup] = [variant]
        if only:
            label += [" ", page.element("small", "printed only")]
        if failed:
            label += [" ", page.element("small", f"{failed} failed")]
        row = [Cell(content=Markup("").join(label), heading=True)]
        for key in keys:
            line = found.get(key, {})
            row.append(page.number(_ours(line)))
            if key in printed:
                row.append(page.number(_theirs(line, remarks, prefix)))
        rows.append(Row(cells=row, class_="published" if only else None))
    heads = _heads(keys, printed)
    caption = f"{dataset}: mean ± half of the 95 % interval (runs)"
    return [page.table(caption, heads, rows), page.footnotes(list(remarks), prefix)]


def _key(line: Mapping[str, Any]) -> tuple[str | None, str]:
    return line["ood_dataset"], line["metric"]


def _heads(keys: Sequence[tuple[str | None, str]], printed: set[Any]) -> list[Row]:
    """Names of metrics, below those of other data sets where there are several."""
    first: list[Cell] = [Cell(content="row", heading=True, rows=2 if printed else 1)]
    second: list[Cell] = []
    for ood, metric in keys:
        label = measures.heading(metric) + (f", {ood}" if ood else "")
        two = (ood, metric) in printed
        first.append(
            Cell(
                content=label,
                heading=True,
                columns=2 if two else 1,
                rows=2 if printed and not two else 1,
                class_=None if two else "n",
            )
        )
        if two:
            second += [Cell(content=c, heading=True, class_="n") for c in ("ours", "printed")]
    return [Row(cells=first), *([Row(cells=second)] if second else [])]


def _ours(line: Mapping[str, Any]) -> str | Markup:
    if not line or line["mark"] == "published only":
        return "–"
    if line["mark"] != "measured":
        return page.element("small", line["mark"])
    return measures.cell(line["metric"], line["mean"], line["low"], line["high"], line["n"])


def _theirs(line: Mapping[str, Any], remarks: dict[str, int], prefix: str) -> str | Markup:
    """The printed value, with footnotes on doubts and on other protocols."""
    if not line or not line["printed"]:
        return "–"
    texts = []
    if line["flag"]:
        texts.append(f"Doubtful in the paper: {line['flag']}.")
    if line["reason"] and line["protocol_match"] is False:
        texts.append(f"Not the same protocol (≠): {line['reason']}.")
    sign = "≠ " if line["protocol_match"] is False else ""
    marks = [page.mark(prefix, remarks.setdefault(t, len(remarks) + 1)) for t in texts]
    return Markup("").join([sign, line["printed"].replace("-", "−"), *marks])


# ---- claims


_WORDS = {"higher": "above", "lower": "below", "equal": "equal to"}


def _claims(report: Report, name: str, judged: pl.DataFrame) -> list[Markup]:
    rows = []
    for claim in judged.iter_rows(named=True):
        metric = claim["metric"]
        words = (
            f"{claim['variant']} {_WORDS[claim['direction']]} {claim['against']} "
            f"in {measures.name(metric)}"
        )
        badge = page.element(
            "span", claim["verdict"], class_=f"badge {_report.slug(claim['verdict'])}"
        )
        what = [badge, " ", page.element("b", words), page.paragraph(_sentence(claim["reason"]))]
        if claim["further_seeds"]:
            more = measures.plural(claim["further_seeds"], "more seed")
            what.append(page.paragraph(f"About {more} could settle it.", class_="muted"))
        rows.append(
            Row(
                cells=[
                    Cell(content=Markup("").join(what), class_="wide"),
                    Cell(content=claim["dataset"]),
                    page.number(_difference(claim)),
                    page.number(measures.value(metric, claim["published"], signed=True)),
                    page.number(measures.value(metric, claim["margin"])),
                    page.number(str(claim["n"])),
                    page.number(measures.p_value(claim["adjusted"])),
                    page.number(_correlation(claim)),
                ]
            )
        )
    head = page.head(
        "claim", "data set", "difference", "published", "margin", "n", "p (Holm)", "pairing r"
    )
    parts = [
        page.paragraph(
            "Differences are in the units of the table above, with 95 % intervals. “Published” is "
            "the difference that the paper prints. A claim is replicated where the difference is "
            "significant as claimed and shown to lie within the margin of the published one. The "
            "sentences give differences as fractions, as the code does. "
            "“Pairing r” is the correlation of runs that share pretraining and seed."
        ),
        page.table("Verdicts", [head], rows),
        page.query(report.code(f"results.verdicts({name!r}, store).collect()")),
    ]
    forests = [
        _forest(report, name, part)
        for part in judged.partition_by("dataset", "metric", "against", maintain_order=True)
    ]
    return [*parts, page.figures([f for f in forests if f])]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _difference(claim: Mapping[str, Any]) -> str:
    metric = claim["metric"]
    if claim["difference"] is None:
        return "–"
    low, high = (measures.value(metric, claim[k], signed=True) for k in ("low", "high"))
    return f"{measures.value(metric, claim['difference'], signed=True)} [{low}, {high}]"


def _correlation(claim: Mapping[str, Any]) -> str:
    if claim["paired"] is False:
        return "unpaired"
    return "–" if claim["correlation"] is None else f"{claim['correlation']:.2f}"


def _forest(report: Report, name: str, claims: pl.DataFrame) -> Markup | None:
    metric, dataset, against = (claims[c][0] for c in ("metric", "dataset", "against"))
    known = claims.filter(pl.col("difference").is_not_null() | pl.col("published").is_not_null())
    if not known.height:
        return None
    factor = measures.unit(metric).factor

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    rows = [
        charts.Difference(
            label=c["variant"],
            value=scaled(c["difference"]),
            low=scaled(c["low"]),
            high=scaled(c["high"]),
            published=scaled(c["published"]),
            margin=c["margin"] * factor,
        )
        for c in known.iter_rows(named=True)
    ]
    chart = charts.forest(
        _report.slug("differences", dataset, metric, against),
        f"Differences of {measures.name(metric)} on {dataset} with 95 % intervals: "
        + "; ".join(
            f"{r.label} {'not measured' if r.value is None else f'{r.value:+.1f}'}" for r in rows
        ),
        rows,
        x=f"difference of {measures.heading(metric)}",
    )
    code = report.code(
        f'results.verdicts({name!r}, store).filter(pl.col("dataset") == {dataset!r}, '
        f'pl.col("metric") == {metric!r}, pl.col("against") == {against!r})\\\n'
        '    .select("variant", "against", "difference", "low", "high", "published", "margin")'
        ".collect()"
    )
    caption = (
        "Dots are our differences with 95 % intervals. Bands are the margin around the published "
        "difference (diamonds), or around 0 where the paper prints none."
    )
    return report.figure(
        chart, f"{measures.name(metric)} minus that of {against}, {dataset}.", caption, code
    )


# ---- what the runs look like


def _pictures(
    report: Report, found: cells.Measured, dataset: str, reader: _samples.Reader
) -> list[Markup]:
    arms = _arms(found, dataset)
    if not arms:
        return []
    name = found.planned.suite.name
    history = _history(report, [run for arm in arms for run in arm.runs])
    baseline = _baseline(found, arms)
    pictures = _curves(report, name, dataset, arms, history, baseline)
    pooled = _pooled(reader, arms)
    known = {label: b for label, b in pooled.items() if b.right is not None}
    arms_known = [arm for arm in arms if arm.label in known]
    if known:
        pictures += _confidence(report, dataset, arms_known, known, baseline)
    elif pooled:
        pictures.append(_plain_histogram(report, dataset, arms, pooled))
    parts = [page.figures(pictures)]
    if known:
        parts += _rejection(report, found, dataset, arms_known)
    return [*parts, *_out_of_distribution(report, found, dataset, arms)]


def _arms(found: cells.Measured, dataset: str) -> list[Arm]:
    """Rows with finished runs; those that show the same predictions are one."""
    groups: dict[tuple[tuple[str, ...], str | None], list[str]] = {}
    for row in found.planned.suite.rows:
        if row.columns:  # a number from before the training
            continue
        runs = tuple(
            e["run_id"]
            for e in found.planned.entries
            if e["variant"] == row.name
            and e["dataset"] == dataset
            and found.rows.get(e["run_id"], {}).get("status") == "ok"
        )
        if runs:
            groups.setdefault((runs, row.head), []).append(row.name)
    return [
        Arm(label=" / ".join(names), head=head, runs=runs) for (runs, head), names in groups.items()
    ]


def _baseline(found: cells.Measured, arms: Sequence[Arm]) -> Arm | None:
    """The row that most claims compare with."""
    against = [claim.against for claim in found.planned.suite.claims]
    if not against or len(arms) < 2:
        return None
    most = max(dict.fromkeys(against), key=against.count)
    return next((arm for arm in arms if most in arm.label.split(" / ")), None)


def _history(report: Report, runs: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Run -> its table of epochs."""
    from deep_clustering.platform import results

    wanted = list(dict.fromkeys(runs))
    frame = results.epochs(report.store).filter(pl.col("run_id").is_in(wanted)).collect()
    return {
        str(part["run_id"][0]): part.sort("epoch")
        for part in frame.partition_by("run_id", maintain_order=True)
    }


def _column(arm: Arm, metric: str, frame: pl.DataFrame) -> str | None:
    column = f"{arm.head}_{metric}" if arm.head else metric
    return column if column in frame.columns else None


def _series(arm: Arm, history: Mapping[str, pl.DataFrame], metric: str) -> charts.Band | None:
    pairs = []
    for run in arm.runs:
        frame = history.get(run)
        column = None if frame is None else _column(arm, metric, frame)
        if frame is not None and column is not None:
            pairs.append(frame.select("epoch", column).rows())
    return _report.band(pairs, measures.unit(metric).factor)


def _curves(
    report: Report,
    name: str,
    dataset: str,
    arms: Sequence[Arm],
    history: Mapping[str, pl.DataFrame],
    baseline: Arm | None,
) -> list[Markup]:
    found = []
    for metric in ("acc", "ece"):
        lines = {arm.label: _series(arm, history, metric) for arm in arms}
        shown = {label: {label: b} for label, b in lines.items() if b is not None}
        if not shown:
            continue
        other = lines.get(baseline.label) if baseline else None
        reference = (baseline.label, other) if baseline and other is not None else None
        panels = {
            label: {"row of the panel": next(iter(bands.values()))}
            for label, bands in shown.items()
            if reference is None or label != reference[0] or len(shown) == 1
        }
        chart = charts.curves(
            _report.slug("epochs", dataset, metric),
            f"{measures.name(metric)} by epoch on {dataset}, one panel for each of "
            f"{_report.listed(shown)}.",
            panels,
            x="epoch",
            y=measures.heading(metric),
            reference=reference,
        )
        caption = _seeds_caption(arms) + (
            f" Dotted grey: {reference[0]}." if reference is not None else ""
        )
        code = _epochs_code(report, name, dataset, f'pl.col("^(.*_)?{metric}$").mean()')
        title = f"{measures.name(metric)} by epoch, {dataset}."
        found.append(report.figure(chart, title, caption, code))
    return [*found, *_losses(report, name, dataset, arms, history)]


def _seeds_caption(arms: Sequence[Arm]) -> str:
    most = max(len(arm.runs) for arm in arms)
    if most == 1:
        return "One run."
    return f"Mean over up to {most} seeds; the band is their range."


def _epochs_code(report: Report, name: str, dataset: str, values: str) -> str:
    return report.code(
        f'runs = results.suite({name!r}, store).filter(pl.col("dataset") == {dataset!r})\\\n'
        '    .select("run_id", "variant").collect()\n'
        'results.epochs(store).filter(pl.col("run_id").is_in(runs["run_id"].to_list()))\\\n'
        '    .join(runs.lazy(), on="run_id").group_by("variant", "epoch")\\\n'
        f'    .agg({values}).sort("variant", "epoch").collect()'
    )


def losses(columns: Sequence[str]) -> list[str]:
    """Columns of a table of epochs that are losses: neither metrics nor counters."""
    known = {"run_id", "epoch", "seconds", *_ON_THE_WAY}
    return [c for c in columns if c not in known and measures.base(c) not in METRICS]


def _losses(
    report: Report,
    name: str,
    dataset: str,
    arms: Sequence[Arm],
    history: Mapping[str, pl.DataFrame],
) -> list[Markup]:
    panels: dict[str, dict[str, charts.Band]] = {}
    for runs in dict.fromkeys(arm.runs for arm in arms):  # heads of one training share its losses
        label = " / ".join(arm.label for arm in arms if arm.runs == runs)
        frames = [history[run] for run in runs if run in history]
        names = losses(list(dict.fromkeys(c for f in frames for c in f.columns)))
        lines = {
            loss: band
            for loss in names[:_MOST_LOSSES]
            if (band := _report.band([f.select("epoch", loss).rows() for f in frames])) is not None
        }
        if lines:
            panels[label] = lines
    if not panels:
        return []
    shown = list(dict.fromkeys(loss for lines in panels.values() for loss in lines))
    chart = charts.curves(
        _report.slug("losses", dataset),
        f"Losses by epoch on {dataset}: {_report.listed(shown)}.",
        panels,
        x="epoch",
        y="loss",
    )
    columns = ", ".join(f'"{c}"' for c in shown)
    code = _epochs_code(report, name, dataset, f"pl.col({columns}).mean()")
    return [report.figure(chart, f"Losses by epoch, {dataset}.", _seeds_caption(arms), code)]


def _pooled(reader: _samples.Reader, arms: Sequence[Arm]) -> dict[str, _samples.Bins]:
    found = {}
    for arm in arms:
        parts = [b for run in arm.runs if (b := reader.bins(run, arm.head)) is not None]
        if parts:
            found[arm.label] = _samples.pooled(parts)
    return found


def samples_code(
    report: Report, runs: Sequence[str], head: str | None, rest: str, *modules: str
) -> str:
    """A program over the judged predictions of some runs, `samples`."""
    which = f", head={head!r}" if head else ""
    return report.code(
        f"samples = report.samples({_report.ids(runs)}, store{which})\n{rest}",
        "report.report",
        *modules,
    )


BINS_CODE = (
    'pl.DataFrame(calibration.reliability(samples["confidence"].to_numpy(), '
    'samples["right"].to_numpy()))'
)
BARS_CODE = (
    f'samples.group_by("right", bar=(pl.col("confidence") * {_samples.BARS}).floor()'
    f".clip(0, {_samples.BARS - 1}).cast(pl.Int32))\\\n"
    '    .len().sort("right", "bar")'
)
CURVE_CODE = (
    'coverage, risk = rejection.risk_coverage(samples["confidence"].to_numpy(), '
    f'samples["right"].to_numpy(), {_samples.POINTS})\n'
    'pl.DataFrame({"coverage": coverage, "risk": risk})'
)


def _confidence(
    report: Report,
    dataset: str,
    arms: Sequence[Arm],
    pooled: Mapping[str, _samples.Bins],
    baseline: Arm | None,
) -> list[Markup]:
    """Reliability, histograms and risk-coverage curves."""
    first = baseline if baseline in arms and baseline is not None else arms[0]
    seeds = max(b.runs for b in pooled.values())
    over = "of one run" if seeds == 1 else f"of up to {seeds} seeds, pooled"
    example = f" The code below gives {first.label}." if len(arms) > 1 else ""
    found = []
    chart = charts.reliability(
        _report.slug("reliability", dataset),
        f"Reliability diagrams on {dataset}: "
        + "; ".join(
            f"{label} accuracy {100 * (b.accuracy or 0):.1f} %, mean confidence "
            f"{100 * b.mean_confidence:.1f} %"
            for label, b in pooled.items()
        ),
        pooled,
    )
    caption = f"Images {over}, in 15 bins of confidence. Bars below the diagonal are overconfident."
    code = samples_code(report, first.runs, first.head, BINS_CODE, "metrics.calibration")
    found.append(report.figure(chart, f"Reliability, {dataset}.", caption + example, code))

    chart = charts.histograms(
        _report.slug("confidence", dataset),
        f"Confidences of right and wrong images on {dataset}, one panel for each of "
        f"{_report.listed(pooled)}.",
        pooled,
    )
    caption = (
        f"Images {over}. Right is an image whose cluster is matched with its class, by the "
        "Hungarian matching of its own run. Right ones upwards, wrong ones downwards, each as "
        "shares of their group."
    )
    code = samples_code(report, first.runs, first.head, BARS_CODE)
    found.append(
        report.figure(
            chart, f"Confidence of right and wrong images, {dataset}.", caption + example, code
        )
    )

    bands = {}
    for label, b in pooled.items():
        if b.risks is not None:
            y = 100 * b.risks
            band = charts.Band(x=100 * b.coverage, y=y.mean(0), low=y.min(0), high=y.max(0))
            bands[label] = band if len(y) > 1 else charts.Band(x=band.x, y=y[0])
    if bands:
        reference = (
            (baseline.label, bands[baseline.label])
            if baseline and baseline.label in bands and len(bands) > 1
            else None
        )
        panels = {
            label: {"row of the panel": band}
            for label, band in bands.items()
            if reference is None or label != reference[0]
        }
        chart = charts.curves(
            _report.slug("risk-coverage", dataset),
            f"Share of errors among the most confident images on {dataset}, by how many are kept.",
            panels,
            x="coverage %: most confident images that are kept",
            y="risk %: errors among them",
            reference=reference,
        )
        caption = _seeds_caption(arms) + (
            f" Dotted grey: {reference[0]}." if reference is not None else ""
        )
        code = samples_code(report, first.runs[:1], first.head, CURVE_CODE, "metrics.rejection")
        example = f" The code below gives the first run of {first.label}."
        found.append(
            report.figure(chart, f"Risk and coverage, {dataset}.", caption + example, code)
        )
    return found


def _plain_histogram(
    report: Report, dataset: str, arms: Sequence[Arm], pooled: Mapping[str, _samples.Bins]
) -> Markup:
    chart = charts.histograms(
        _report.slug("confidence", dataset), f"Confidences of all images on {dataset}.", pooled
    )
    code = samples_code(report, arms[0].runs, arms[0].head, BARS_CODE)
    caption = "There are no labels, so that right and wrong are not known."
    return report.figure(chart, f"Confidence, {dataset}.", caption, code)


def _rejection(
    report: Report, found: cells.Measured, dataset: str, arms: Sequence[Arm]
) -> list[Markup]:
    """Numbers of failure rejection."""
    rows = []
    for arm in arms:
        names = arm.label.split(" / ")
        row = next(r for r in found.planned.suite.rows if r.name == names[0])
        values = [_values(found, row, dataset, metric) for metric in _REJECTION]
        line = [
            page.number(_report.mean_cell(metric, list(v)))
            for metric, v in zip(_REJECTION, values, strict=True)
        ]
        rows.append(Row(cells=[Cell(content=arm.label, heading=True), *line]))
    heads = page.head("row", *(measures.heading(m) for m in _REJECTION))
    name = found.planned.suite.name
    means = ", ".join(f'pl.col("{m}").mean()' for m in _REJECTION)
    code = report.code(
        f'results.suite({name!r}, store).filter(pl.col("dataset") == {dataset!r}, '
        'pl.col("status") == "ok")\\\n'
        f'    .group_by("variant", maintain_order=True).agg({means}, pl.len()).collect()'
    )
    caption = f"Failure rejection on {dataset}: mean ± half of the 95 % interval (runs)"
    return [page.table(caption, [heads], rows), page.query(code)]


def _values(found: cells.Measured, row: SuiteRow, dataset: str, metric: str) -> list[float]:
    return list(cells.values_of(found, row, dataset, metric).values())


# ---- out of distribution


def _out_of_distribution(
    report: Report, found: cells.Measured, dataset: str, arms: Sequence[Arm]
) -> list[Markup]:
    """Densities of confidence of own images and others, where runs were evaluated for that."""
    stages = report.store.rows("stages")
    if "ood_run" not in stages.columns:
        return []
    runs = [run for arm in arms for run in arm.runs]
    mine = stages.filter(pl.col("kind") == "ood", pl.col("ood_run").is_in(runs))
    if not mine.height:
        return []
    from deep_clustering.platform.evaluation import ood

    rows = {(r["ood_run"], r["ood_dataset"]): r for r in mine.iter_rows(named=True)}
    there = {other for _, other in rows}
    others = [other for other in found.planned.suite.ood if other in there]
    others += sorted(there - set(others))
    pictures, damaged = [], []
    for arm in arms:
        panels = {}
        for other in others:
            own, far = np.zeros(_samples.BARS), np.zeros(_samples.BARS)
            for run in arm.runs:
                row = rows.get((run, other))
                if row is None:
                    continue
                try:
                    kept = ood.confidences(report.store, row["stage_id"])
                except PlatformError:
                    damaged.append(f"{arm.label} and {other}")
                    continue
                inside, outside = kept[arm.head or row["ood_final_head"]]
                own += np.histogram(inside, _samples.BARS, (0, 1))[0]
                far += np.histogram(outside, _samples.BARS, (0, 1))[0]
            if own.sum():
                panels[other] = (own, far)
        if not panels:
            continue
        chart = charts.densities(
            _report.slug("ood", dataset, arm.label),
            f"Confidences of {arm.label} on {dataset} and on {_report.listed(panels)}.",
            panels,
        )
        front = f"{arm.head}_" if arm.head else ""
        code = report.code(
            'results.stages(store).filter(pl.col("kind") == "ood", '
            f'pl.col("ood_run").is_in({_report.ids(arm.runs)}))\\\n'
            '    .select("ood_run", "ood_dataset", '
            f'"{front}ood_auroc", "{front}ood_fpr95").collect()'
        )
        caption = (
            f"Shares of images over confidence, {measures.plural(len(arm.runs), 'run')} pooled."
        )
        title = f"{arm.label}: own images and others."
        pictures.append(report.figure(chart, title, caption, code))
    parts = [page.element("h3", "Out of distribution"), page.figures(pictures)]
    if damaged:
        text = f"The confidences of {_report.listed(damaged)} are damaged and left out."
        parts.append(page.paragraph(text, class_="muted"))
    return parts
