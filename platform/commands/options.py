"""Options that several commands share, and the completion of names."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from deep_clustering.platform import registry

F = TypeVar("F", bound=Callable[..., object] | click.Command)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def method_names(_: click.Context, __: click.Parameter, start: str) -> list[str]:
    """Names of methods that begin so."""
    return [n for n in registry.names() if n.startswith(start)]


def dataset_names(_: click.Context, __: click.Parameter, start: str) -> list[str]:
    """Names of datasets that begin so."""
    from deep_clustering.platform.data.catalogue import CATALOGUE

    return [n for n in CATALOGUE if n.startswith(start)]


method = click.argument("method", shell_complete=method_names)
store = click.option(
    "--store",
    metavar="URI",
    help="Where results live: a folder or an object-store URI. "
    "[default: $DEEP_CLUSTERING_STORE, else ./store]",
)
data = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where decoded images live. [default: $DEEP_CLUSTERING_DATA, else "
    "~/.cache/deep-clustering; with --address, in the store]",
)
dataset = click.option(
    "--dataset",
    required=True,
    metavar="NAME",
    shell_complete=dataset_names,
    help="A name of `platform datasets`, folder:PATH for your own images, or table:PATH for your "
    "own vectors.",
)
pictures = together(
    click.option(
        "--image-size",
        "side",
        type=int,
        metavar="PIXELS",
        help="Side that pictures are stored at, 8 to 1024: below 256 centred squares of it, from "
        "256 on whole pictures of at most that side. For folder:PATH, ImageNet, textures and "
        "places365. [default: by their sizes]",
    ),
    click.option("--skip-broken", is_flag=True, help="Leave unreadable images out and say which."),
)
request = together(
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Change a field; repeatable. `platform methods METHOD` lists the fields.",
    ),
    click.option(
        "--preset", metavar="NAME", help="Follow `paper` or `release` where the two differ."
    ),
    click.option(
        "--protocol",
        metavar="NAME",
        help="Which images are trained on and scored; `platform datasets` lists them.",
    ),
    click.option(
        "--replicate",
        type=click.Choice(["pretraining", "training"]),
        help="What a seed draws anew: everything from the pretraining on, or the training on one "
        "pretraining. [default: training; of a suite its own]",
    ),
    pictures,
)
features = click.option(
    "--features",
    metavar="METHOD|STAGE",
    help="Cluster the features of a pretraining: that of a method (its fields pretrain.* can be "
    "--set), or a stage id of `platform results stages`. [default: pixels, or the dataset's "
    "vectors]",
)
encoder = together(
    click.option(
        "--encoder",
        metavar="NAME|FILE",
        help="Cluster the features of a frozen encoder: efficientnet-lite0 (needs no download), "
        "dinov2, dinov2-b, clip, siglip, timm:NAME, torchvision:NAME, or a file of weights; "
        "@PIXELS after it sets the side of the images it sees.",
    ),
    click.option(
        "--architecture",
        metavar="NAME",
        help="The network that --encoder FILE has weights of: timm:NAME, torchvision:NAME or "
        "efficientnet-lite0.",
    ),
)
base = click.option(
    "--base",
    metavar="RUN|METHOD",
    help="The finished run that the method starts from: a run id, or a method, which is then run "
    'first; fields may follow it, as in "scan heads=2". Methods that start from none refuse it.',
)
seeds = click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Seeds per configuration: 0 to N-1.",
)
compute = together(
    store,
    data,
    click.option(
        "--address", metavar="ADDRESS", help="A Ray cluster to use instead of this machine."
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Processes that train one run together; the batch stays the global batch.",
    ),
    click.option(
        "--gpus-per-run",
        type=click.FloatRange(min=0, min_open=True, max=1),
        metavar="SHARE",
        help="Share of a GPU for each process, to pack several runs on one. [default: 1]",
    ),
    click.option(
        "--run-limit",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MINUTES",
        help="End a run, or a pretraining, that takes longer, even where it hangs; it counts as "
        "failed. [default: none]",
    ),
    click.option(
        "--evaluate-every",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Evaluate a training after every N-th epoch, and before the first and after the last "
        "one; the results are the same.",
    ),
    click.option(
        "--log",
        type=click.Choice(["tensorboard", "mlflow"]),
        help="Write the epochs there as well, as they are made: to the folder tensorboard, or to "
        "MLflow's tracking store.",
    ),
    click.option(
        "--retry", type=click.Choice(["failed"]), help="Also run what failed before, once more."
    ),
    click.option(
        "--dry-run", is_flag=True, help="Say what would run and what is there; run nothing."
    ),
)
