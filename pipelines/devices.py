"""Which device a command works on, and with how many threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.errors import UsageError


def device_named(name: str) -> torch.device:
    """Return the device, "auto" being the GPU where there is one; raise UsageError where it is not usable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"--set device={name}: not usable here ({first}). Take device=cpu.") from error


@contextmanager
def limited_to(count: int) -> Iterator[None]:
    """Let torch and the libraries under NumPy use ``count`` threads, and as many as before afterwards.

    The last digits of a sum depend on how many add it up, so one number decides for all of them.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
