import time

import pytest
import torch
from torch import Tensor

from dinonat.errors import UsageError
from dinonat.pipelines import timing
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.timing import in_turn, machine, peak_memory, ratio, refusal, spent_on, threads

CPU = torch.device("cpu")


def test_candidates_run_in_turn_and_the_first_round_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, order = [0.0], list[str]()
    costs = {"a": iter([100.0, 1.0, 5.0, 2.0]), "b": iter([200.0, 8.0, 4.0, 6.0])}

    def spend(name: str) -> None:
        order.append(name)
        now[0] += next(costs[name])

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    works = {"a": lambda: spend("a"), "b": lambda: spend("b")}
    medians = {name: spent.wall for name, spent in in_turn(works, rounds=3, device=CPU).items()}
    assert medians == {"a": 2.0, "b": 6.0}
    assert "".join(order) == "ab" * 4


def test_seconds_of_the_cpu_do_not_count_waiting() -> None:
    spent = spent_on(lambda: time.sleep(0.05), CPU)
    assert spent.cpu < 0.05 <= spent.wall


def test_memory_is_that_of_the_worst_moment_beyond_what_was_held() -> None:
    held = torch.ones(30, 1_000_000)  # 120 MB, not counted

    def work() -> Tensor:
        return (torch.ones(50, 1_000_000) + 1).sum() + held[0, 0]  # 200 MB twice, at the same time

    peak = peak_memory(work, CPU)
    if peak is None:
        pytest.skip("this system does not tell the peak of the memory of a process")
    assert 380 < peak < 460
    assert 380 < (peak_memory(work, CPU) or 0) < 460  # what was freed is not used again unseen


def test_a_system_that_cannot_tell_memory_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing.sys, "platform", "darwin")
    assert peak_memory(lambda: None, CPU) is None


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
        assert machine(CPU).endswith("cpu, 1 thread")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_a_sentence(name: str) -> None:
    with pytest.raises(UsageError, match=f"--set device={name}: not usable here"):
        device_named(name)


def test_what_cannot_serve_says_why() -> None:
    def fail(error: Exception) -> None:
        raise error

    assert refusal(lambda: None, "x") is None
    assert refusal(lambda: fail(UsageError("no compiler")), "x") == "no compiler"
    said = refusal(lambda: fail(torch.OutOfMemoryError("CUDA")), "nat_mini (tiled)")
    assert said == "nat_mini (tiled): the device has not enough memory. Take a smaller batch."
    with pytest.raises(ValueError, match="else"):  # a defect is not hidden
        refusal(lambda: fail(ValueError("else")), "x")


def test_ratios_are_other_over_own() -> None:
    assert (ratio(3.0, 2.0), ratio(None, 2.0)) == (1.5, None)
