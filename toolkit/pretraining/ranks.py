"""Processes that train one network together: torch.distributed, and what it comes to for one process.

Every function may be called where no group of processes was begun; it then speaks for this process alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed

from dinonat.errors import UsageError


def rank() -> int:
    """Return the number of this process, 0 for the one that writes and speaks."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """Return how many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def summed(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes."""
    if world() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total


def averaged(value: Tensor) -> Tensor:
    """Mean of a tensor over all processes."""
    return summed(value) / world()


def largest(value: Tensor) -> Tensor:
    """Elementwise maximum over all processes."""
    if world() == 1:
        return value
    most = value.clone()
    distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
    return most


def gathered(rows: Tensor) -> Tensor:
    """Rows (n, d) of all processes, those of the first one first: (world * n, d)."""
    if world() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world())]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def refuse_uneven(batch: int) -> None:
    """Raise UsageError where a batch cannot be shared evenly: means over processes would not be its means."""
    if batch % world():
        raise UsageError(
            f"batch={batch} cannot be shared evenly by {world()} processes. Take a multiple: --set batch="
            f"{batch + -batch % world()}."
        )


def wait() -> None:
    """Wait until every process is here."""
    if world() > 1:
        distributed.barrier()


def agreed(value: int) -> int:
    """Return what the first process says."""
    if world() == 1:
        return value
    said = [value]
    distributed.broadcast_object_list(said)
    return said[0]


@contextmanager
def together(device: str) -> Iterator[str]:
    """Join the processes that `torchrun` has begun, if it has; yield the device of this one.

    Raises UsageError where they ask for a device that cannot be shared so.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cuda", "cpu"):
        raise UsageError(
            f"device={device}: under torchrun each process takes a device of its own; say cuda or cpu."
        )
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    # The others wait while the first one reads a million images or judges; torchrun ends them if it fails.
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(days=2))
    try:
        yield device
    finally:
        distributed.destroy_process_group()
