"""How the bench commands measure: candidates in turn, round after round, on a CPU or a GPU; and memory."""

import ctypes
import gc
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from dinonat.errors import UsageError
from dinonat.pipelines.turns import Name, Spent, Work, medians_in_turn

MEGABYTE = 1e6


def machine(device: torch.device) -> str:
    """Say what is measured on: torch, the device and how many threads.

    >>> machine(torch.device("cpu")).startswith("torch ")
    True
    """
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"torch {torch.__version__}, {where}, {threads} thread{'s' if threads > 1 else ''}"


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` threads, and as many as before afterwards; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_turn(
    works: Mapping[Name, Work], *, rounds: int, device: torch.device, said: str = ""
) -> dict[Name, Spent]:
    """Return the medians of what each work takes: all run one after another, ``rounds`` times.

    As `turns.medians_in_turn`: a round before those is not counted, and ratios hold where single figures
    would not.
    """
    return medians_in_turn(works, rounds=rounds, spend=lambda work: spent_on(work, device), said=said)


def refusal(work: Work, what: str) -> str | None:
    """Run ``work`` once; say why it cannot serve here, or None where it did."""
    try:
        work()
    except UsageError as error:
        return str(error)
    except torch.OutOfMemoryError:
        return f"{what}: the device has not enough memory. Take a smaller batch."
    return None


def spent_on(work: Work, device: torch.device) -> Spent:
    """Run ``work`` and return what it took until the device was done."""
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    _wait(device)
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def ratio(other: float | None, own: float) -> float | None:
    """Say how many times as long the other takes; None where there is no other.

    >>> ratio(3.0, 2.0), ratio(None, 2.0)
    (1.5, None)
    """
    return None if other is None else round(other / own, 2)


def peak_memory(work: Work, device: torch.device) -> float | None:
    """Return the most memory in MB that ``work`` held beyond what was held before it; None if unknown.

    On CUDA what torch had allocated. On Linux the growth of the resident memory of this process, so
    scratch of libraries counts too; what is free is given back to the system before, or it would be
    used again unseen. Other systems do not tell.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / MEGABYTE
    if device.type != "cpu" or not _forget_peak():
        return None
    held = _resident("VmRSS")
    work()
    return max(0.0, (_resident("VmHWM") - held) / MEGABYTE)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _forget_peak() -> bool:
    """Give free memory back and start the count of the peak anew; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # man 5 proc: resets VmHWM
    except (OSError, AttributeError):  # another C library, or a sandbox
        return False
    return True


def _resident(key: str) -> float:
    """Return VmRSS, the resident memory, or VmHWM, its peak, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
