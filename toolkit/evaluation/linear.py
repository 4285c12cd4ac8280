"""The paper's linear classifier: augmented images, a frozen network, and SGD on the classifier alone.

After facebookresearch/dino, eval_linear.py: a random crop and a flip, SGD with momentum 0.9, no weight
decay, learning rate times batch / 256, a cosine to zero; the classifier of the last epoch counts. Its
learning rate is for features from a layer norm, which have norm sqrt(d): vectors are scaled so.
Two things differ. The rate is not given but one of several, each with classifiers of its own that are
trained side by side, and the one that does best on parts of the gallery that were left out is taken (where
recordings are left out anyway, on the other recordings, by classifiers that did not learn from those). And
the cosine moves with each step, not each epoch.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dinonat.embeddings.encode import network_vectors
from dinonat.embeddings.framing import valid_tokens
from dinonat.errors import UsageError
from dinonat.evaluation.classifiers import FOLDS, LinearTable, checked_task, rows_of
from dinonat.evaluation.pictures import Pictures
from dinonat.evaluation.samples import Sample, Task, folds_of
from dinonat.models.network import Network
from dinonat.neighbors.parts import Vectors, Weights, centred, features_text, joined, parse_features
from dinonat.pretraining.views import ViewPlan, cut, draw_views, normalised
from dinonat.proposals.leave_out import balanced_weights, recordings_of
from dinonat.records import Bool, Float32, Int64

SEEN = ("mean", "grid")  # parts that the network makes: those by hand have no weights to freeze
FEATURES = SEEN
RATES = (1e-3, 1e-2, 1e-1, 1.0)  # for a batch of 256; DINO's is the first
MOMENTUM = 0.9
JUDGES = 3  # parts of the gallery that are left out in turn to choose the rate, where nothing else is


@dataclass(frozen=True)
class Lesson:
    """How long and on what views a classifier is trained."""

    epochs: int
    size: int  # pixels a side of a view
    min_area: float = 0.35  # least share of a picture that a view shows
    batch: int = 64
    seed: int = 0
    balanced: bool = False  # weigh classes as if all had as many items
    rates: tuple[float, ...] = RATES

    @property
    def plan(self) -> ViewPlan:
        """A crop and a flip, and nothing else."""
        return ViewPlan(self.size, (self.min_area, 1.0), blur=0, solarise=0, jitter=0, grey=0)


def view_side(side: int, stride: int) -> int:
    """Return the side of a view: ``side``, in whole strides of the network.

    >>> view_side(224, 32), view_side(100, 32), view_side(20, 32)
    (224, 96, 32)
    """
    return max(1, round(side / stride)) * stride


def train(
    gallery: Sample,
    query: Sample,
    *,
    network: Network,
    pictures: Pictures,
    means: Vectors,
    lesson: Lesson,
    features: Sequence[str] = FEATURES,
    leave_out: str = "none",
    track: Callable[[Sequence[Int64]], Iterable[Int64]] = iter,
) -> LinearTable:
    """Train linear classifiers on augmented pictures of the gallery and ask them about the queries.

    ``pictures`` are those of the gallery's items, ``means`` part -> (d,) those of its set, which vectors
    of views are centred on. Queries are asked by their stored vectors, which no augmentation has touched.
    ``leave_out`` as in `logistic.classify`; ``track`` passes the steps on.
    """
    task = checked_task(gallery, query, leave_out)
    weights = {name: weights_of(name) for name in features}
    classroom = _Classroom(task, weights, lesson)
    generator = torch.Generator().manual_seed(lesson.seed)
    network.requires_grad_(False).eval()
    for rows in track(_batches(len(task.classes), lesson)):
        vectors = view_vectors(network, pictures, rows, lesson.plan, generator)
        classroom.learn(centred(vectors, {name: means[name] for name in vectors}), rows)
    about, winners = [], []
    for name, weighting in weights.items():
        winner, rates = classroom.answers(name)
        winners.append(winner)
        about.append((name, features_text(weighting), rates))
    return LinearTable(**vars(task.basis()), rows=rows_of(task, about, winners), folds=len(classroom.folds))


def weights_of(name: str) -> Weights:
    """Read the weights of parts that the network makes; UsageError for those made by hand."""
    weights = parse_features(name)
    if not set(weights) <= set(SEEN):
        raise UsageError(
            f"features={name!r}: with --augmented a classifier learns from what the network makes, "
            f"{' and '.join(SEEN)}; leave --augmented out for the parts made by hand."
        )
    return weights


def _batches(count: int, lesson: Lesson) -> list[Int64]:
    """Return the items of each step (batch,): every epoch all of them, in an order of its own."""
    generator = np.random.default_rng(lesson.seed)
    orders = [generator.permutation(count) for _ in range(lesson.epochs)]
    return [order[i : i + lesson.batch] for order in orders for i in range(0, count, lesson.batch)]


def seconds_per_epoch(network: Network, pictures: Pictures, lesson: Lesson) -> float:
    """Return about how long all views of an epoch take, from two batches of which the first only warms up."""
    generator = torch.Generator().manual_seed(lesson.seed)
    rows = np.arange(min(lesson.batch, len(pictures.aspects)))
    taken = 0.0
    for _ in range(2):
        start = time.perf_counter()
        view_vectors(network, pictures, rows, lesson.plan, generator)
        taken = time.perf_counter() - start
    return taken / len(rows) * len(pictures.aspects)


def view_vectors(
    network: Network, pictures: Pictures, rows: Int64, plan: ViewPlan, generator: torch.Generator
) -> dict[str, Float32]:
    """Return "mean" and "grid" (b, d) of one view of each picture of ``rows`` (b,), drawn anew."""
    device = next(network.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(pictures.pixels[rows])).to(device)
    draws = draw_views(torch.from_numpy(pictures.aspects[rows]), plan, generator)
    with torch.no_grad():
        tokens = network.tokens(normalised(cut(pixels, draws)))
        return network_vectors(tokens, valid_tokens((plan.size, plan.size), network.strides))


@dataclass(frozen=True)
class _Head:
    """One classifier: of a kind of vector, without the items that a mask leaves out, at one rate."""

    name: str
    mask: int
    rate: float
    layer: nn.Linear


class _Classroom:
    """All classifiers, trained side by side on the same vectors."""

    def __init__(self, task: Task, weights: dict[str, Weights], lesson: Lesson) -> None:
        self.task, self.weights, self.lesson = task, weights, lesson
        self.folds = list(folds_of(task.exclude, task.leave_out, most=FOLDS))
        self.kept = [kept for _, kept in self.folds]  # masks (n,) of the items that may be learned from
        if sum(not kept.all() for kept in self.kept) < 2:  # nothing yet to choose a rate on
            groups = recordings_of(task.gallery.items)[0]
            self.kept += [kept for _, kept in folds_of((groups, groups), "group", most=JUDGES)]
        self.worth = [torch.from_numpy(_worth(task.classes, kept, lesson.balanced)) for kept in self.kept]
        self.steps = lesson.epochs * math.ceil(len(task.classes) / lesson.batch)
        self.step = 0
        self.heads = list(self._heads())
        self.optimizer = torch.optim.SGD(
            [{"params": head.layer.parameters(), "lr": 0.0} for head in self.heads], momentum=MOMENTUM
        )

    def _heads(self) -> Iterable[_Head]:
        generator = torch.Generator().manual_seed(self.lesson.seed)
        for name, weights in self.weights.items():
            dim = sum(self.task.gallery.ready[part].shape[1] for part in weights)
            for mask in range(len(self.kept)):
                for rate in self.lesson.rates:
                    layer = nn.Linear(dim, len(self.task.names))
                    nn.init.normal_(layer.weight, std=0.01, generator=generator)
                    nn.init.zeros_(layer.bias)
                    yield _Head(name, mask, rate, layer)

    def learn(self, ready: Vectors, rows: Int64) -> None:
        """Take one step of every classifier on the vectors of the items ``rows`` (b,)."""
        share = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        for group, head in zip(self.optimizer.param_groups, self.heads, strict=True):
            group["lr"] = share * head.rate * self.lesson.batch / 256
        inputs = {name: _scaled(ready, weights) for name, weights in self.weights.items()}
        classes, at = torch.from_numpy(self.task.classes[rows]), torch.from_numpy(rows)
        losses = []
        for head in self.heads:
            worth = self.worth[head.mask][at]
            each = functional.cross_entropy(head.layer(inputs[head.name]), classes, reduction="none")
            losses.append((each * worth).sum() / worth.sum().clamp(min=1e-9))
        self.optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1

    def answers(self, name: str) -> tuple[Int64, tuple[float, ...]]:
        """Return the winner (m,) for each query, -1 where nothing could be learned, and each fold's rate."""
        queries, items = (
            _scaled(side.ready, self.weights[name]) for side in (self.task.query, self.task.gallery)
        )
        winner, rates = np.full(len(self.task.truth), -1), []
        for fold, (asked, kept) in enumerate(self.folds):
            rate = self._best(name, fold, items)
            rates.append(rate)
            if kept.any():
                winner[asked] = self._winners(name, fold, rate, queries)[asked]
        return winner, tuple(rates)

    def _best(self, name: str, fold: int, items: Tensor) -> float:
        """Return the rate whose classifiers do best on what they did not learn: that of other folds."""
        scores = np.zeros(len(self.lesson.rates))
        for mask, kept in enumerate(self.kept):
            if mask == fold or kept.all():
                continue
            held, worth = ~kept, balanced_weights(self.task.classes)
            for i, rate in enumerate(self.lesson.rates):
                right = self._winners(name, mask, rate, items) == self.task.classes
                scores[i] += worth[held & right].sum()
        return self.lesson.rates[int(scores.argmax())]

    def _winners(self, name: str, mask: int, rate: float, vectors: Tensor) -> Int64:
        (layer,) = (h.layer for h in self.heads if (h.name, h.mask, h.rate) == (name, mask, rate))
        with torch.no_grad():
            winner: Int64 = layer(vectors).argmax(dim=1).numpy()
        return winner


def _worth(classes: Int64, kept: Bool, balanced: bool) -> Float32:
    """Return what the loss of each item (n,) counts: nothing where it is left out."""
    worth = kept.astype(np.float64)
    if balanced and kept.any():
        worth[kept] = balanced_weights(classes[kept]) * kept.sum()
    return worth.astype(np.float32)


def _scaled(ready: Vectors, weights: Weights) -> Tensor:
    """Return joined vectors (n, d) of norm sqrt(d), as a layer norm makes them."""
    rows = joined(ready, weights)
    return torch.from_numpy(rows * np.float32(math.sqrt(rows.shape[1])))
