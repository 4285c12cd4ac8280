"""`dinotool bench attention`: the backends of neighborhood attention beside each other, in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from dinonat.errors import UsageError
from dinonat.models.kernel import unpack
from dinonat.models.neighborhood import neighborhood_attention
from dinonat.pipelines.progress import track
from dinonat.settings import Settings

NAIVE = "reference"  # gathers the keys and values of every query: what the others are compared with
DENSE_SIDE = 28  # a dense product of a larger map takes seconds
HEAD_DIM, WINDOW = 32, 7
MAPS = ((56, 2), (28, 4), (14, 8), (7, 16))  # side and heads of the four stages of NAT-mini at 224 pixels
HEADS = (("forward", 10), ("ratio", 8), ("both", 10), ("ratio", 8))  # columns and their widths
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class BenchAttentionSettings(Settings):
    """What `dinotool bench attention` can be told."""

    backends: tuple[str, ...] = (NAIVE, "tiled", "dense", "c")
    rounds: int = Field(7, ge=1)
    batch: int = Field(8, ge=1)
    threads: int | None = Field(None, ge=1)
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


@dataclass(frozen=True)
class BenchAttentionReport:
    """The table of `bench attention`."""

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
            f"Milliseconds an image, medians of {self.rounds} alternating rounds; batch {self.batch}, "
            f"{self.dtype}, {self.threads} threads, window {WINDOW}, heads of {HEAD_DIM}",
            f"  {'map':>7}{'heads':>6}{'bias':>6}  {'backend':10}{heads}",
            *(_line(row) for row in self.rows),
        ]


def _line(row: AttentionRow) -> str:
    ratios = [f"{ratio:7.1f}x" if ratio else " " * 8 for ratio in (row.forward_ratio, row.both_ratio)]
    size = f"{row.side}x{row.side}"
    return (
        f"  {size:>7}{row.heads:6}{'yes' if row.bias else 'no':>6}  {row.backend:10}"
        f"{row.forward:10.2f}{ratios[0]}{row.both:10.2f}{ratios[1]}"
    )


def run_attention(settings: BenchAttentionSettings, workspace: Path) -> BenchAttentionReport:
    """Time forward, and forward with backward, of each backend on random maps, round after round.

    A backend that cannot serve here is a warning. Raises UsageError where none can.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads or before)
    try:
        usable, warnings = _usable(settings.backends)
        cases = [(side, heads, bias) for side, heads in MAPS for bias in (False, True)]
        rows = [
            row for case in track(cases, "maps") for row in _rows(*case, backends=usable, settings=settings)
        ]
        threads = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    return BenchAttentionReport(
        threads, settings.batch, settings.dtype, settings.rounds, tuple(rows), tuple(warnings)
    )


def _usable(backends: Sequence[str]) -> tuple[list[str], list[str]]:
    usable, warnings = [], []
    x = torch.zeros(1, 2, 2, 1, 8)
    for backend in backends:
        try:
            neighborhood_attention(x, x, x, 3, backend=backend)
            usable.append(backend)
        except UsageError as error:
            warnings.append(str(error))
    if not usable:
        raise UsageError(warnings[0] if warnings else "bench attention: no backend was named.")
    return usable, warnings


def _rows(
    side: int, heads: int, bias: bool, *, backends: Sequence[str], settings: BenchAttentionSettings
) -> list[AttentionRow]:
    generator = torch.Generator().manual_seed(0)
    dtype = TYPES[settings.dtype]

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    qkv = noise(settings.batch, side, side, 3, heads, HEAD_DIM).requires_grad_()
    table = noise(heads, 2 * WINDOW - 1, 2 * WINDOW - 1).float().requires_grad_() if bias else None
    upstream = noise(settings.batch, side, side, heads, HEAD_DIM)
    served = [name for name in backends if name != "dense" or side <= DENSE_SIDE]
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in served}
    for number in range(settings.rounds + 1):
        for name in served:
            times = _time(lambda name=name: _attend(qkv, table, name), [qkv, table], upstream)  # type: ignore[misc]
            if number:  # the first round makes plans and warms the caches
                seconds[name][0].append(times[0])
                seconds[name][1].append(times[1])
    medians = {
        name: [1000 * median(each) / settings.batch for each in both] for name, both in seconds.items()
    }
    naive: list[Any] = medians.get(NAIVE, [None, None])
    return [
        AttentionRow(
            side,
            heads,
            bias,
            name,
            *(round(value, 3) for value in own),
            *(round(slow / value, 1) if slow else None for slow, value in zip(naive, own, strict=True)),
        )
        for name, own in medians.items()
    ]


def _attend(qkv: Tensor, table: Tensor | None, backend: str) -> Tensor:
    q, k, v = unpack(qkv)
    return neighborhood_attention(q, k, v, WINDOW, bias=table, backend=backend)


def _time(
    work: Callable[[], Tensor], inputs: Sequence[Tensor | None], upstream: Tensor
) -> tuple[float, float]:
    """Return the seconds of one forward pass, and of one with its gradients."""
    with torch.no_grad():
        start = time.perf_counter()
        work()
        forward = time.perf_counter() - start
    start = time.perf_counter()
    torch.autograd.grad(work(), [one for one in inputs if one is not None], upstream)
    return forward, time.perf_counter() - start
