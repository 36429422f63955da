"""Sheets of pictures in a run's report: which pictures, their size, names that are only text."""

import base64
import dataclasses
import html
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.report import report
from deep_clustering.platform.report.markup.parts import Paragraph, Sheet
from deep_clustering.platform.report.pages import _sheets
from deep_clustering.platform.report.pages._album import LARGEST, Album
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.workplace import Workplace
from deep_clustering.platform.store.store import Store
from support.small import Watcher, images, jobs, place, resolved

_EVIL = '<img src=x onerror=alert(1)>" onload="alert(2)'
_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


def page(lane: Workplace, folder: Path, root: Path, target: Path, **asked: object) -> str:
    sets = ["clusters=3", "resamples=2", "restarts=2"]
    request = resolved("consensus", f"folder:{folder}", root=root, sets=sets, **asked)
    done = jobs(request)
    for job in done:
        execute(job, lane, Watcher())
    report.write(lane.store, done[-1].id, target, root=root)
    return target.read_text("utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report on 61 pictures: noise around three colours, two alike, one with an evil name."""
    base = tmp_path_factory.mktemp("pages")
    folder = base / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = random.integers(0, 160, (12, 12, 3), dtype=np.uint8)
        pixels[..., number % 3] += np.uint8(70)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    shutil.copy(folder / "0.png", folder / _EVIL.replace("/", ""))
    (folder / _EVIL).rename(folder / f"{_EVIL}.png")
    return page(
        place(Store.open(base / "store")),
        folder,
        base / "data",
        base / "page.html",
        encoder="efficientnet-lite0@32",
    )


def pictures(text: str) -> list[tuple[str, str]]:
    """(address, alternative text) of every picture."""
    return [
        (source, html.unescape(alt))
        for source, alt in re.findall(r'<img src="([^"]*)" alt="([^"]*)"', text)
    ]


def test_every_cluster_has_its_surest_middle_and_most_doubtful(text: str) -> None:
    for cluster in range(3):
        assert re.search(rf"Cluster {cluster}: \d+ pictures, mean confidence \d+\s%", text)
    assert text.count('aria-label="Surest"') == 3
    assert text.count('aria-label="Most doubtful"') == 3
    assert "of 61 pictures are shown" in text
    assert re.search(r"\d+\s%, or \d:\s\d+\s%", text)


def test_pictures_are_small_jpegs_inside_the_page(text: str) -> None:
    found = pictures(text)
    assert len(found) > 40
    for source, _ in found:
        assert source.startswith("data:image/jpeg;base64,")
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) == 80
    assert len(text) < 5 * 2**20
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_noise_and_many_clusters_stay_within_the_size_of_a_page(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _sheets._ALL * LARGEST * 4 / 3 < 4.3e6  # as text
    monkeypatch.setattr(_sheets, "_ALL", 30)
    folder = images(tmp_path / "photos", labelled=False, count=2)
    noise = np.random.default_rng(0).integers(0, 256, (100, 3, 40, 40), dtype=np.uint8)
    few = datasets.open(Source(f"folder:{folder}", root))
    assert isinstance(few, ImageSet)
    album = Album(dataclasses.replace(few, images=noise, paths=None, sizes=None))
    columns = {"sample": np.arange(100), "cluster": np.r_[np.arange(12), np.arange(88) % 10]}
    columns |= {"confidence": np.linspace(0.3, 1, 100), "doubtful": np.zeros(100, bool)}
    lead, *parts = _sheets.clusters(album, pl.DataFrame({**columns, "second": [None] * 100}))
    assert isinstance(lead, Paragraph)
    assert lead.text.startswith("The 10 largest clusters. 30 of 100 pictures are shown.")
    sizes = [len(thumb.jpeg) for part in parts if isinstance(part, Sheet) for thumb in part.thumbs]
    assert len(sizes) == 30
    assert max(sizes) <= LARGEST


def test_pictures_of_ones_own_come_before_metrics(text: str) -> None:
    heads = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert heads.index("Clusters in pictures") < heads.index("Metrics")


def test_near_duplicates_and_a_map_are_shown(text: str) -> None:
    assert "pair 1: 1.000" in text
    assert "Features by cluster." in text
    assert "Features by confidence." in text
    assert "was trained with the labels of ImageNet" in text


def test_a_name_of_a_file_is_only_text(text: str) -> None:
    assert f"{_EVIL}.png" in [alt for _, alt in pictures(text)]
    assert "<img src=x" not in text
    assert " onload=" not in re.sub(r'"[^"]*"', "", text)


def test_pictures_that_are_gone_are_said_to_be(lane: Workplace, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
    page(lane, folder, root, tmp_path / "a.html")
    run = next(iter(lane.store.finished()))
    shutil.rmtree(folder)
    report.write(lane.store, run, tmp_path / "b.html", root=root)
    assert "The pictures are not shown: There is no folder" in (tmp_path / "b.html").read_text()


@pytest.mark.ray
@pytest.mark.skipif(_CHROMIUM is None, reason="no chromium here")
def test_a_phone_shows_it_without_scrolling_sideways(text: str, tmp_path: Path) -> None:
    measured = """<script>addEventListener('load', () => {
      const broken = [...document.images].filter(i => !i.naturalWidth).length;
      const wide = [...document.querySelectorAll('.sheet *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).length;
      const asked = performance.getEntriesByType('resource').map(e => e.name).join(' ');
      document.title =
        ['measured', document.documentElement.scrollWidth, broken, wide, asked].join('|');
    })</script></body>"""
    (tmp_path / "page.html").write_text(
        text.replace("</body>", measured)
        .replace(' loading="lazy"', "")
        .replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    )
    frame = tmp_path / "frame.html"  # a window is at least 500 pixels wide, a frame is not
    frame.write_text(
        '<iframe src="page.html" width="420" height="800" style="border:0" id="f"></iframe>'
        "<script>onload = () => document.title = f.contentDocument.title</script>"
    )
    ran = subprocess.run(
        [
            str(_CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"--user-data-dir={tmp_path}/profile",
            *("--virtual-time-budget=5000", "--window-size=1400,900", "--dump-dom"),
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    title = html.unescape(re.search(r"<title>(.*?)</title>", ran.stdout)[1])  # type: ignore[index]
    kind, wide, broken, cut, asked = title.split("|")
    assert (kind, broken, cut, asked) == ("measured", "0", "0", "")
    assert int(wide) <= 420
