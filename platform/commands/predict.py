"""`platform predict`: clusters of new images."""

from pathlib import Path

from rich.console import Console

from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.request.options import Predict


def predict(options: Predict) -> Answer:
    """Cluster the images of a folder with a trained run."""
    if options.output is not None:
        from deep_clustering.platform.commands import _export

        _export.refuse(options.output)
    if options.report is not None:
        from deep_clustering.platform.report import report

        report.folder_of("--report", options.report)
    store = work.open_store(options, create=False)
    clustered = finished.predict(
        store,
        options.run,
        Path(str(options.images).removeprefix("folder:")),
        root=work.data_root(options.data),
        skip_broken=options.skip_broken,
    )
    say.notes(clustered.dataset.notes)
    if options.report is not None:
        report.write_prediction(clustered, options.report)
        print(f"pictures of every cluster: {options.report}")
    if options.output is not None:
        _export.write(clustered.images, options.output)
        print(f"{clustered.images.height} images clustered; written to {options.output}")
    else:
        Console(highlight=False).print(clustered.summary)
        print("give --output FILE (.csv, .parquet, .json, .arrow) for the cluster of every image")
    return Answer(
        store=store,
        runs=[str(clustered.row["run_id"])],
        tables={"images": clustered.images},
        files=[file for file in (options.output, options.report) if file is not None],
    )
