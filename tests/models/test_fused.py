"""What NATTEN is asked for and when; a recording stand-in where it, or a GPU, is missing."""

from types import SimpleNamespace

import pytest
import torch

from dinonat.models import fused
from dinonat.models.neighborhood import neighborhood_attention
from dinonat.models.reference import defined


class Recording:
    """`natten` as far as it is used: notes the call and computes the definition of its documentation."""

    __version__ = "0.21.7"
    HAS_LIBNATTEN = True

    def __init__(self) -> None:
        self.calls: list[dict] = []

    def na2d(self, query, key, value, **options):
        self.calls.append({"shape": tuple(query.shape), **options})
        assert all(x.is_contiguous() for x in (query, key, value))
        return defined(query, key, value, options["kernel_size"], scale=options["scale"])


@pytest.fixture
def natten(monkeypatch) -> Recording:
    stand_in = Recording()
    monkeypatch.setattr(fused, "load", lambda: (stand_in, ""))
    return stand_in


def on_cuda(*shape: int, dtype: torch.dtype = torch.float32) -> SimpleNamespace:
    """As much of a tensor on a GPU as a refusal looks at."""
    return SimpleNamespace(device=torch.device("cuda"), shape=torch.Size(shape), dtype=dtype)


def asked(*shape: int, window: int = 7, bias=None, dtype: torch.dtype = torch.float32) -> str | None:
    x = on_cuda(*shape, dtype=dtype)
    return fused.refusal(x, x, x, window, bias)


def test_layout_scale_and_the_absence_of_bias_are_what_it_documents(natten):
    qkv = torch.randn(2, 9, 11, 3, 4, 8, dtype=torch.float64)  # parts of a packed tensor are strided
    q, k, v = qkv.unbind(3)
    found = fused.attend(q, k, v, 7, None, 0.3)
    torch.testing.assert_close(found, neighborhood_attention(q, k, v, 7, scale=0.3, backend="tiled"))
    assert natten.calls == [{"shape": (2, 9, 11, 4, 8), "kernel_size": 7, "scale": 0.3, "backend": None}]


def test_it_serves_what_it_can(natten):
    assert asked(2, 7, 9, 4, 32) is None
    assert asked(2, 56, 56, 2, 8, window=13, dtype=torch.bfloat16) is None


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((2, 7, 6, 4, 32), {}, "needs a window of 2 up to the map, and got 7 on 7x6"),
        ((2, 7, 7, 4, 32), {"window": 1}, "got 1 on 7x7"),
        ((2, 9, 9, 4, 20), {}, "head size that is a multiple of 8, and got 20"),
        ((2, 9, 9, 4, 32), {"bias": torch.zeros(4, 13, 13)}, "takes no position bias"),
        ((2, 9, 9, 4, 32), {"dtype": torch.float64}, "got float64"),
    ],
)
def test_what_it_cannot_serve_is_refused_in_words(natten, shape, options, words):
    assert words in asked(*shape, **options)


def test_without_compiled_kernels_it_is_not_used(natten):
    natten.HAS_LIBNATTEN = False
    assert asked(2, 9, 9, 4, 32) == "natten 0.21.7 is installed without its compiled kernels"


def test_an_old_one_and_a_broken_one_are_reasons(monkeypatch):
    fused.load.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "natten", SimpleNamespace(__version__="0.17.5"))
    assert fused.load()[1] == "natten 0.17.5 is older than 0.20"
    fused.load.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "natten", None)
    assert "not installed or cannot be loaded" in fused.load()[1]
    fused.load.cache_clear()


@pytest.mark.parametrize(
    ("version", "serves"),
    [
        ("0.22rc1", True),
        ("0.20.0.dev3+cu128", True),
        ("1.0a2", True),
        ("0.19rc9", False),
        ("unknown", False),
    ],
)
def test_releases_before_their_time_have_a_version_too(monkeypatch, version, serves):
    fused.load.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "natten", SimpleNamespace(__version__=version))
    library, reason = fused.load()
    fused.load.cache_clear()
    assert (library is not None) == serves
    assert (reason == "") == serves


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-3), (torch.bfloat16, 2e-2)])  # TF32 on CUDA
def test_the_real_one_computes_the_definition(device, dtype, limit):
    library, reason = fused.load()
    if library is None:
        pytest.skip(reason)
    # Without its compiled kernels, and on a CPU, another of its engines is as good a witness of the layout.
    engine = None if library.HAS_LIBNATTEN and device == "cuda" else "flex-fna"
    q, k, v = torch.randn(3, 2, 14, 20, 4, 32, device=device, dtype=dtype)
    exact = neighborhood_attention(q.double(), k.double(), v.double(), 7, scale=0.2, backend="reference")
    with torch.no_grad():
        found = fused.attend(q, k, v, 7, None, 0.2, engine=engine)
    assert found.dtype == dtype
    assert ((found.double() - exact).abs().max() / exact.abs().max()).item() < limit
