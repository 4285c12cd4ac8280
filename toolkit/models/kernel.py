"""The compiled kernel of neighborhood attention: ``neighborhood.c`` through ctypes, and its gradient.

It is an optional part: installation compiles it where there is a C compiler. It has no threads of its own;
torch's do the work, because two pools of OpenMP threads hinder each other.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ABI = 1  # that of neighborhood.c
DTYPES = (torch.float32, torch.bfloat16)
INSTRUCTIONS = ("plain", "AVX2", "AVX-512")  # as neighborhood.c numbers them
JOBS = 4  # a thread, at least, where there are enough rows


class _Strides(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int64) for name in ("batch", "row", "column", "head"))


class _Map(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("strides", _Strides))


class _Task(ctypes.Structure):
    """`Task` of neighborhood.c."""

    _fields_ = (
        *((name, _Map) for name in ("q", "k", "v", "out", "d_out", "dq", "dk", "dv")),
        *((name, ctypes.c_void_p) for name in ("lse", "bias", "d_bias")),
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "heads", "dim", "window")),
        *((name, ctypes.c_int64) for name in ("band", "instructions", "half", "next", "failed")),
        ("scale", ctypes.c_double),
    )


def attend(q: Tensor, k: Tensor, v: Tensor, kernel_size: int, bias: Tensor | None, scale: float) -> Tensor:
    """Neighborhood attention by the kernel; arguments as in ``neighborhood_attention``."""
    table = None if bias is None else bias.to(torch.float32)
    out: Tensor = _Attention.apply(q, k, v, table, kernel_size, scale)  # type: ignore[no-untyped-call]
    return out


def refusal(q: Tensor, k: Tensor, v: Tensor, kernel_size: int = 1, bias: Tensor | None = None) -> str | None:
    """Say why the kernel cannot serve these tensors, or None where it can; it takes every window."""
    library, reason = load()
    if library is None:
        return reason
    tensors = (q, k, v)
    for tensor in tensors if bias is None else (*tensors, bias):
        if tensor.device.type != "cpu":
            return f"it works on CPUs, and a tensor is on {tensor.device.type}"
    for tensor in tensors:
        if tensor.dtype not in DTYPES or tensor.dtype != tensors[0].dtype:
            names = " and ".join(sorted({str(x.dtype).removeprefix("torch.") for x in tensors}))
            return f"it takes float32 or bfloat16, and got {names}"
    if torch.compiler.is_compiling():
        return "torch.compile cannot look into it"
    return None


@lru_cache(maxsize=1)
def load() -> tuple[ctypes.CDLL | None, str]:
    """Return the library, or None and the reason why there is none."""
    files = sorted(p for suffix in EXTENSION_SUFFIXES for p in Path(__file__).parent.glob(f"_kernel{suffix}"))
    if not files:
        return None, "it was not compiled when dinonat was installed"
    try:
        library = ctypes.CDLL(str(files[0]))
        library.na_abi.restype = library.na_best.restype = ctypes.c_int64
        version = library.na_abi()
    except (OSError, AttributeError) as error:
        return None, f"its library cannot be loaded ({error})"
    if version != ABI * 1000 + ctypes.sizeof(_Task):
        return None, "its library was compiled from another version of dinonat"
    for function in (library.na_forward, library.na_backward):
        function.argtypes, function.restype = [ctypes.POINTER(_Task)], None
    return library, ""


def instructions() -> int:
    """Return the best instruction set that kernel and machine share: an index into INSTRUCTIONS."""
    library, reason = load()
    assert library is not None, reason
    return int(library.na_best())


class _Attention(torch.autograd.Function):
    """Saves only the log of each query's sum beside inputs and output."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, kernel_size: int, scale: float
    ) -> Tensor:
        q, k, v = (_readable(x) for x in (q, k, v))
        bias = None if bias is None else bias.contiguous()
        batch, height, width, heads, _ = q.shape
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        lse = torch.empty((batch, heads, height, width), dtype=torch.float32)
        task = _task(q, k, v, out, lse, bias, kernel_size, scale)
        _run("na_forward", task)
        ctx.save_for_backward(q, k, v, out, lse, bias)
        ctx.kernel_size, ctx.scale = kernel_size, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, bias = ctx.saved_tensors
        batch, height, width, heads, dim = q.shape
        task = _task(q, k, v, out, lse, bias, ctx.kernel_size, ctx.scale)
        d_out = _readable(d_out)
        # One buffer laid out as a packed qkv: where q, k and v came from one, this is its gradient.
        packed = torch.empty((batch, height, width, 3, heads, dim), dtype=q.dtype)
        dq, dk, dv = packed.unbind(3)
        for name, tensor in {"dq": dq, "dk": dk, "dv": dv, "d_out": d_out}.items():
            setattr(task, name, _map(tensor))
        d_bias = None
        if bias is not None and ctx.needs_input_grad[3]:
            d_bias = torch.empty((batch, *bias.shape), dtype=torch.float32)
            task.d_bias = d_bias.data_ptr()
        _run("na_backward", task)
        return dq, dk, dv, None if d_bias is None else d_bias.sum(0), None, None


class _Unpack(torch.autograd.Function):
    """``qkv.unbind(3)``, whose gradient is not copied where the kernel has written it in one piece."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor) -> tuple[Tensor, ...]:
        return qkv.unbind(3)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        first = gradients[0]
        shape = (*first.shape[:3], 3, *first.shape[3:])
        if torch.is_grad_enabled() or not _in_one_piece(gradients, _strides_of(shape)):
            return torch.stack(gradients, 3)
        return first.as_strided(shape, _strides_of(shape))


def unpack(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split (B, H, W, 3, heads, head_dim) into q, k and v, without copies in either direction if possible."""
    if not qkv.requires_grad or refusal(qkv, qkv, qkv) is not None:
        q, k, v = qkv.unbind(3)
    else:
        q, k, v = _Unpack.apply(qkv)  # type: ignore[no-untyped-call]
    return q, k, v


def _in_one_piece(parts: tuple[Tensor, ...], strides: tuple[int, ...]) -> bool:
    """Whether the parts lie side by side as (B, H, W, 3, heads, head_dim) with these strides."""
    first = parts[0]
    return all(
        part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and part.storage_offset() == first.storage_offset() + number * strides[3]
        and part.stride() == strides[:3] + strides[4:]
        for number, part in enumerate(parts)
    )


def _strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()


def _readable(x: Tensor) -> Tensor:
    """Copy only where channels are not neighbours: other strides the kernel takes as they are."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _map(x: Tensor) -> _Map:
    return _Map(x.data_ptr(), _Strides(*x.stride()[:4]))


def _task(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    bias: Tensor | None,
    kernel_size: int,
    scale: float,
) -> _Task:
    batch, height, width, heads, dim = q.shape
    task = _Task(
        **{name: _map(x) for name, x in {"q": q, "k": k, "v": v, "out": out}.items()},
        lse=lse.data_ptr(),
        bias=None if bias is None else bias.data_ptr(),
        batch=batch,
        height=height,
        width=width,
        heads=heads,
        dim=dim,
        window=kernel_size,
        instructions=instructions(),
        half=q.dtype == torch.bfloat16,
        scale=scale,
    )
    # Bands re-read the rows around them, so they are as high as keeping every thread busy allows.
    bands = -(-JOBS * torch.get_num_threads() // max(1, batch * heads))
    task.band = max(8, -(-height // bands) + 1 & ~1)
    return task


def _run(name: str, task: _Task) -> None:
    """Let torch's threads take the task's jobs, or a few of Python's where torch's cannot be reached."""
    function = getattr(load()[0], name)
    threads = torch.get_num_threads()
    if threads == 1:
        function(ctypes.byref(task))
    elif (together := _torch_threads()) is not None:
        together(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(task), threads, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:  # ctypes lets go of the interpreter
            list(pool.map(lambda _: function(ctypes.byref(task)), range(threads)))
    if task.failed:
        raise MemoryError("neighborhood attention: no memory for the rows that one thread works on")


@lru_cache(maxsize=1)
def _torch_threads() -> Callable[..., None] | None:
    """Find the OpenMP runtime that torch itself has loaded: (function, argument, threads, flags)."""
    # A library's symbols are looked up in those that it needs, too, whatever their files are called.
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            together = ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        together.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        together.restype = None
        return together
    return None
