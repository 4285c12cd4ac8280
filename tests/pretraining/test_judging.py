from dinonat.pretraining.judging import Judged, best, is_worse


def points(*values) -> list[Judged]:
    """Points of a run from (step, rank, loss, knn), after one where it began."""
    return [
        Judged(0, rank=5.0, knn=50.0),
        *(Judged(step, rank, loss=loss, knn=knn) for step, rank, loss, knn in values),
    ]


def test_with_labels_the_best_by_neighbours_is_kept_and_of_equals_the_later():
    judged = points((10, 9, 5.0, 60.0), (20, 8, 4.0, 70.0), (30, 7, 3.0, 70.0), (40, 6, 2.0, 65.0))
    kept, why = best(judged)
    assert kept.step == 30
    assert "70.0 %" in why
    assert not is_worse(judged, kept)


def test_a_run_that_only_harms_is_worse_than_its_beginning_and_still_keeps_its_best():
    judged = points((10, 9, 5.0, 40.0), (20, 8, 4.0, 45.0))
    kept, _ = best(judged)
    assert kept.step == 20
    assert is_worse(judged, kept)


def test_without_labels_the_last_near_the_lowest_loss_is_kept():
    judged = points((10, 20, 6.0, None), (20, 20, 4.1, None), (30, 19, 4.0, None), (40, 30, 5.0, None))
    kept, why = best(judged)
    assert kept.step == 30  # the loss rose again after it
    assert "loss" in why
    assert not is_worse(judged, kept)  # nothing is known of it


def test_without_labels_a_teacher_whose_rank_has_fallen_is_not_kept():
    judged = points((10, 20, 4.0, None), (20, 40, 4.02, None), (30, 12, 4.0, None))
    kept, why = best(judged)
    assert kept.step == 20
    assert "fell to 12" in why


def test_a_negative_loss_is_compared_as_any_other():
    kept, _ = best(points((10, 20, -0.9, None), (20, 20, -1.0, None), (30, 20, 0.5, None)))
    assert kept.step == 20


def test_losses_of_other_views_are_not_compared():
    judged = [Judged(10, 20, loss=2.0), Judged(20, 20, loss=3.0, phase=1), Judged(30, 20, loss=2.9, phase=1)]
    assert best(judged)[0].step == 30


def test_without_any_loss_the_last_is_kept():
    kept, why = best([Judged(0, 5.0), Judged(10, 20.0), Judged(20, 9.0)])
    assert kept.step == 20
    assert "no loss" in why
