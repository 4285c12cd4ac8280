"""`dinotool bench model`: whole networks beside each other and beside timm's, in one process."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dinonat.errors import UsageError
from dinonat.models.catalog import build
from dinonat.models.nat import NAT
from dinonat.models.neighborhood import default_backend
from dinonat.models.timm_built import published_facts, timm_of
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.timing import in_turn, machine, peak_memory, refusal, threads
from dinonat.settings import Settings

Precision = Literal["float32", "bfloat16"]
Key = tuple[str, str, Precision]  # network, attention backend, precision

TRAINED_SIZE = 224  # of the peers; they are built for other sizes only where asked
COLUMNS = (
    *(("M params", 10), ("G mult-adds", 12), ("precision", 11)),
    *(("forward", 10), ("both", 10), ("MB", 8)),
)


class BenchModelSettings(Settings):
    """What `dinotool bench model` can be told."""

    network: str = "nat_mini"
    backends: tuple[str, ...] | None = None  # of attention; None: ("c", "torch"), on a GPU ("auto", "torch")
    peers: tuple[str, ...] = ("swin_tiny_patch4_window7_224", "vit_small_patch16_224")  # of timm
    size: int = Field(TRAINED_SIZE, ge=32)  # pixels a side
    batch: int = Field(8, ge=1)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    rounds: int = Field(5, ge=1)
    threads: int | None = Field(None, ge=1)
    device: str = "cpu"
    seed: int = 0


@dataclass(frozen=True)
class ModelRow:
    """One network, one attention path, one precision: medians in milliseconds an image."""

    network: str
    backend: str  # of neighborhood attention; "" for networks that have none
    precision: str
    parameters: int
    multiply_adds: int  # of a forward pass of one image
    forward: float
    both: float  # forward and backward
    memory: float | None  # MB held at the worst moment of both, for the batch, beyond network and images

    def line(self) -> str:
        """Text for people."""
        memory = "" if self.memory is None else f"{self.memory:8.0f}"
        return (
            f"  {_shown(self.network, self.backend):38}{self.parameters / 1e6:10.1f}"
            f"{self.multiply_adds / 1e9:12.2f}{self.precision:>11}"
            f"{self.forward:10.2f}{self.both:10.2f}{memory}"
        )


@dataclass(frozen=True)
class Comparison:
    """How many times as long a peer takes as our network."""

    peer: str
    network: str
    backend: str
    precision: str
    forward: float
    both: float

    def line(self) -> str:
        """Text for people."""
        return (
            f"  {self.peer} / {_shown(self.network, self.backend)}, {self.precision}: "
            f"forward {self.forward:.2f}x, both {self.both:.2f}x"
        )


@dataclass(frozen=True)
class BenchModelReport:
    """The table of `bench model`."""

    machine: str
    size: int
    batch: int
    rounds: int
    rows: tuple[ModelRow, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        heads = "".join(f"{head:>{width}}" for head, width in COLUMNS)
        return [
            *self.warnings,
            f"Milliseconds an image, medians of {self.rounds} alternating rounds; {self.size} px, batch "
            f"{self.batch}, random weights, no classifier, evaluation mode; {self.machine}",
            f"  {'network':38}{heads}",
            *(row.line() for row in self.rows),
            *(each.line() for each in self.comparisons),
        ]


def run_model(settings: BenchModelSettings, workspace: Path) -> BenchModelReport:
    """Time a network with each attention path, and the peers, forward and forward with backward.

    bfloat16 is autocast. Without timm, and for a backend that cannot serve, there is a warning. Raises
    UsageError for an unknown network, here or in timm, and where no backend can serve.
    """
    device = device_named(settings.device)
    own = build(settings.network, seed=settings.seed)
    peers, warnings = _peers(settings)
    networks = {name: each.eval().to(device) for name, each in {settings.network: own, **peers}.items()}
    generator = torch.Generator().manual_seed(settings.seed)
    images = torch.randn(settings.batch, 3, settings.size, settings.size, generator=generator).to(device)
    with threads(settings.threads):
        works, refused = _works(networks, images, settings)
        if not any(network == settings.network for network, _, _ in works):
            raise UsageError(next(iter(refused), "bench model: no backend or no precision was named."))
        rows = _rows(works, networks, images, settings.rounds)
        on = machine(device)
    return BenchModelReport(
        on,
        settings.size,
        settings.batch,
        settings.rounds,
        tuple(rows),
        tuple(_compared(rows, settings.network)),
        (*warnings, *refused),
    )


def _peers(settings: BenchModelSettings) -> tuple[dict[str, nn.Module], list[str]]:
    """Build timm's networks with weights by chance and without a classifier, where timm is installed."""
    peers: dict[str, nn.Module] = {}
    for name in settings.peers:
        try:
            timm = timm_of(name)
        except UsageError as error:
            return {}, [str(error)]
        published_facts(name)  # an unknown name is an error
        sizes = {} if settings.size == TRAINED_SIZE else {"img_size": settings.size}
        try:
            peers[name] = timm.create_model(name, pretrained=False, num_classes=0, **sizes)
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise UsageError(f"timm's {name} cannot be built for {settings.size} px ({error}).") from error
    return peers, []


@dataclass(frozen=True, eq=False)
class _Work:
    """One network with one attention path in one precision."""

    network: nn.Module
    images: Tensor
    backend: str
    half: bool

    def infer(self) -> Tensor:
        with torch.no_grad():
            return self._forward()

    def learn(self) -> object:
        out = self._forward()
        return torch.autograd.grad(
            out, list(self.network.parameters()), torch.ones_like(out), allow_unused=True
        )

    def _forward(self) -> Tensor:
        kind = self.images.device.type
        chosen = default_backend(self.backend) if self.backend else nullcontext()
        with chosen, torch.autocast(kind, torch.bfloat16, enabled=self.half):
            out: Tensor = self.network(self.images)
        return out


def _works(
    networks: Mapping[str, nn.Module], images: Tensor, settings: BenchModelSettings
) -> tuple[dict[Key, _Work], list[str]]:
    """Return what can be timed, and why the rest cannot."""
    backends = settings.backends or (("c" if images.device.type == "cpu" else "auto"), "torch")
    works, refused = dict[Key, _Work](), dict[str, None]()
    for precision in settings.precisions:
        for name, network in networks.items():
            for backend in backends if isinstance(network, NAT) else ("",):
                work = _Work(network, images, backend, precision == "bfloat16")
                if reason := refusal(work.learn, f"{_shown(name, backend)}, {precision}"):
                    refused[reason] = None
                else:
                    works[name, backend, precision] = work
    return works, list(refused)


def _rows(
    works: Mapping[Key, _Work], networks: Mapping[str, nn.Module], images: Tensor, rounds: int
) -> list[ModelRow]:
    parts: dict[tuple[Key, str], Callable[[], object]] = {}
    for key, work in works.items():
        parts |= {(key, "forward"): work.infer, (key, "both"): work.learn}
    taken = in_turn(parts, rounds=rounds, device=images.device, said="rounds")
    spent = {key: round(1000 * each.wall / len(images), 3) for key, each in taken.items()}
    counts = {name: multiply_adds(network, images[:1]) for name, network in networks.items()}
    rows = []
    for key, work in works.items():
        parameters = sum(parameter.numel() for parameter in work.network.parameters())
        memory = peak_memory(work.learn, images.device)
        rows.append(
            ModelRow(
                *key,
                parameters,
                counts[key[0]],
                spent[key, "forward"],
                spent[key, "both"],
                None if memory is None else round(memory, 1),
            )
        )
    return rows


def multiply_adds(network: nn.Module, image: Tensor) -> int:
    """Count the multiply-adds of products and convolutions in a forward pass of ``image`` (1, 3, H, W).

    Attention is counted by its definition: a window of keys for each query, whatever a backend computes.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), default_backend("reference"), sdpa_kernel(SDPBackend.MATH), counter:
        network(image)
    return int(counter.get_total_flops()) // 2


def _compared(rows: list[ModelRow], own: str) -> list[Comparison]:
    """Compare every peer with every path of our network in the same precision."""
    compared = []
    for ours in (row for row in rows if row.network == own):
        for peer in rows:
            if peer.network != own and peer.precision == ours.precision:
                forward, both = peer.forward / ours.forward, peer.both / ours.both
                which = (peer.network, own, ours.backend, ours.precision)
                compared.append(Comparison(*which, round(forward, 2), round(both, 2)))
    return compared


def _shown(network: str, backend: str) -> str:
    return f"{network} ({backend})" if backend else network
