"""Which device a command works on."""

import torch

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
