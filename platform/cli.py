"""The command `platform`: options and help only; the work is in the modules it imports late."""

import typing
from collections.abc import Callable
from dataclasses import Field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import click

from deep_clustering.ablations import _published
from deep_clustering.platform import registry
from deep_clustering.platform.commands import options as shared
from deep_clustering.platform.commands._answer import Answer, answering
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.request import configs
from deep_clustering.platform.request import options as records

F = TypeVar("F", bound=Callable[..., object] | click.Command)
R = TypeVar("R", bound=records.Options)


class _Command(click.Command):
    """A command whose help ends with an example, kept as written; it knows fields from options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for before, word in pairwise(["", *args]):
            if word == "" or (word.startswith("--") and word.endswith("=")):
                what = word[:-1] or (before if before.startswith("-") else "an argument")
                raise click.UsageError(f"{what} is empty; is a variable not set?", ctx)
        methods = [word for word in args if word in registry.names()]
        known = [option.removeprefix("--") for each in self.params for option in each.opts]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not methods or "set" not in known:
                raise
            fields = configs.fields(registry.method(methods[0]).config)
            name = error.option_name.strip("-").replace("-", "_")
            hint = nearest(name, fields)
            if not hint or hint != nearest(name, [*fields, *known]):
                raise
            said = f"{error.message} Fields of {methods[0]} are set by --set FIELD=VALUE.{hint}"
            raise click.NoSuchOption(error.option_name, said, ctx=ctx) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Example"):
                for line in self.epilog.splitlines():
                    formatter.write(f"  {line}\n")


class _Commands(click.Group):
    """A group that names the nearest command to a misspelt one, and tells failures in a line."""

    command_class = _Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            ctx.fail(
                f"there is no command '{args[0]}'.{nearest(args[0], known)} "
                f"Known: {', '.join(known)}."
            )
        return super().resolve_command(ctx, args)


def _record(kind: type[R], given: dict[str, object]) -> R:
    """The record of a command's options: lists become tuples, everything else stays as parsed."""
    plain = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in given.items()}
    return kind(**plain)  # type: ignore[arg-type]


_PAPERS = " or ".join(filter(None, (", ".join(_published.papers()[:-1]), _published.papers()[-1])))


def _paper_names(_: click.Context, __: click.Parameter, start: str) -> list[str]:
    return [n for n in _published.papers() if n.startswith(start)]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="deep-clustering", prog_name="platform")
def cli() -> None:
    """Search, ablate and replicate calibrated deep clustering.

    The same command again continues, extends, or does nothing: results are in the store, and
    what is there is never computed twice.
    """


@cli.command(
    epilog="platform cluster photos\n"
    "platform cluster photos --clusters 12 --encoder dinov2 --sort-into sorted",
)
@click.argument("folder", shell_complete=shared.dataset_names)
@click.option(
    "--clusters",
    type=click.IntRange(min=2),
    metavar="N",
    help="How many. [default: found, without labels]",
)
@shared.encoder
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where report.html and clusters.csv go. [default: FOLDER-clusters]",
)
@click.option(
    "--table",
    type=click.Choice(typing.get_args(records.TableFormat)),
    default="csv",
    show_default=True,
    help="Format of the table of pictures and their clusters.",
)
@click.option(
    "--sort-into",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Make this folder, with a link to each picture in a folder for its cluster; doubtful ones "
    "apart. Pictures stay where they are.",
)
@shared.pictures
@shared.compute
@answering
def cluster(**options: object) -> Answer:
    """Cluster a folder of pictures; its confidences can be believed.

    FOLDER holds pictures, or is a name of `platform datasets`. A frozen encoder sees the pictures,
    and `consensus` clusters its features; the number of clusters is found where it is not given.
    """
    from deep_clustering.platform.commands import cluster as command

    return command.cluster(_record(records.Cluster, options))


@cli.command(
    epilog="platform train cdc --dataset digits --seeds 3\n"
    "platform train cdc --dataset folder:photos --set clusters=10\n"
    "platform train pac --dataset cifar10 --features dpac --set metric=cosine\n"
    "platform train kmeans --dataset folder:photos --encoder dinov2 --set clusters=10",
)
@shared.method
@shared.dataset
@shared.request
@shared.features
@shared.encoder
@shared.base
@shared.seeds
@shared.compute
@answering
def train(**options: object) -> Answer:
    """Train one configuration on one or several seeds.

    Leaves the models as safetensors and the predictions as a table in the store. Methods that fit
    all samples at once (kmeans, pac, ...) leave no model.
    """
    from deep_clustering.platform.commands import train as command

    return command.train(_record(records.Train, options))


@cli.command(
    epilog="platform tune cdc --dataset digits\n"
    "platform tune cdc --dataset cifar20 --trials 50 --objective acc,ece --seeds 3",
)
@shared.method
@shared.dataset
@shared.request
@shared.features
@shared.encoder
@shared.base
@shared.seeds
@shared.compute
@click.option(
    "--trials",
    type=int,
    default=8,
    show_default=True,
    metavar="N",
    help="Configurations in all, failed ones included; a larger number later adds the rest.",
)
@click.option(
    "--objective",
    metavar="METRIC[,METRIC]",
    help="What to optimise; several give a Pareto front; some need no labels. "
    "[default: silhouette, which needs no labels]",
)
@click.option(
    "--sampler",
    default="tpe",
    show_default=True,
    metavar="tpe|random|grid|gp",
    help="How configurations are proposed.",
)
@click.option(
    "--scheduler",
    default="none",
    show_default=True,
    metavar="asha|none",
    help="How trials that do badly are stopped early.",
)
@click.option(
    "--space",
    metavar="FIELD,...",
    help="Search only these fields. `platform spaces METHOD` lists them.",
)
@click.option("--study", metavar="NAME", help="Name of the study. [default: from what is asked]")
@click.option(
    "--sampler-seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the proposals.",
)
@answering
def tune(**options: object) -> Answer:
    """Search over a method's hyperparameters.

    Ray Tune and Optuna do. The study is kept in the store, with a journal for Optuna's dashboard.
    """
    from deep_clustering.platform.commands import tune as command

    return command.tune(_record(records.Tune, options))


@cli.command(
    epilog="platform ablate --suite cdc-table2\n"
    "platform ablate cdc --variants single-head,random-init --dataset digits\n"
    "platform ablate --suite cdc-table2 --until-settled --max-seeds 10\n"
    "platform ablate --suite mine.toml --dataset folder:photos --seeds 3",
)
@click.argument("method", required=False, shell_complete=shared.method_names)
@click.option(
    "--suite", metavar="NAME|FILE", help="A suite of `platform suites`, or your own .py or .toml."
)
@click.option(
    "--variants",
    metavar="A,B+C,...",
    help="Variants of `platform variants METHOD` beside the full method; + combines.",
)
@click.option("--leave-one-out", is_flag=True, help="One row for each component, that one removed.")
@click.option(
    "--dataset",
    multiple=True,
    metavar="NAME",
    shell_complete=shared.dataset_names,
    help="Instead of the suite's own; repeatable. folder:PATH for your own images.",
)
@shared.request
@shared.base
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Seeds per row, the same for all: 0 to N-1. [default: the suite's, 5]",
)
@click.option(
    "--until-settled",
    is_flag=True,
    help="Begin with --seeds, then add seeds to the rows of inconclusive claims, as long as they "
    "can still settle one. Verdicts allow for that.",
)
@click.option(
    "--max-seeds",
    type=click.IntRange(min=2),
    metavar="N",
    help="Seeds per row that --until-settled goes up to. [default: 20]",
)
@shared.compute
@answering
def ablate(**options: object) -> Answer:
    """Run an ablation suite and say which published claims hold.

    Rows that suites share, and their pretraining, are computed once.
    """
    from deep_clustering.platform.commands import ablate as command

    return command.ablate(_record(records.Ablate, options))


class _Evaluate(_Command):
    """`platform evaluate`, whose options follow its argument and are those of the evaluations.

    They are read when this command is asked for: no other needs what evaluations import.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        run, *others = super().get_params(ctx)
        return [run, *_evaluations(), *others]


@cache
def _evaluations() -> list[click.Option]:
    """An option for each evaluation, under its name, and for each of its parameters."""
    options = []
    for name in contract.names():
        record = contract.find(name)
        options.append(
            click.Option(
                [f"--{name}"],
                multiple=True,
                metavar=record.metavar,
                help=record.help,
                shell_complete=shared.dataset_names if record.sets else None,
            )
        )
        options += [_parameter(name, record, x) for x in contract.options(record).values()]
    return options


def _parameter(name: str, record: contract.Evaluation, field: Field[Any]) -> click.Option:
    """The option of a parameter of an evaluation; what is not said stays None or empty."""
    assert record.parameters is not None
    kind = typing.get_type_hints(record.parameters)[field.name]
    several = typing.get_origin(kind) is tuple
    choices: click.ParamType | None = None
    if typing.get_origin(kind) is typing.Literal:
        choices = click.Choice([str(value) for value in typing.get_args(kind)])
    plain = [k for k in (kind, *typing.get_args(kind)) if k in (int, float, str)]
    said = str(field.metadata["help"])
    default = "" if field.default in (None, ()) else f" [default: {records.text(field.default)}]"
    return click.Option(
        [f"--{field.name.replace('_', '-')}"],
        type=choices or plain[0],
        multiple=several,
        metavar=None if choices else {int: "N", float: "X", str: "NAME"}[plain[0]],
        help=f"For --{name}: {said[0].lower()}{said[1:]}{default}",
    )


def _parameters(name: str, record: contract.Evaluation, said: dict[str, object]) -> object | None:
    """The record of an evaluation's parameters; takes them out of what was said."""
    fields = contract.options(record)
    given = {f: value for f in fields if (value := said.pop(f)) not in (None, ())}
    if given and not said[name]:
        flag = next(iter(given)).replace("_", "-")
        raise InputError(f"--{flag} belongs to --{name}; say --{name} {record.metavar} as well.")
    return None if record.parameters is None else record.parameters(**given)


@cli.command(
    cls=_Evaluate,
    epilog="platform evaluate 3f2a --ood svhn --ood folder:photos\n"
    "platform evaluate 3f2a --attack fgsm --eps 0.1 --eps 0.2\n"
    "platform evaluate 3f2a --clean own",
)
@click.argument("run")
@click.option("--skip-broken", is_flag=True, help="Leave unreadable images out and say which.")
@shared.store
@shared.data
@answering
def evaluate(**options: object) -> Answer:
    """Evaluate a finished run: attacks, other images, its clean set.

    RUN is a run id of `platform results`, or its first letters. What is in the store is not
    computed again.
    """
    from deep_clustering.platform.commands import evaluate as command

    names = contract.names()
    said = [(name, _parameters(name, contract.find(name), options)) for name in names]
    options["parameters"] = tuple((name, value) for name, value in said if value is not None)
    given = ((name, typing.cast("tuple[str, ...]", options.pop(name))) for name in names)
    options["asked"] = tuple((name, values) for name, values in given if values)
    return command.evaluate(_record(records.Evaluate, options))


@cli.command(epilog="platform report cdc-table2 --output table2.html")
@click.argument("name", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write it. [default: report-NAME.html]",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write every figure there, as PNG and SVG.",
)
@shared.store
@shared.data
@answering
def report(**options: object) -> Answer:
    """Write an HTML file about a suite, a study or a run.

    It opens offline. Without a name it is about all that the store holds.
    """
    from deep_clustering.platform.commands import report as command

    return command.report(_record(records.Report, options))


@cli.command(
    epilog="platform audit cdc",
    help="Check a paper's published tables against themselves.\n\n"
    f"PAPER is {_PAPERS}. Nothing is trained.",
)
@click.argument("paper", shell_complete=_paper_names)
@answering
def audit(paper: str) -> Answer:
    """Print what a paper's numbers say about each other."""
    from rich.console import Console

    from deep_clustering.platform.audit import audit as auditing

    auditing.show(paper, Console(highlight=False))
    return Answer(tables={"findings": auditing.rows(paper)})


@cli.command(epilog="platform suites")
@shared.store
@shared.data
@answering
def suites(store: str | None, data: Path | None) -> Answer:
    """All ablation suites, and what the store has of their runs."""
    from deep_clustering.platform.commands import lists as listings

    return listings.suites(store, data)


@cli.command(epilog="platform variants cdc")
@click.argument("method", required=False, shell_complete=shared.method_names)
@answering
def variants(method: str | None) -> Answer:
    """The variants of a method that `platform ablate` knows."""
    from deep_clustering.platform.commands import lists as listings

    return listings.variants(method)


@cli.command(
    epilog="platform predict 3f2a --images photos --output clusters.csv",
)
@click.argument("run")
@click.option(
    "--images", required=True, type=click.Path(path_type=Path), metavar="PATH", help="Their folder."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=".csv, .parquet, .json or .arrow; without it a summary is shown.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="An HTML file with pictures of every cluster.",
)
@click.option("--skip-broken", is_flag=True, help="Leave unreadable images out and say which.")
@shared.store
@shared.data
@answering
def predict(**options: object) -> Answer:
    """Cluster new images by a finished run, with confidences.

    RUN is a run id of `platform results`, or its first letters.
    """
    from deep_clustering.platform.commands import predict as command

    return command.predict(_record(records.Predict, options))


@cli.command(
    epilog="platform results --where \"dataset = 'digits' and acc > 0.8\" --sort ece\n"
    "platform results --output runs.parquet",
)
@click.argument(
    "table",
    type=click.Choice(["runs", "epochs", "predictions", "probabilities", "stages"]),
    default="runs",
)
@click.option("--where", metavar="SQL", help="A condition on the columns.")
@click.option("--sort", metavar="COLUMN", help="Sort by this column; -COLUMN for descending.")
@click.option("--columns", metavar="A,B,...", help="Show these columns.")
@click.option("--study", metavar="NAME", help="Only the runs of this study.")
@click.option("--suite", metavar="NAME", help="Only the runs of this suite, with their variant.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N rows.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write .csv, .parquet, .json or .arrow instead of showing.",
)
@shared.store
@answering
def results(**options: object) -> Answer:
    """List, filter, sort and export what the store holds."""
    from deep_clustering.platform.commands import show as command

    return command.results(_record(records.Results, options))


@cli.command(epilog="platform verify\nplatform verify --store results --repair")
@click.option(
    "--repair",
    is_flag=True,
    help="Move damaged files to quarantine/ and say which commands compute them again.",
)
@shared.store
@answering
def verify(**options: object) -> Answer:
    """Read every file of a store, and say what is damaged or lost.

    The exit code is 4 when something is.
    """
    from deep_clustering.platform.commands import verify as command

    return command.verify(_record(records.Verify, options))


@cli.command(epilog="platform methods cdc")
@click.argument("method", required=False, shell_complete=shared.method_names)
@answering
def methods(method: str | None) -> Answer:
    """What can be trained.

    With a name, its fields, presets and differences of paper and release.
    """
    from deep_clustering.platform.commands import lists as listings

    return listings.methods(method)


@cli.command(epilog="platform datasets")
@shared.data
@answering
def datasets(data: Path | None) -> Answer:
    """The named datasets, and whether they are here."""
    from deep_clustering.platform.commands import lists as listings

    return listings.datasets(data)


@cli.command(epilog="platform spaces cdc")
@click.argument("method", required=False, shell_complete=shared.method_names)
@answering
def spaces(method: str | None) -> Answer:
    """What `platform tune` searches over, and its objectives."""
    from deep_clustering.platform.commands import lists as listings

    return listings.spaces(method)


@cli.command(epilog="platform columns runs")
@click.argument("table", required=False)
@answering
def columns(table: str | None) -> Answer:
    """The columns of the result tables, and what they mean."""
    from deep_clustering.platform.commands import lists as listings

    return listings.columns(table)


@cli.command(epilog="platform doctor")
@shared.store
@shared.data
@answering
def doctor(store: str | None, data: Path | None) -> Answer:
    """What this machine can do, and what is missing."""
    from deep_clustering.platform.commands import doctor as examination

    return examination.examine(store, data)


@cli.command(epilog='eval "$(platform completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "platform", "_PLATFORM_COMPLETE").source())
