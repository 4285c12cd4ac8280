import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from dinonat.pretraining import dino


def authors_loss(student: torch.Tensor, teacher: torch.Tensor, centre: torch.Tensor, crops: int, temp: float):
    """Algorithm 1 of Caron et al. 2021 with multi-crop, written out pair by pair in float64."""
    student, teacher = student.double().chunk(crops), teacher.double().chunk(2)
    total, terms = 0.0, 0
    for i, t in enumerate(teacher):
        p = torch.exp((t - centre.double()) / temp)
        p = p / p.sum(1, keepdim=True)
        for v, s in enumerate(student):
            if v == i:
                continue
            e = torch.exp(s / 0.1)
            total += float(-(p * torch.log(e / e.sum(1, keepdim=True))).sum(1).mean())
            terms += 1
    return total / terms


@pytest.mark.parametrize("crops", [2, 3, 10])
@pytest.mark.parametrize("temperature", [0.02, 0.04, 0.07])
def test_loss_is_the_authors(crops, temperature):
    generator = torch.Generator().manual_seed(crops)
    student = torch.rand(4 * crops, 32, generator=generator) * 2 - 1
    teacher = torch.rand(8, 32, generator=generator) * 2 - 1
    centre = torch.rand(32, generator=generator) * 0.1
    targets = dino.centred_targets(teacher, centre, temperature)
    found = dino.dino_loss(student.split(4), targets.chunk(2))
    assert found.item() == pytest.approx(authors_loss(student, teacher, centre, crops, temperature), rel=1e-5)


def test_loss_pulls_the_student_towards_the_teacher():
    # The sign that the printed algorithm of the DINONAT paper leaves out.
    targets = torch.tensor([[1.0, 0.0]])
    near, far = torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, 1.0]])
    assert dino.dino_loss([near, near], [targets, targets]) < dino.dino_loss([far, far], [targets, targets])


def test_loss_without_a_pair_is_refused():
    with pytest.raises(ValueError, match="no pair"):
        dino.dino_loss([torch.zeros(1, 2)], [torch.zeros(1, 2)])


def test_uniform_outputs_cost_the_logarithm_of_the_prototypes():
    flat = torch.zeros(3, 1024)
    targets = dino.centred_targets(flat, torch.zeros(1024), 0.04)
    assert dino.dino_loss([flat, flat], [targets, targets]).item() == pytest.approx(math.log(1024), abs=1e-5)
    assert dino.entropy(targets).item() == pytest.approx(6.9315, abs=1e-4)


def test_centre_moves_by_momentum_and_centring_undoes_a_constant_offset():
    logits = torch.rand(6, 8)
    centre = dino.next_centre(torch.ones(8), logits, 0.9)
    torch.testing.assert_close(centre, 0.9 + 0.1 * logits.mean(0))
    offset = torch.arange(8.0)
    torch.testing.assert_close(
        dino.centred_targets(logits + offset, centre + offset, 0.1), dino.centred_targets(logits, centre, 0.1)
    )


def test_sinkhorn_rows_are_distributions_and_prototypes_are_used_equally():
    logits = torch.rand(64, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    q = dino.sinkhorn_targets(logits, 0.05, iterations=200)
    torch.testing.assert_close(q.sum(1), torch.ones(64))
    torch.testing.assert_close(q.sum(0), torch.full((16,), 4.0), rtol=1e-3, atol=1e-3)
    # Balancing multiplies rows and columns by numbers: log q - logits / T is a sum of two vectors.
    rest = q.log() - logits / 0.05
    interaction = rest - rest.mean(0) - rest.mean(1, keepdim=True) + rest.mean()
    assert interaction.abs().max() < 1e-3


def test_sinkhorn_survives_the_coldest_temperature():
    q = dino.sinkhorn_targets(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), 0.01)
    assert torch.isfinite(q).all()


def test_region_loss_is_the_definition_written_out_token_by_token():
    generator = torch.Generator().manual_seed(3)
    tokens = [torch.randn(2, n, 6, generator=generator) for n in (4, 4, 3)]  # two global views, a local one
    logits = [torch.rand(2, n, 5, generator=generator) for n in (4, 4, 3)]
    teacher = [torch.rand(2, 4, 5, generator=generator).softmax(-1) for _ in range(2)]
    total, pairs = 0.0, 0
    for i, v in ((0, 1), (0, 2), (1, 0), (1, 2)):
        for b in range(2):
            for t in range(len(tokens[v][b])):
                cosines = [functional.cosine_similarity(tokens[v][b, t], key, dim=0) for key in tokens[i][b]]
                target = teacher[i][b, int(torch.stack(cosines).argmax())].double()
                e = (logits[v][b, t].double() / 0.1).exp()
                total += float(-(target * (e / e.sum()).log()).sum()) / (2 * len(tokens[v][b]))
        pairs += 1
    found = dino.region_loss(logits, teacher, tokens, tokens[:2])
    assert found.item() == pytest.approx(total / pairs, rel=1e-5)


def test_head_gives_cosines_and_ignores_the_length_of_its_prototypes():
    head = dino.Head(8, hidden=16, bottleneck=4, out_dim=10)
    x = torch.randn(5, 8)
    logits = head(x)
    assert logits.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        head.prototypes.weight.mul_(7)
    torch.testing.assert_close(head(x), logits)
    assert head(x.bfloat16()).dtype == torch.float32


def test_koleo_is_the_log_distance_to_the_nearest():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert dino.koleo(z).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-5)


def test_koleo_of_equal_features_has_finite_value_and_gradient():
    z = torch.ones(4, 3, requires_grad=True)
    loss = dino.koleo(z)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()


def test_teacher_moves_by_momentum_and_is_no_reference_to_the_student():
    student, teacher = nn.Linear(2, 2), nn.Linear(2, 2)
    before = [p.clone() for p in teacher.parameters()]
    dino.move_teacher(teacher, student, 0.75)
    for old, new, pupil in zip(before, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * pupil)
        assert new.data_ptr() != pupil.data_ptr()


def test_each_tensor_is_clipped_on_its_own():
    large, small = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    large.grad, small.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.3, 0.4])
    dino.clip_each([large, small], 3.0)
    torch.testing.assert_close(large.grad, torch.tensor([1.8, 2.4]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(small.grad, torch.tensor([0.3, 0.4]))


def test_one_dimensional_parameters_do_not_decay():
    moving, still = dino.decay_groups(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)))
    assert [p.ndim for p in moving["params"]] == [2]
    assert [p.ndim for p in still["params"]] == [1, 1, 1]
    assert still["weight_decay"] == 0


def test_entropy_of_known_distributions():
    assert dino.entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).item() == pytest.approx(math.log(2) / 2)
    assert functional.softmax(torch.zeros(4), 0).sum() == 1
