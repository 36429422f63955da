"""The report: the numbers of the store, readable anywhere, from one file that loads nothing."""

import ast
import dataclasses
import html
import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from deep_clustering.ablations._suite import Claim
from deep_clustering.platform import results
from deep_clustering.platform.commands import report as report_command
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluation import bins as _samples
from deep_clustering.platform.evaluation import measures as _measures
from deep_clustering.platform.metrics import calibration
from deep_clustering.platform.report import report, samples
from deep_clustering.platform.report.charts import bars as _bars
from deep_clustering.platform.report.charts import chart as _chart
from deep_clustering.platform.request import options
from deep_clustering.platform.store.store import Store
from support.reports import (
    IMAGES,
    base,
    commit,
    out_of_distribution,
    plan,
    renamed,
    run_id,
    study,
    suite,
    table2,
)

pytestmark = pytest.mark.ray

_VOID = {"meta", "br", "hr", "img", "input", "link", "path", "use", "rect", "line", "circle"}
_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Table 2 of CDC on cifar20 with three seeds, two searches, and a run without labels."""
    store = Store.open(tmp_path_factory.mktemp("store"))
    table2(store, seeds=3)
    study(store, "hunt", 12)
    study(store, "both", 5, ("acc", "ece"))
    commit(store, run_id("plain"), labelled=False, dataset="folder:/<b>&photos $x$")
    return store


class _Page(html.parser.HTMLParser):
    """A page's elements, checked to be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text("utf-8")
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.code: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(self.text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "code":
            self.code.append("")
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if "code" in self.open:
            self.code[-1] += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1][-1] += data

    def row(self, name: str, length: int) -> list[str]:
        """The only row of a table with this first cell and this many cells."""
        (found,) = [r for r in self.cells if r[0].strip() == name and len(r) == length]
        return [cell.strip() for cell in found]


@pytest.fixture(scope="module")
def pages(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, _Page]:
    folder = tmp_path_factory.mktemp("pages")
    failed = next(id for id, reason in store.failures().items() if "diverged" in reason)
    good = run_id((), {}, "cifar20", 0)
    names = {
        "overview": None,
        "suite": "cdc-table2",
        "study": "hunt",
        "front": "both",
        "run": good[:12],
        "failed": failed,
        "plain": run_id("plain"),
    }
    found = {}
    for key, name in names.items():
        report.write(store, name, folder / f"{key}.html")
        found[key] = _Page(folder / f"{key}.html")
    return found


@pytest.fixture(params=["overview", "suite", "study", "front", "run", "failed", "plain"])
def page(request: pytest.FixtureRequest, pages: dict[str, _Page]) -> _Page:
    return pages[request.param]


# ---- every page


def test_a_page_loads_nothing_and_runs_nothing(page: _Page) -> None:
    tags = {tag for tag, _ in page.found}
    assert not tags & {"script", "link", "img", "iframe", "object", "image", "foreignObject"}
    for _, attributes in page.found:
        assert not [a for a in attributes if a.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"https?://|@import|url\((?!#)", page.text)
    assert "${" not in page.text


def test_a_page_can_be_heard(page: _Page) -> None:
    ids = [a["id"] for _, a in page.found if "id" in a]
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'(?:url\(#|href="#)([^")]+)', page.text):
        assert reference in ids
    for tag, attributes in page.found:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"] or "") > 10
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
    tags = [tag for tag, _ in page.found]
    assert tags.count("h1") == tags.count("main") == tags.count("header") == 1
    assert tags.count("caption") == tags.count("table")
    assert tags.count("figcaption") == tags.count("figure") == tags.count("svg")


def test_every_query_that_is_shown_gives_rows(page: _Page) -> None:
    programs = [c for c in page.code if c.startswith("import polars")]
    tables = [a for t, a in page.found if t in ("table", "figure")]
    footed = sum(t == "pre" for t, _ in page.found)
    assert footed >= len(tables)
    assert len(programs) >= len(tables)
    for program in programs:
        tree = ast.parse(program)
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        names: dict[str, Any] = {}
        exec(compile(tree, "query", "exec"), names)
        found = eval(compile(ast.Expression(last.value), "query", "eval"), names)
        assert len(found) > 0, program


@pytest.mark.parametrize("text", ["<script>run()</script>", "\"'><img src=x onerror=run()>"])
def test_what_users_and_errors_write_never_runs(tmp_path: Path, text: str) -> None:
    store = Store.open(tmp_path / "store")
    of = suite("cdc-table10")
    named = [dataclasses.replace(row, name=row.name + text) for row in of.rows]
    of = renamed(of, rows=tuple(named), claims=(), title=text, note=text, mismatch=text)
    entries = plan(store, of, [text], [0], commands=[text])
    for number, entry in enumerate(entries):
        if number % 2:
            lost = base(entry["run_id"], 0) | {"status": "failed", "reason": text}
            store.record_failure(lost | {"dataset": text, "device_name": text})
        elif entry["run_id"] not in {e["run_id"] for e in entries[:number]}:
            config = {"config_json": json.dumps({text: text})}
            commit(store, entry["run_id"], dataset=text, device_name=text, **config)
    for name in (None, "cdc-table10", *{entry["run_id"] for entry in entries}):
        report.write(store, name, tmp_path / "a.html")
        page = _Page(tmp_path / "a.html")
        assert text in " ".join(page.words)
        assert not {tag for tag, _ in page.found} & {"script", "img"}
        assert not [a for _, given in page.found for a in given if a.startswith("on")]


# ---- a suite


def test_cells_are_those_of_the_results(store: Store, pages: dict[str, _Page]) -> None:
    table = results.cells("cdc-table2", store).collect()
    assert table.height == 44
    for variant in table["variant"].unique():
        row = pages["suite"].row(
            variant + (" 1 failed" if variant == "Fixed Thre. (0.95)" else ""), 9
        )
        for place, metric in enumerate(("acc", "nmi", "ari", "ece")):
            cell = table.filter(pl.col("variant") == variant, pl.col("metric") == metric)
            (line,) = cell.rows(named=True)
            expected = f"{100 * line['mean']:.1f} (1)"  # of the pretraining alone, no interval
            if variant != "After Proposed Init.":
                half = (line["high"] - line["low"]) / 2
                expected = f"{100 * line['mean']:.1f} ± {100 * half:.1f} ({line['n']})"
            shown = row[1 + 2 * place]
            assert shown.startswith(expected)
            note = shown.removeprefix(expected)  # its number, where runs collapsed
            assert note.isdecimal() == bool(line["collapsed"])
            assert row[2 + 2 * place].rstrip("0123456789≠ ").replace("−", "-") in (
                line["printed"].rstrip("0123456789"),
                line["printed"],
            )


def test_rows_and_blocks_are_in_the_order_of_the_paper(pages: dict[str, _Page]) -> None:
    first = [r[0].strip() for r in pages["suite"].cells if r]
    names = ["I", "After Randomly Init.", "w/o Init.+CDC", "II", "CDC-Cal", "III", "V"]
    places = [first.index(name) for name in names]
    assert places == sorted(places)


def test_verdicts_have_their_sentence_and_numbers(store: Store, pages: dict[str, _Page]) -> None:
    judged = results.verdicts("cdc-table2", store).collect()
    rows = [r for r in pages["suite"].cells if len(r) == 8 and "cifar20" in r[1]]
    assert len(rows) == judged.height == 13
    for row, claim in zip(rows, judged.iter_rows(named=True), strict=True):
        assert row[0].startswith(claim["verdict"])
        assert claim["reason"][1:] in row[0]
        assert row[5] == str(claim["n"])
        if claim["difference"] is not None:
            assert row[2].startswith(f"{100 * claim['difference']:+.1f}".replace("-", "−"))
        if claim["published"] is not None:
            assert row[3] == f"{100 * claim['published']:+.1f}".replace("-", "−")


def test_what_went_wrong_comes_before_any_number(pages: dict[str, _Page]) -> None:
    text = " ".join(pages["suite"].words)
    table = text.index("mean ± half")
    for warning in (
        "1 run has no result",
        "diverged at epoch 2, step 3",
        "Nearly all images are in one cluster",
        "Some clusters have no images",
    ):
        assert 0 < text.index(warning) < table
    assert "w/o Init.+CDC, seed 0" in text[:table]


def test_one_seed_has_no_interval_and_others_are_marked(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    entries = plan(
        store,
        renamed(suite("cdc-table10"), mismatch="set by hand: epochs=3"),
        ["cifar20", "stl10"],
        [0],
        impossible=[{"variant": "CDC-Cal", "dataset": "stl10", "reason": "too few images"}],
    )
    for entry in entries:
        if entry["dataset"] == "cifar20":
            commit(store, entry["run_id"], encoder_kmeans_acc=0.5)
    report.write(store, "cdc-table10", tmp_path / "a.html")
    page = _Page(tmp_path / "a.html")
    (row,) = [r for r in page.cells if r[0] == "CDC-Cal" and "(1)" in r[1] and len(r) > 4]
    assert not [cell for cell in row if "±" in cell and "(" in cell]
    text = " ".join(page.words)
    assert "have no interval" in text
    assert "CDC-Cal is not possible on stl10" in text
    assert "set by hand: epochs=3" in text
    assert "≠" in text
    assert text.count("printed only") > 4  # other methods, of which we have no runs
    assert "not in the store yet" in text


def test_confidences_of_other_images(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    claim = Claim(row="CDC-Cal", against="CDC-Clu", metric="auroc", direction="higher", margin=0.01)
    of = renamed(suite("cdc-table15"), evaluations={"ood": ("cifar10", "svhn")}, claims=(claim,))
    rows = {}
    for entry in plan(store, of, ["cifar20"], [0, 1]):
        id = entry["run_id"]
        commit(store, id, seed=entry["seed"])
        for other, shift in (("cifar10", 0.1), ("svhn", 0.4)):
            rows[id, other] = out_of_distribution(store, id, other, shift)
    report.write(store, "cdc-table15", tmp_path / "a.html")
    page = _Page(tmp_path / "a.html")
    row = next(r for r in page.cells if r[0].strip() == "CDC-Cal" and len(r) == 9)
    means = [
        np.mean([r["ood_auroc"] for (_, o), r in rows.items() if o == other])
        for other in ("cifar10", "svhn")
    ]
    assert [c.split(" ")[0] for c in (row[1], row[5])] == [f"{100 * m:.1f}" for m in means]
    titles = [a["aria-label"] for t, a in page.found if t == "svg"]
    assert "CDC-Clu on cifar20: own images and others (cifar10, svhn)." in titles
    text = " ".join(page.words)
    assert "Out of distribution" in text
    assert "CDC-Cal above CDC-Clu in AUROC, svhn" in text
    forests = [title for title in titles if title.startswith("Differences of AUROC")]
    assert [t.split(" with")[0].split(", ")[-1] for t in forests] == ["cifar10", "svhn"]
    assert "2 runs pooled." in text
    assert "damaged" not in text


def test_a_damaged_evaluation_is_left_out_and_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    of = renamed(suite("cdc-table15"), evaluations={"ood": ("svhn", "cifar10")})
    (id,) = {entry["run_id"] for entry in plan(store, of, ["cifar20"], [0])}
    commit(store, id)
    stages = [out_of_distribution(store, id, o, 0.2)["stage_id"] for o in ("cifar10", "svhn")]
    report.write(store, "cdc-table15", tmp_path / "a.html")
    whole = _Page(tmp_path / "a.html")
    file = store.stage_artefact(stages[0], "confidences")
    file.write_bytes(file.read_bytes()[:-9])
    report.write(Store.open(store.uri), "cdc-table15", tmp_path / "b.html")
    rest = _Page(tmp_path / "b.html")
    titles = [
        [str(a["aria-label"]) for t, a in page.found if t == "svg" and "own images" in str(a)]
        for page in (whole, rest)
    ]
    assert [title.split("(")[1] for title in titles[0]] == ["svhn, cifar10)."] * 2
    assert [title.split("(")[1] for title in titles[1]] == ["svhn)."] * 2
    told = "ood evaluations are damaged and left out: CDC-Clu, seed 0, CDC-Cal, seed 0."
    assert told in " ".join(rest.words)
    assert told not in " ".join(whole.words)


def test_nothing_but_a_plan_is_a_page_too(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    plan(store, suite("cdc-fig3"), ["cifar20"], [0, 1])
    report.write(store, "cdc-fig3", tmp_path / "a.html")
    assert "not run" in " ".join(_Page(tmp_path / "a.html").words)


# ---- a study


def test_the_best_trial_and_who_chose_it(pages: dict[str, _Page], tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    values = [v[0] for v in study(store, "hunt", 12)]
    text = " ".join(pages["study"].words)
    best = int(np.argmax(values))
    assert f"Best: trial {best}, ACC {100 * max(values):.1f} %" in text
    assert "Labels chose the best configuration" in text
    assert "Labels were used" in text
    assert "Trial 11 failed. out of memory" in re.sub(r"\s+", " ", text)
    assert "silhouette" in text
    importance = next(
        a["aria-label"] for t, a in pages["study"].found if "Importance" in str(a.get("aria-label"))
    )
    shares = dict(re.findall(r"(encoder_lr|filter) (\d\.\d\d)", importance or ""))
    assert float(shares["encoder_lr"]) > 0.6  # accuracy follows from it alone


def test_several_objectives_have_a_front(pages: dict[str, _Page]) -> None:
    text = " ".join(pages["front"].words)
    assert "Pareto front" in text
    assert "cannot tell which parameters" in text


def test_reading_a_study_leaves_its_journal_alone(store: Store, tmp_path: Path) -> None:
    journal = Path(store.uri) / "studies" / "hunt.log"
    before = journal.read_bytes()
    report.write(store, "hunt", tmp_path / "a.html")
    assert journal.read_bytes() == before


# ---- a run


def test_a_run_shows_its_heads(store: Store, pages: dict[str, _Page]) -> None:
    row = store.run_row(run_id((), {}, "cifar20", 0))
    shown = pages["run"].row("ECE %", 3)
    expected = [f"{100 * row[f'{h}_ece']:.1f}" for h in ("calibration", "clustering")]
    assert shown[1:] == expected
    assert "It belongs to suite cdc-table2" in " ".join(pages["run"].words)


def test_a_failed_run_says_why_first(pages: dict[str, _Page]) -> None:
    text = " ".join(pages["failed"].words)
    assert text.index("diverged at epoch 2, step 3") < text.index("Configuration", 200)


def test_without_labels_the_charts_that_need_none(pages: dict[str, _Page]) -> None:
    text = " ".join(pages["plain"].words)
    assert "have no labels" in text
    assert "Sizes of the clusters." in text
    assert "Reliability." not in text
    assert "folder:/<b>&photos $x$" in text


# ---- samples


def test_samples_are_judged_by_the_matching_of_their_run(store: Store) -> None:
    id = run_id((), {}, "cifar20", 0)
    row = store.run_row(id)
    for head in (None, "calibration", "clustering"):
        found = samples.read([id], store, head=head)
        assert found.height == IMAGES
        front = f"{head}_" if head else ""
        assert found["right"].mean() == pytest.approx(row[f"{front}acc"], abs=1e-12)
        confidence, right = found["confidence"].to_numpy(), found["right"].to_numpy()
        assert calibration.ece(confidence, right) == pytest.approx(row[f"{front}ece"], abs=1e-12)
        bins = _samples.bins(found)
        assert bins.right is not None
        gaps = np.abs(bins.right - bins.confidence).sum() / IMAGES
        assert gaps == pytest.approx(row[f"{front}ece"], abs=1e-12)
        assert bins.bars.sum() == bins.count.sum() == IMAGES


def test_samples_of_two_runs_keep_their_own_matching() -> None:
    frame = pl.DataFrame(
        {
            "run_id": ["a"] * 4 + ["b"] * 4,
            "sample": [0, 1, 2, 3] * 2,
            "cluster": [0, 0, 1, 1, 1, 1, 0, 1],
            "confidence": [0.9] * 8,
            "label": [5, 5, 7, 7] * 2,
        }
    )
    right = _samples.judged(frame)["right"].to_list()
    assert right == [True] * 4 + [True, True, True, False]
    nameless = _samples.judged(frame.drop("label"))
    assert nameless["right"].null_count() == 8


def test_pooled_bins_are_sums(store: Store) -> None:
    ids = [run_id((), {}, "cifar20", seed) for seed in range(3)]
    parts = [_samples.bins(samples.read([id], store)) for id in ids]
    together = _samples.pooled(parts)
    assert together.runs == 3
    assert together.images == 3 * IMAGES
    assert together.accuracy == pytest.approx(np.mean([p.accuracy for p in parts]))
    assert together.risks is not None
    assert together.risks.shape == (3, _samples.POINTS)
    assert together.risks[1, -1] == pytest.approx(1 - (parts[1].accuracy or 0))


# ---- numbers


@pytest.mark.parametrize(
    ("metric", "given", "text"),
    [
        ("acc", 0.61749, "61.7"),
        ("calibration_ece", 0.04949, "4.9"),
        ("clustering_fpr95", 0.5, "50.0"),
        ("aurc", 0.0123, "12.3"),
        ("brier", 0.25, "0.250"),
        ("hours", 2.345, "2.35"),
        ("silhouette", -0.25, "−0.250"),
        ("acc", None, "–"),
        ("acc", float("nan"), "–"),
    ],
)
def test_units(metric: str, given: float | None, text: str) -> None:
    assert _measures.value(metric, given) == text


def test_names_keep_the_head() -> None:
    assert _measures.name("calibration_ece") == "calibration ECE"
    assert _measures.heading("acc") == "ACC %"
    assert _measures.base("mean_confidence") == "mean_confidence"
    assert _measures.cell("acc", 0.5, None, None, 1) == "50.0 (1)"
    assert _measures.cell("acc", 0.5, 0.4, 0.6, 4) == "50.0 ± 10.0 (4)"


# ---- names and files


def test_an_unknown_name_tells_the_nearest(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean 'cdc-table2'\?"):
        report.write(store, "cdc-tabel2", tmp_path / "a.html")
    with pytest.raises(InputError, match="give more letters"):
        report.write(store, "", tmp_path / "a.html")
    with pytest.raises(InputError, match="there is no folder"):
        report.write(store, "hunt", tmp_path / "nowhere" / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_the_same_store_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    written = [report.write(store, "both", tmp_path / n)[0] for n in ("a.html", "b.html")]
    assert written[0].read_bytes() == written[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_figures_are_files_as_well(store: Store, tmp_path: Path) -> None:
    written = report.write(store, "both", tmp_path / "a.html", tmp_path / "figures")
    svg = sorted(p for p in written if p.suffix == ".svg")
    png = sorted(p for p in written if p.suffix == ".png")
    assert [p.stem for p in svg] == [p.stem for p in png]
    assert len(svg) == _Page(tmp_path / "a.html").text.count("<svg")
    for path in png:
        with Image.open(path) as image:
            assert image.width > 700
    assert all(p.read_text().rstrip().endswith("</svg>") for p in svg)
    assert "var(--" not in svg[0].read_text()


def test_the_command_names_its_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report_command.report(options.Report(name="both", store=store.uri)).code == 0
    assert report_command.report(options.Report(store=store.uri)).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report-both.html", "report.html"]
    assert "report-both.html" in capsys.readouterr().out


def test_a_damaged_table_is_told_first(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    row = commit(store, "f" * 20)
    path = Path(store.uri) / store.run_row(row["run_id"])["predictions_file"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    report.write(Store.open(store.uri), row["run_id"], tmp_path / "a.html")
    text = " ".join(_Page(tmp_path / "a.html").words)
    assert text.index("Damaged file.") < text.rindex("Read first")


def test_an_empty_store_has_an_overview(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    report.write(store, None, tmp_path / "a.html")
    assert "There are no runs yet." in " ".join(_Page(tmp_path / "a.html").words)
    store.record_failure(base("aa", 0) | {"status": "failed", "reason": "out of memory"})
    report.write(store, None, tmp_path / "a.html")
    assert "out of memory" in " ".join(_Page(tmp_path / "a.html").words)


# ---- charts


def test_a_chart_follows_the_colours_of_its_page() -> None:
    chart = _bars.bars("x", "What each is: a 1, b 2", ["a", "b & c"], [1.0, 2.5], x="share")
    svg = _chart.inline(chart)
    assert "var(--s1)" in svg.inside
    assert "var(--ink)" in svg.inside
    assert not re.search(r"#[0-9a-f]{6}", svg.inside)
    assert "b &amp; c" in svg.inside
    assert svg.alt == "What each is: a 1, b 2"


@pytest.mark.parametrize(
    ("name", "width"),
    [("suite", 360), ("suite", 1280), ("study", 360), ("run", 360), ("overview", 360)],
)
@pytest.mark.skipif(_CHROMIUM is None, reason="no chromium here")
def test_a_browser_shows_it_without_scrolling_sideways(
    pages: dict[str, _Page], tmp_path: Path, name: str, width: int
) -> None:
    measured = """<script>addEventListener('error', e => document.title = 'error ' + e.message);
    addEventListener('load', () => {
      const page = document.documentElement, outside = [...document.querySelectorAll('body *')]
        .filter(e => !e.closest('.scroll, pre') || e.matches('.scroll, pre'))
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName);
      document.title = ['measured', innerWidth, page.scrollWidth, outside.join(' ')].join('|');
    })</script></body>"""
    page = tmp_path / "page.html"
    page.write_text(
        pages[name]
        .text.replace("</body>", measured)
        .replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    )
    frame = tmp_path / "frame.html"  # a window is at least 500 pixels wide, a frame is not
    frame.write_text(
        f'<iframe src="page.html" width="{width}" height="800" style="border:0" id="f"></iframe>'
        "<script>onload = () => document.title = f.contentDocument.title</script>"
    )
    ran = subprocess.run(
        [
            str(_CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--enable-logging=stderr", "--log-level=0", f"--user-data-dir={tmp_path}/profile"),
            *("--virtual-time-budget=5000", "--window-size=1400,900", "--dump-dom"),
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    title = html.unescape(re.search(r"<title>(.*?)</title>", ran.stdout)[1])  # type: ignore[index]
    kind, inner, scroll, outside = title.split("|")
    assert kind == "measured"
    assert int(inner) == width
    assert int(scroll) <= width
    assert outside == ""
    assert "CONSOLE" not in ran.stderr
