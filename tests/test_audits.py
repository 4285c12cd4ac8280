"""An audit goes out and its verdicts come back: they judge, and they do not vote."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat.embeddings.store import open_set
from dinonat.errors import WorkspaceError
from dinonat.files import short_hash
from dinonat.pipelines import audits, import_labels, selection
from dinonat.pipelines import workspace as places
from dinonat.pipelines.people import said
from dinonat.proposals.calibration import lower_bound
from dinonat.records import PROPOSAL_COLUMNS, as_table, read_proposals

IMAGES = 150
RIGHT_FROM = 0.4  # proposals with a larger score are right
pytestmark = pytest.mark.usefixtures("no_sync")


def score(i: int) -> float:
    return round((i * 37 % IMAGES + 0.5) / IMAGES, 5)


@pytest.fixture
def root(tmp_path: Path, made: Any) -> Path:
    """Return a workspace of 150 images with a proposal each, of which ten are left unknown."""
    names = [f"{i:03}.png" for i in range(IMAGES)]
    made.images(tmp_path / "images", names[:3])  # the others cannot be shown, which costs their picture
    rng = np.random.default_rng(0)
    rows = [made.image_row(name, recording=f"drive {i // 10}") for i, name in enumerate(names)]
    root: Path = places.create(tmp_path / "w")
    made.set(
        places.set_folder(root, "set1"), tmp_path / "images", rows=rows, vectors=rng.normal(size=(IMAGES, 8))
    )
    proposals = [
        {
            "image": name, "kind": "image", "label": "cell", "score": score(i), "item": name,
            "proposal": short_hash("run1", name), "advice": "unknown" if i % 15 == 0 else "review",
            **dict.fromkeys("xywh", np.nan),
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    made.proposals(places.proposals_folder(root, "run1"), proposals)
    places.remember(root, "set", "set1")
    places.remember(root, "proposals", "run1")
    return root


def answered(report: selection.SelectReport, verdict: Any) -> Path:
    """Fill in the sheet: ``verdict`` is a function of a row."""
    sheet = Path(report.files[1])
    with sheet.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    back = sheet.with_name("back.csv")
    with back.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "verdict": verdict(row)} for row in rows)
    return back


def truthful(row: dict[str, str]) -> str:
    right = float(row["score"]) > RIGHT_FROM
    return "yes" if right else "no" if float(row["score"]) < 0.2 else "diode"


def audited(root: Path, n: int = 100, verdict: Any = truthful) -> import_labels.ImportReport:
    report = selection.run(selection.SelectSettings(audit=n), root)
    return import_labels.run(import_labels.ImportSettings(file=answered(report, verdict), who="Ada"), root)


def table_of(root: Path) -> pd.DataFrame:
    return read_proposals(places.proposals_folder(root, "run1") / "proposals.parquet")


def applied(root: Path, table: pd.DataFrame, **more: Any) -> tuple[pd.DataFrame, list[str]]:
    return audits.applied(table, root, open_set(places.set_folder(root, "set1")), **more)


def test_an_audit_is_a_sample_of_what_is_to_be_reviewed_and_its_verdicts_come_back(root: Path) -> None:
    report = selection.run(selection.SelectSettings(audit=100), root)
    table = table_of(root).set_index("image")
    assert len(report.chosen) == 100
    assert set(table.loc[list(report.chosen), "advice"]) == {"review"}
    assert report.recordings == 15
    assert report.candidates == 140
    brought = import_labels.run(
        import_labels.ImportSettings(file=answered(report, truthful), who="Ada"), root
    )
    scores = table.loc[list(report.chosen), "score"]
    assert brought.format == "audit"
    assert (brought.events, brought.accepted) == (100, int((scores > RIGHT_FROM).sum()))
    assert (brought.removed, brought.relabelled) == (
        int((scores < 0.2).sum()),
        int(((scores >= 0.2) & (scores <= RIGHT_FROM)).sum()),
    )
    events = said(root, "set1")
    assert audits.apart(events).all()
    assert set(events["origin"].str.split(":").str[1]) == {report.name}
    again = import_labels.run(
        import_labels.ImportSettings(file=Path(report.folder) / "back.csv", who="Ada"), root
    )
    assert again.events == 0


def test_the_next_audit_asks_about_others_until_none_are_left(root: Path) -> None:
    first = selection.run(selection.SelectSettings(audit=100), root)
    import_labels.run(import_labels.ImportSettings(file=answered(first, truthful)), root)
    second = selection.run(selection.SelectSettings(audit=100), root)
    assert not set(first.chosen) & set(second.chosen)
    assert len(second.chosen) == 40
    assert any("Only 40" in line for line in second.lines())
    import_labels.run(import_labels.ImportSettings(file=answered(second, truthful)), root)
    with pytest.raises(WorkspaceError, match="nobody has answered"):
        selection.run(selection.SelectSettings(audit=100), root)


def test_clusters_that_nobody_named_cannot_be_audited(root: Path) -> None:
    file = places.proposals_folder(root, "run1") / "proposals.parquet"
    table_of(root).assign(cluster=np.int32(1)).to_parquet(file)
    with pytest.raises(WorkspaceError, match="nobody has named"):
        selection.run(selection.SelectSettings(audit=5), root)


def test_a_sheet_that_was_filled_in_where_it_lies_is_never_written_over(root: Path) -> None:
    first = selection.run(selection.SelectSettings(audit=20), root)
    sheet = Path(first.files[1])
    sheet.write_text(sheet.read_text() + "\n")
    second = selection.run(selection.SelectSettings(audit=20), root)
    assert second.files == first.files
    assert sheet.read_text().endswith("\n\n")
    assert "left as it is" in second.warnings[0]


def test_a_sheet_and_its_page_never_ask_about_different_proposals(root: Path) -> None:
    first = selection.run(selection.SelectSettings(audit=20, name="mine"), root)
    with pytest.raises(WorkspaceError, match="asks about other proposals"):
        selection.run(selection.SelectSettings(audit=20, name="mine", seed=1), root)
    own = selection.run(selection.SelectSettings(audit=20), root)
    file = places.proposals_folder(root, "run1") / "proposals.parquet"
    table_of(root).assign(label="diode").to_parquet(file)  # made anew from other labels
    with pytest.raises(WorkspaceError, match="asks about other proposals"):
        selection.run(selection.SelectSettings(audit=20, name="mine"), root)
    anew = selection.run(selection.SelectSettings(audit=20), root)
    assert first.chosen == own.chosen == anew.chosen
    assert own.name != anew.name
    keys = {key_of(Path(report.files[0])) for report in (first, own, anew)}
    assert len(keys) == 3  # what a browser remembers of one page does not answer another


def test_the_next_commands_name_the_set_where_it_is_not_the_newest(root: Path) -> None:
    lines = selection.run(selection.SelectSettings(audit=20), root).lines()
    assert "20 of 140 proposals of 15 recordings, drawn at random; 0 labelled" in "\n".join(lines)
    assert "`dinotool propose-labels --precision" in lines[-1]
    places.remember(root, "set", "another")
    lines = selection.run(selection.SelectSettings(audit=20, set="set1"), root).lines()
    assert "audit.csv --set-name set1`, then `dinotool propose-labels set1 --precision" in lines[-1]


def key_of(page: Path) -> str:
    return page.read_text().split('"dinotool-audit-" + ')[1].split(";")[0]


def test_above_the_threshold_proposals_are_accepted_and_audited_ones_leave_the_table(root: Path) -> None:
    audited(root)
    table = table_of(root)
    done, sentences = applied(root, table, precision=0.9)
    assert list(done.columns) == list(PROPOSAL_COLUMNS)
    assert len(done) == 50
    assert not set(done["image"]) & set(said(root, "set1")["image"])
    accepted = done[done["advice"] == "accept"]
    assert len(accepted) > 15
    assert (accepted["score"] > RIGHT_FROM - 0.1).all()
    assert set(done.loc[done["score"] < 0.2, "advice"]) <= {"review", "unknown"}
    known = done["advice"] != "unknown"
    assert done.loc[~known, "probability"].isna().all()
    ranked = done[known].sort_values("score")["probability"]
    assert ranked.is_monotonic_increasing
    assert ranked.iloc[0] < 0.5 < 0.9 < ranked.iloc[-1]
    assert f"Accepted are {len(accepted)} of {int(known.sum())} labels of whole images" in sentences[0]
    facts = json.loads((places.proposals_folder(root, "run1") / audits.CALIBRATION).read_text())["kinds"][0]
    assert facts["audited"] == 100
    assert facts["bound"] == lower_bound(facts["tested"] - facts["wrong"], facts["tested"]) >= 0.9
    assert sum(each["items"] for each in facts["bins"]) == 100


def test_too_few_answers_accept_nothing_and_say_how_many_more_are_needed(root: Path) -> None:
    audited(root, 20)
    done, sentences = applied(root, table_of(root), precision=0.95)
    assert "accept" not in set(done["advice"])
    assert "needs 59 answers that are all right, or 93 with a wrong one" in sentences[0]
    assert "`dinotool select --audit 39`" in sentences[0]
    assert done["probability"].notna().any()


def test_where_the_best_scores_are_wrong_nothing_is_accepted(root: Path) -> None:
    audited(root, 100, lambda row: "no" if float(row["score"]) > 0.8 else "yes")
    done, sentences = applied(root, table_of(root), precision=0.9)
    assert "accept" not in set(done["advice"])
    assert "best scores are wrong" in sentences[0]


def test_without_an_audit_nothing_changes(root: Path) -> None:
    table = table_of(root)
    done, sentences = applied(root, table)
    pd.testing.assert_frame_equal(done, table)
    assert not sentences


def test_a_later_run_is_judged_by_what_it_says_itself(root: Path) -> None:
    audited(root)
    events = said(root, "set1")
    later = table_of(root).assign(
        run="run2", proposal=lambda rows: [short_hash("run2", item) for item in rows["item"]], label="diode"
    )
    right = audits.judged(later, events)
    assert right.notna().sum() == 100
    relabelled = events.loc[events["action"] == "relabelled", "image"]
    assert set(later.loc[right == True, "image"]) == set(relabelled)  # noqa: E712  of a series


def test_audited_items_that_vote_or_were_labelled_otherwise_are_missed_and_it_is_said(root: Path) -> None:
    audited(root)
    events, table = said(root, "set1"), table_of(root)
    gone = pd.concat([events[events["action"] == action][:5] for action in ("accepted", "rejected")])
    _, sentences = applied(root, table[~table["image"].isin(gone["image"])].reset_index(drop=True))
    assert "10 of 100 audited items are no proposals of this run" in sentences[-1]
    assert "5 of these were wrong, so the others look better than they are" in sentences[-1]
    standing = events.loc[events["action"] != "rejected", "image"]
    voting = table[~table["image"].isin(standing)].reset_index(drop=True)
    done, sentences = applied(root, voting)  # what is left is all wrong: no yardstick
    assert sentences == [audits.VOTES.format(count=100)]
    pd.testing.assert_frame_equal(done, voting)


def test_images_and_regions_are_judged_each_by_their_own(root: Path) -> None:
    audited(root, 100)
    regions = table_of(root).assign(
        kind="region", item=lambda rows: "r" + rows["item"], proposal=lambda rows: "r" + rows["proposal"]
    )
    both = as_table(pd.concat([table_of(root), regions]), PROPOSAL_COLUMNS)
    done, sentences = applied(root, both, precision=0.9)
    assert set(done.loc[done["advice"] == "accept", "kind"]) == {"image"}
    assert done.loc[done["kind"] == "region", "probability"].isna().all()
    assert len(sentences) == 1
    assert done["kind"].tolist() == ["image"] * 50 + ["region"] * 150
