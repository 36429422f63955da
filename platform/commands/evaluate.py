"""`platform evaluate`."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.evaluation.ood import evaluate as ood_rows


def evaluate(
    *, run: str, ood: tuple[str, ...], store: str | None, data: Path | None, skip_broken: bool
) -> int:
    """Evaluate a finished run; returns the exit code."""
    kept, root = work.open_store(store, create=False), work.data_root(data)
    with Console(stderr=True, highlight=False).status("") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"images {done}/{total}")

        rows = ood_rows(
            kept,
            run,
            ood,
            root=root,
            skip_broken=skip_broken,
            progress=progress,
            provenance=work.provenance(),
        )
    console = Console(highlight=False)
    first = rows[0]
    console.print(
        f"run {first['ood_run']} ({first['method']}): {first['id_images']:,.0f} "
        f"{first['ood_in_distribution']} images of {first['dataset']} against others",
        markup=False,
    )
    console.print(table(rows))
    console.print(
        "auroc: 1 tells all others by their confidence, 0.5 none\n"
        "fpr95: share of the others accepted along with 95 % of the run's own",
        style="dim",
    )
    for line in (
        "[bold]read the results[/]",
        "  import polars as pl",
        "  from deep_clustering.platform import results",
        f"  store = {escape(repr(kept.uri))}",
        f'  results.stages(store).filter(pl.col("ood_run") == "{first["ood_run"]}").collect()',
    ):
        console.print(line, soft_wrap=True)
    return 0


def table(rows: list[dict[str, Any]]) -> Table:
    """One line per row of `evaluate`: AUROC and FPR95 of each head, the final one first."""
    final = rows[0]["ood_final_head"]
    ending = "_ood_auroc"
    heads = [name.removesuffix(ending) for name in rows[0] if name.endswith(ending)]
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("\nothers", overflow="fold")
    shown.add_column("\nimages", justify="right")
    heads.sort(key=lambda head: head != final)
    for head in heads:
        shown.add_column(f"{escape(head)}\nauroc  fpr95", justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(
            escape(row["ood_dataset"]),
            f"{row['ood_images']:,.0f}",
            *(f"{row[f'{head}_ood_auroc']:.3f}  {row[f'{head}_ood_fpr95']:.3f}" for head in heads),
        )
    return shown
