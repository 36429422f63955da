"""How much accuracy do small changes of the images cost? White-box attacks (RUC, Fig. 9).

Every image that the run scored is moved, within eps of each of its values, so that the loss of its
own cluster grows: FGSM (Goodfellow et al., ICLR 2015) goes eps once along the sign of the gradient,
BIM (Kurakin et al., 2017) several times and stays inside. The loss is the cross-entropy of the
cluster that belongs to the image's class; clusters and classes are matched once, on the untouched
images (Hungarian method). An image whose class has no cluster is wrong before and after, and is
left alone. The network is in evaluation mode, and the predictor that is scored is the one attacked.

eps counts in normalised input units, without a border, unless `--units pixels` is said: then
in units of pixels scaled to [0, 1], in which the result stays. RUC names no unit; a drop of 29
points at 0.5 is plausible in the first one alone.

A result is a stage of the store, kind "attack", computed once. Beside the columns of every stage,
which tell of the run, it has

    attack_run, attack_name      the run, and what was asked for: "fgsm" or "bim", with parameters
                                 that are not the usual ones
    attack_head, attack_units, attack_steps, attack_step_size
    attack_eps                   list: the strengths
    attack_accuracies            list: accuracy at each of them
    attack_images                how many
    attack_accuracy              without attack
    attack_drop                  mean over the strengths of what is lost of it
    attack_drops                 list: that of each strength
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.markup import escape
from rich.table import Table

from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.evaluation.contract import (
    Context,
    Evaluation,
    Finished,
    Outcome,
    Prepared,
    Row,
    Subject,
    labelled,
)
from deep_clustering.platform.metrics.agreement import match
from deep_clustering.platform.request.configs import Value

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deep_clustering.methods._method import Model

_CHUNK = 500  # images attacked at a time
#: Attack -> its steps, and the strengths of RUC's Fig. 9.
_ATTACKS: dict[str, tuple[int, tuple[float, ...]]] = {
    "fgsm": (1, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "bim": (5, (0.01, 0.02, 0.03, 0.04, 0.05)),
}


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How an attack is made."""

    eps: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "Largest change of a value; repeatable. [default: those of RUC's Fig. 9]"
        },
    )
    units: Literal["normalised", "pixels"] = field(
        default="normalised",
        metadata={"help": "What --eps is a change of: the network's input, or pixels from 0 to 1."},
    )
    step_size: Literal["share", "whole"] = field(
        default="share",
        metadata={"help": "How far each of BIM's five steps goes: a fifth of --eps, or all of it."},
    )
    head: str | None = field(
        default=None, metadata={"help": "The head that is attacked and scored. [default: final]"}
    )


def prepare(subject: Subject, name: str, context: Context) -> Prepared:
    """The attack.

    Raises:
        InputError: no such attack, or a strength that is negative.
    """
    if name not in _ATTACKS:
        raise InputError(
            f"--attack: there is no attack '{name}'.{nearest(name, _ATTACKS)} Known: "
            f"{', '.join(_ATTACKS)}."
        )
    asked = context.parameters
    assert isinstance(asked, Parameters)
    if any(not value >= 0 for value in asked.eps):
        raise InputError(f"--eps: must not be negative, got {', '.join(map(str, asked.eps))}.")
    steps, usual = _ATTACKS[name]
    config: dict[str, Value] = {
        "name": name,
        "label": labelled(name, asked),
        "steps": steps,
        "eps": list(asked.eps or usual),
        "units": asked.units,
        "step_size": asked.step_size,
        "head": asked.head,
    }
    return Prepared(identity=config, config=config)


def compute(run: Finished) -> Outcome:
    """Accuracies under attack.

    Raises:
        InputError: the images have no labels, or the run has no such head.
    """
    import torch

    config = run.config
    encoder = finished.encoder_of(run.store, run.row)
    if encoder is not None:
        raise InputError(
            f"--attack changes the images that a network sees, and this run knows the features of "
            f"{encoder.name} alone; attack a run that trained its network."
        )
    dataset, labels = finished.labelled(run.store, run.row, run.root)
    images = finished.images_for(run.row, dataset.images, run.device, dataset.sizes)
    model = finished.restored(run.store, run.row, images, run.device, run.root)
    head = config["head"] or model.final_head
    if head not in model.heads:
        raise InputError(f"--head: the run has {', '.join(model.heads)}, got '{head}'.")
    assert isinstance(head, str)
    truth = labels[dataset.score]
    index = torch.from_numpy(dataset.score)
    predicted = model.predict(index)[head]
    clusters, clean = match(predicted.argmax(1).cpu().numpy(), truth, predicted.shape[1])
    own = torch.from_numpy(_cluster_of(clusters, truth)).to(run.device)
    eps, steps = config["eps"], config["steps"]
    assert isinstance(eps, list)
    assert isinstance(steps, int)
    border = _border(model, images.side, run.device) if config["units"] == "pixels" else None

    def accuracy(strength: float) -> float:
        right = 0
        for rows in torch.arange(len(index)).split(_CHUNK):
            mine = own[rows.to(run.device)]
            found = attacked(
                lambda x: model.logits(x)[head],
                model.clean(images.take(index[rows])),
                mine,
                eps=strength,
                steps=steps,
                whole=config["step_size"] == "whole",
                border=border,
            )
            with torch.no_grad():
                right += int((model.logits(found)[head].argmax(1) == mine).sum())
        return right / len(index)

    accuracies = [accuracy(float(strength)) for strength in eps]
    drops = [clean - value for value in accuracies]
    return Outcome(
        columns={
            "attack_run": run.row["run_id"],
            "attack_name": config["label"],
            "attack_head": head,
            "attack_units": config["units"],
            "attack_steps": steps,
            "attack_step_size": config["step_size"],
            "attack_images": len(index),
            "attack_eps": eps,
            "attack_accuracies": list(accuracies),
            "attack_drops": list(drops),
            "attack_accuracy": clean,
            "attack_drop": float(np.mean(drops)),
            f"{head}_attack_drop": float(np.mean(drops)),
        }
    )


def _border(model: "Model", side: int, device: "torch.device") -> "tuple[Tensor, Tensor]":
    """A black and a white picture of a side, pixels, as the network sees them: (3, S, S) each."""
    import torch

    from deep_clustering.methods.images.pictures import Pictures

    ends = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None]
    black, white = model.clean(Pictures(ends.expand(-1, 3, side, side).contiguous().to(device)))
    return black, white


def attacked(
    logits: "Callable[[Tensor], Tensor]",
    view: "Tensor",
    clusters: "Tensor",
    *,
    eps: float,
    steps: int = 1,
    whole: bool = False,
    border: "tuple[Tensor, Tensor] | None" = None,
) -> "Tensor":
    """Views (n, 3, S, S) changed by at most eps so that the loss of the own cluster grows.

    Args:
        logits: views -> (n, K), differentiable.
        view: normalised, which stays as it is.
        clusters: (n,) the own cluster, -1 leaves an image alone.
        eps: largest change of a value.
        steps: 1 is FGSM.
        whole: each step goes eps, and not its share of it.
        border: black and white views (3, S, S): eps counts in pixels scaled to [0, 1], and the
            result stays between them.
    """
    import torch
    import torch.nn.functional as F

    scale = torch.ones(()) if border is None else border[1] - border[0]
    reach = eps * scale.to(view)
    step = reach if whole else reach / steps
    x = view.detach()
    for _ in range(steps):
        x = x.clone().requires_grad_()
        loss = F.cross_entropy(logits(x), clusters, ignore_index=-1, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        x = x.detach() + step * gradient.sign()
        x = torch.maximum(torch.minimum(x, view + reach), view - reach)
        if border is not None:
            x = torch.maximum(torch.minimum(x, border[1]), border[0])
    return x


def _cluster_of(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The cluster (n,) of each image's class, -1 where it has none; `labels` (K,) of clusters."""
    table = np.full(max(truth.max(), labels.max()) + 1, -1)
    matched = np.flatnonzero(labels >= 0)
    table[labels[matched]] = matched
    own: np.ndarray = table[truth]
    return own


def heading(rows: Sequence[Row]) -> str:
    """Which run, and what it can do without attack."""
    first = rows[0]
    return (
        f"run {first['attack_run']} ({first['method']}): accuracy of {first['attack_images']:,.0f} "
        f"images of {first['dataset']} under attack, {first['attack_accuracy']:.3f} without"
    )


def table(rows: Sequence[Row]) -> Table:
    """A line for each strength."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("attack", "head", "eps", "accuracy", "drop"):
        shown.add_column(column, justify="left" if column in ("attack", "head") else "right")
    for line in (line for row in rows for line in _lines(row)):
        shown.add_row(*line)
    return shown


def _lines(row: Row) -> Iterator[tuple[str, ...]]:
    name = escape(str(row["attack_name"]))
    columns = (row["attack_eps"], row["attack_accuracies"], row["attack_drops"])
    eps, accuracies, drops = (c if isinstance(c, list) else [] for c in columns)
    for strength, accuracy, drop in zip(eps, accuracies, drops, strict=True):
        head = escape(str(row["attack_head"]))
        yield name, head, f"{strength:g}", f"{accuracy:.3f}", f"{drop:.3f}"


EVALUATION = Evaluation(
    summary="how much accuracy small changes of the images cost (FGSM, BIM)",
    metavar="fgsm|bim",
    help="An attack on the network; repeatable.",
    version=1,
    label="attack_name",
    run="attack_run",
    metrics={"accuracy_drop": "attack_drop"},
    prepare=prepare,
    compute=compute,
    heading=heading,
    table=table,
    notes=("drop: accuracy lost; clusters and classes are matched on the untouched images",),
    parameters=Parameters,
)
