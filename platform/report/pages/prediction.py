"""The page of new images that a run has clustered: pictures of every cluster."""

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.evaluation.assignments import judged
from deep_clustering.platform.evaluation.finished import Clustered
from deep_clustering.platform.report.markup.parts import Page, Section
from deep_clustering.platform.report.pages._album import Album
from deep_clustering.platform.report.pages._sheets import clusters


def build(clustered: Clustered) -> Page:
    """The page of what a run says of the images of a folder."""
    taken = judged(
        clustered.images.select("path", "cluster", "confidence"), clustered.probabilities
    ).with_row_index("sample")
    pictures = measures.plural(taken.height, "picture")
    row, doubted = clustered.row, int(taken["doubtful"].sum())
    by = f"{row['method']} on {row['dataset']}, seed {row['seed']}"
    parts = clusters(Album(clustered.dataset), taken)
    return Page(
        title=f"{pictures} by run {str(row['run_id'])[:8]}",
        summary=[
            f"{clustered.dataset.name}, by {by}.",
            f"{doubted} of {pictures} doubtful: more likely in a wrong cluster than in the right "
            "one.",
        ],
        sections=[Section(title="Clusters in pictures", parts=parts)],
    )
