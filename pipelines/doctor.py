"""`dinotool doctor`: what this machine has for dinotool, and what to do where something is wrong."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from dinonat.errors import WorkspaceError
from dinonat.pipelines import workspace as places

State = Literal["ok", "note", "problem"]
OUR_ENTRY_POINT = "dinonat.pipelines.cli"
GIGABYTE = 1 << 30
NATTEN_WORKS = "with its kernels"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All checks, in the order in which they matter."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether commands can work here; notes do not count."""
        return all(check.state != "problem" for check in self.checks)

    def lines(self) -> list[str]:
        """One line for each check, its advice below it."""
        width = max(len(check.name) for check in self.checks)
        text: list[str] = []
        for check in self.checks:
            text.append(f"{check.state:<8}{check.name:<{width}}  {check.found}")
            if check.advice:
                text.append(f"{'':<{8 + width}}  {check.advice}")
        problems = sum(check.state == "problem" for check in self.checks)
        text.append("Everything that commands need is here." if not problems else f"Problems: {problems}.")
        return text


def run(workspace: Path) -> DoctorReport:
    """Look at everything; never raises for what it finds."""
    return DoctorReport(
        (
            python_check(),
            command_check(),
            *torch_checks(),
            faiss_check(),
            natten_check(),
            *workspace_checks(workspace),
            data_check(),
        )
    )


def python_check() -> Check:
    """Which Python, and which dinonat in it."""
    version = platform.python_version()
    try:
        ours = metadata.version("dinonat")
    except metadata.PackageNotFoundError:
        return Check(
            "python", "problem", f"{version}, dinonat is not installed", "pip install . in its folder"
        )
    return Check("python", "ok", f"{version} ({sys.executable}), dinonat {ours}")


def command_check() -> Check:
    """Whose `dinotool` stands on PATH: another project on PyPI installs a command of that name too."""
    found = shutil.which("dinotool")
    if found is None:
        here = Path(sys.executable).parent
        return Check("dinotool", "note", "not on PATH", f"call {here / 'dinotool'}, or add {here} to PATH")
    try:
        script = Path(found).read_bytes()[:4096]
    except OSError:
        script = b""
    if OUR_ENTRY_POINT.encode() not in script:
        return Check(
            "dinotool",
            "note",
            f"{found} belongs to another project",
            "use the command `dinonat`, or `python -m dinonat.pipelines`: they are the same app",
        )
    if Path(found).parent.resolve() != Path(sys.executable).parent.resolve():
        return Check("dinotool", "note", f"{found} is of another environment than {sys.executable}")
    return Check("dinotool", "ok", found)


def torch_checks() -> Iterator[Check]:
    """Torch, threads, CPU features and what attention runs on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("torch", "problem", f"cannot be loaded: {error}", "install the CPU build: see README")
        return
    gpu = torch.cuda.is_available()
    found = f"{torch.__version__}, " + (torch.cuda.get_device_name() if gpu else "CPU only")
    idle = torch.version.cuda is not None and not gpu
    yield Check(
        "torch",
        "note" if idle else "ok",
        found,
        "a CUDA build without a GPU: the CPU build does the same and is 3 GB smaller" if idle else "",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads, features = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    yield Check(
        "cpu",
        "note" if threads > cores else "ok",
        f"{platform.machine()}, {features}, {threads} threads on {cores} cores",
        "more threads than cores are slower: --threads, or OMP_NUM_THREADS" if threads > cores else "",
    )
    yield from attention_checks(gpu)


def attention_checks(gpu: bool) -> Iterator[Check]:
    """Say what neighborhood attention ("auto") runs on: on the CPU, and on a GPU if there is one."""
    from dinonat.models import kernel

    library, reason = kernel.load()
    if library is None:
        yield Check(
            "attention",
            "note",
            f"CPU: PyTorch; the compiled kernel is not used: {reason}",
            "with gcc or clang there, install dinonat again: on a CPU attention is then about 4 times faster",
        )
    else:
        speed = kernel.INSTRUCTIONS[kernel.instructions()]
        found = f"CPU: compiled kernel ({speed}) for float32 and bfloat16, about 4 times faster than PyTorch"
        yield Check("attention", "ok", found)
    if gpu:
        fused = natten_check().found.endswith(NATTEN_WORKS)
        yield Check(
            "attention, GPU",
            "ok" if fused else "note",
            "NATTEN for maps from the window up without position bias, PyTorch for the others"
            if fused
            else "PyTorch for everything; networks without position bias (nat_nano) could use NATTEN",
            "" if fused else "pip install natten, a wheel that fits this torch and CUDA",
        )


def faiss_check() -> Check:
    """FAISS, loaded in a process of its own: beside torch it aborts on macOS."""
    names = sorted(
        {str(dist.metadata["Name"]) for dist in metadata.distributions() if _is_faiss(dist.metadata["Name"])}
    )
    if len(names) > 1:
        return Check(
            "faiss",
            "problem",
            f"{' and '.join(names)} are both installed and overwrite each other",
            f"pip uninstall {' '.join(names)}, then install the one you want",
        )
    command = [sys.executable, "-P", "-c", "import faiss; print(faiss.__version__)"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        why = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        return Check(
            "faiss", "problem", f"cannot be loaded: {why}", "pip install --force-reinstall faiss-cpu"
        )
    return Check("faiss", "ok", f"{child.stdout.strip()} ({names[0] if names else 'not from pip'})")


def _is_faiss(name: str | None) -> bool:
    return (name or "").lower().replace("_", "-").startswith("faiss")


def natten_check() -> Check:
    """NATTEN is optional; without its compiled kernels it is slower than our own attention."""
    if find_spec("natten") is None:
        return Check("natten", "ok", "not installed (optional, for CUDA only)")
    command = [sys.executable, "-P", "-c", "import natten; print(natten.__version__, natten.HAS_LIBNATTEN)"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    version, _, kernels = child.stdout.strip().partition(" ")
    if child.returncode or kernels != "True":
        return Check(
            "natten",
            "note",
            f"{version or 'installed'}, without its compiled kernels: not used",
            "install the wheel that fits this torch and CUDA, or uninstall natten",
        )
    return Check("natten", "ok", f"{version} {NATTEN_WORKS}")


def workspace_checks(root: Path) -> Iterator[Check]:
    """Say what the workspace holds, and room on its disk."""
    if not (root / places.MARKER).is_file():
        yield Check("workspace", "ok", f"{root}: none yet; the first command makes it")
    else:
        try:
            places.check_version(root / places.MARKER)
            yield Check("workspace", "ok", f"{root}: {'; '.join(_holdings(root))}")
        except WorkspaceError as error:
            yield Check("workspace", "problem", str(error))
    there = root.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / GIGABYTE
    advice = "embedding 10,000 images takes about 1 GB" if free < 2 else ""
    yield Check("disk", "note" if free < 2 else "ok", f"{free:.1f} GB free", advice)


def _holdings(root: Path) -> Iterator[str]:
    """Say how many there are of each kind and which is taken when none is named."""
    for kind in get_args(places.Kind):
        count = len(places.names(root, kind))
        try:
            yield f"{count} of {places.FOLDERS[kind]}, newest {places.newest(root, kind)}"
        except WorkspaceError:
            yield f"{count} of {places.FOLDERS[kind]}"


def data_check() -> Check:
    """Say where the real images are that the tests use."""
    folder = os.environ.get("DINOTOOL_DATA")
    if not folder:
        return Check("DINOTOOL_DATA", "ok", "not set: tests on real images will skip")
    if not Path(folder).is_dir():
        return Check("DINOTOOL_DATA", "note", f"{folder}: no such folder", "unset it or give the right one")
    return Check("DINOTOOL_DATA", "ok", folder)
