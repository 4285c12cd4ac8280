from pathlib import Path

from dinonat.embeddings.store import open_set
from dinonat.pipelines import workspace as places
from dinonat.pipelines.bench_labels import SET, BenchLabelsReport, LabelsRow, measure
from dinonat.pipelines.people import said


def test_a_row_is_measured_on_as_many_events_as_labels(tmp_path: Path) -> None:
    figures = measure(tmp_path, 50)
    row = LabelsRow(**figures)
    workspace = tmp_path / "workspace"
    assert len(open_set(places.set_folder(workspace, SET)).items) == 10
    events = said(workspace, SET)
    assert (len(events), set(events["action"])) == (50, {"accepted"})
    assert len(places.names(workspace, "export")) == 2  # what was accepted is another export
    assert min(row.export_first, row.accept, row.export_again, row.import_again, row.database) > 0
    assert "        50" in BenchLabelsReport((row,)).lines()[-1]
