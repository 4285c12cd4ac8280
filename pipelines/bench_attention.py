"""`dinotool bench attention`: the backends of neighborhood attention beside each other, in one process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dinonat.errors import UsageError
from dinonat.models.kernel import unpack
from dinonat.models.neighborhood import neighborhood_attention
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.progress import track
from dinonat.pipelines.timing import in_turn, machine, peak_memory, ratio, refusal, threads
from dinonat.settings import Settings

NAIVE = "reference"  # gathers the keys and values of every query: what the others are compared with
SASA = "sasa"  # not neighborhood attention: the window is cut at the border instead of shifted
# "torch" is "dense" or "tiled" on every map: no row of its own
ON_CPU = (NAIVE, SASA, "tiled", "dense", "c")
ON_GPU = (NAIVE, SASA, "tiled", "dense", "natten")
DENSE_SIDE = 28  # on a CPU a dense product of a larger map takes seconds
HEAD_DIM, WINDOW = 32, 7
MAPS = ((56, 2), (28, 4), (14, 8), (7, 16))  # side and heads of the four stages of NAT-mini at 224 pixels
HEADS = (("forward", 10), ("ratio", 8), ("both", 10), ("ratio", 8), ("MB", 9))  # columns and their widths
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class BenchAttentionSettings(Settings):
    """What `dinotool bench attention` can be told."""

    backends: tuple[str, ...] | None = None  # None: all that can serve on the device
    rounds: int = Field(7, ge=1)
    batch: int = Field(8, ge=1)
    threads: int | None = Field(None, ge=1)
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class AttentionRow:
    """Medians in milliseconds an image of one backend on one map."""

    side: int
    heads: int
    bias: bool
    backend: str
    forward: float
    both: float  # forward and backward
    forward_ratio: float | None  # naive gather / this one
    both_ratio: float | None
    memory: float | None  # MB an image held at the worst moment of both, beyond inputs


@dataclass(frozen=True)
class BenchAttentionReport:
    """The table of `bench attention`."""

    machine: str
    threads: int
    batch: int
    dtype: str
    rounds: int
    rows: tuple[AttentionRow, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        heads = "".join(f"{head:>{width}}" for head, width in HEADS)
        return [
            *self.warnings,
            f"Milliseconds and MB an image, medians of {self.rounds} alternating rounds; batch {self.batch}, "
            f"{self.dtype}, window {WINDOW}, heads of {HEAD_DIM}; {self.machine}",
            f"  {'map':>7}{'heads':>6}{'bias':>6}  {'backend':10}{heads}",
            *(_line(row) for row in self.rows),
        ]


def _line(row: AttentionRow) -> str:
    ratios = [" " * 8 if each is None else f"{each:7.1f}x" for each in (row.forward_ratio, row.both_ratio)]
    size = f"{row.side}x{row.side}"
    memory = "" if row.memory is None else f"{row.memory:9.1f}"
    return (
        f"  {size:>7}{row.heads:6}{'yes' if row.bias else 'no':>6}  {row.backend:10}"
        f"{row.forward:10.3f}{ratios[0]}{row.both:10.3f}{ratios[1]}{memory}"
    )


def run_attention(settings: BenchAttentionSettings, workspace: Path) -> BenchAttentionReport:
    """Time forward, and forward with backward, of each backend on random maps, round after round.

    A backend that cannot serve is a warning. Raises UsageError where none can.
    """
    device = device_named(settings.device)
    backends = settings.backends or (ON_CPU if device.type == "cpu" else ON_GPU)
    cases = [(side, heads, bias) for side, heads in MAPS for bias in (False, True)]
    rows, warnings = list[AttentionRow](), dict[str, None]()  # a dict: each sentence once, in order
    with threads(settings.threads):
        for case in track(cases, "maps"):
            works, refused = _works(*case, backends=backends, settings=settings, device=device)
            warnings |= dict.fromkeys(refused)
            rows += _rows(*case, works=works, settings=settings, device=device)
        on, count = machine(device), torch.get_num_threads()
    if not rows:
        raise UsageError(next(iter(warnings), "bench attention: no backend was named."))
    return BenchAttentionReport(
        on, count, settings.batch, settings.dtype, settings.rounds, tuple(rows), tuple(warnings)
    )


@dataclass(frozen=True, eq=False)
class _Work:
    """One backend on one map."""

    forward: Callable[[], Tensor]
    inputs: tuple[Tensor, ...]  # whose gradients are wanted
    upstream: Tensor

    def infer(self) -> None:
        with torch.no_grad():
            self.forward()

    def learn(self) -> None:
        torch.autograd.grad(self.forward(), self.inputs, self.upstream)


def _works(
    side: int,
    heads: int,
    bias: bool,
    *,
    backends: Sequence[str],
    settings: BenchAttentionSettings,
    device: torch.device,
) -> tuple[dict[str, _Work], list[str]]:
    """Return what can be timed on one map, and why the rest cannot."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, TYPES[settings.dtype])

    qkv = noise(settings.batch, side, side, 3, heads, HEAD_DIM).requires_grad_()
    table = noise(heads, 2 * WINDOW - 1, 2 * WINDOW - 1).float().requires_grad_() if bias else None
    upstream = noise(settings.batch, side, side, heads, HEAD_DIM)
    inputs = (qkv,) if table is None else (qkv, table)
    works, refused = dict[str, _Work](), list[str]()
    for name in backends:
        if (name == "dense" and side > DENSE_SIDE and device.type == "cpu") or (name == SASA and bias):
            continue
        work = _Work(lambda name=name: _attend(qkv, table, name), inputs, upstream)  # type: ignore[misc]
        if reason := refusal(work.learn, f"Attention backend '{name}', {side}x{side} maps"):
            refused.append(reason)
        else:
            works[name] = work
    return works, refused


def _attend(qkv: Tensor, table: Tensor | None, backend: str) -> Tensor:
    q, k, v = unpack(qkv)
    if backend == SASA:
        return window_cut_at_border(q, k, v, WINDOW)
    return neighborhood_attention(q, k, v, WINDOW, bias=table, backend=backend)


def window_cut_at_border(q: Tensor, k: Tensor, v: Tensor, kernel_size: int) -> Tensor:
    """Stand-alone self-attention (Ramachandran et al. 2019): maps padded with zeros, padding masked.

    Shapes as in ``neighborhood_attention``. Every query looks at the window around it in views of the
    padded map, as convolutions do; at the border it sees fewer keys, a quarter of them in a corner.
    """
    half = kernel_size // 2
    k, v = (_windows(functional.pad(x, (0, 0, 0, 0, half, half, half, half)), kernel_size) for x in (k, v))
    inside = functional.pad(q.new_ones(1, *q.shape[1:3], 1, 1), (0, 0, 0, 0, half, half, half, half))
    scores = torch.einsum("byxhd,byxhdij->byxhij", q * q.shape[-1] ** -0.5, k)
    scores = scores.masked_fill(_windows(inside, kernel_size)[..., 0, :, :] == 0, float("-inf"))
    weights = scores.flatten(4).softmax(-1).view_as(scores)
    return torch.einsum("byxhij,byxhdij->byxhd", weights, v)


def _windows(x: Tensor, kernel_size: int) -> Tensor:
    """View (B, H + K - 1, W + K - 1, heads, D) as (B, H, W, heads, D, K, K)."""
    return x.unfold(1, kernel_size, 1).unfold(2, kernel_size, 1)


def _rows(
    side: int,
    heads: int,
    bias: bool,
    *,
    works: dict[str, _Work],
    settings: BenchAttentionSettings,
    device: torch.device,
) -> list[AttentionRow]:
    parts = {(name, part): getattr(work, part) for name, work in works.items() for part in ("infer", "learn")}
    medians = in_turn(parts, rounds=settings.rounds, device=device)
    images = {key: round(1000 * spent.wall / settings.batch, 4) for key, spent in medians.items()}
    rows = []
    for name, work in works.items():
        memory = peak_memory(work.learn, device)
        forward, both = images[name, "infer"], images[name, "learn"]
        rows.append(
            AttentionRow(
                side,
                heads,
                bias,
                name,
                forward,
                both,
                ratio(images.get((NAIVE, "infer")), forward),
                ratio(images.get((NAIVE, "learn")), both),
                None if memory is None else round(memory / settings.batch, 2),
            )
        )
    return rows
