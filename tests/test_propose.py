import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dinonat.embeddings.store import EmbeddingSet, SetWriter, open_set
from dinonat.embeddings.warmth import UNMEASURED
from dinonat.errors import DinonatError, LabelError, UsageError, WorkspaceError
from dinonat.files import short_hash
from dinonat.formats.catalog import read_labels
from dinonat.neighbors import parts
from dinonat.neighbors.parts import fit_axes, joined
from dinonat.pipelines import labelled, propose_graph, workspace
from dinonat.pipelines.propose import ProposeSettings, run
from dinonat.records import ITEM_COLUMNS, PARTS, PROPOSAL_COLUMNS, as_table, read_proposals

CLASSES = ("bicycle", "car", "person")
DIM = 12


def vector(kind_of_thing: int, generator: np.random.Generator) -> np.ndarray:
    """A thing looks like its class; class 3 is the ground."""
    return 2 * np.eye(DIM)[kind_of_thing] + 0.25 * generator.normal(size=DIM)


def row(image: str, kind: str, box: tuple[float, ...], **more: object) -> dict[str, object]:
    x, y, w, h = box
    return {
        "item": short_hash(image, kind, list(box)), "image": image, "kind": kind,
        "x": x, "y": y, "w": w, "h": h, "width": 100, "height": 80, "objectness": 0.5,
        "mask_counts": [], "source": "ncut", "label": "", "recording": "", "status": "ok", "reason": "",
        "sha256": "", "unit": "grey", "prepare": "percentile", "lo": 0.0, "hi": 1.0, **UNMEASURED, **more,
    }  # fmt: skip


def write_set(
    root: Path, name: str, rows: list[dict[str, object]], vectors: list[np.ndarray]
) -> EmbeddingSet:
    folder = workspace.set_folder(workspace.create(root), name)
    making = {"model": "abc", "settings": {"size": 96}, "root": "nowhere", "n": len(rows)}
    writer = SetWriter(folder, making, notes={"weights": "run1"})
    half = np.float32(vectors).reshape(-1, DIM)
    writer.write(0, as_table(rows, ITEM_COLUMNS), dict.fromkeys(PARTS, half))
    writer.finish(shards=1)
    if labelled.MARK not in name:
        workspace.remember(root, "set", name)
    return open_set(folder)


def truth(n_images: int, seed: int = 0) -> list[tuple[str, int, tuple[float, ...]]]:
    """Four things an image: (image, class, box), the fourth being ground."""
    generator = np.random.default_rng(seed)
    return [
        (f"day/{n:02}.png", int(c), (float(22 * place), float(10 + generator.integers(9)), 18.0, 20.0))
        for n in range(n_images)
        for place, c in enumerate([*generator.integers(0, 3, 3), 3])
    ]


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A set of 12 images with 4 regions each; boxes are embedded here instead of in a child."""
    generator, root, things = np.random.default_rng(1), tmp_path / "workspace", truth(12)
    rows, vectors = [], []
    for image in sorted({image for image, _, _ in things}):
        rows.append(row(image, "image", (0, 0, 100, 80), recording=f"drive {int(image[4:6]) // 3}"))
        vectors.append(vector(int(image[4:6]) % 3, generator))
        for _, c, box in (thing for thing in things if thing[0] == image):
            rows.append(row(image, "region", box, recording=f"drive {int(image[4:6]) // 3}"))
            vectors.append(vector(c, generator))
    known = write_set(root, "thermal", rows, vectors)
    asked: list[pd.DataFrame] = []

    def embed_boxes(
        known: EmbeddingSet, labels: pd.DataFrame, *, workspace: Path, folder: Path
    ) -> EmbeddingSet:
        asked.append(labels)
        own = np.random.default_rng(2)
        given = [
            row(image, "region", tuple(box), label=label)
            for image, label, *box in labels[["image", "label", "x", "y", "w", "h"]].itertuples(index=False)
        ]
        looks = [vector(CLASSES.index(each["label"]), own) for each in given]  # type: ignore[arg-type]
        return write_set(root, f"thermal{labelled.MARK}{len(asked):06}", given, looks)

    monkeypatch.setattr(labelled, "embed_boxes", embed_boxes)
    return SimpleNamespace(root=root, known=known, things=things, asked=asked)


def write_labels(path: Path, lines: list[str], header: str = "image,label,x,y,w,h") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def boxes(street: SimpleNamespace, images: int) -> list[str]:
    return [
        ",".join(map(str, (image, CLASSES[c], *box)))
        for image, c, box in street.things
        if c < 3 and int(image[4:6]) < images
    ]


def test_a_few_labelled_boxes_label_the_rest(street: SimpleNamespace, tmp_path: Path) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 4))
    report = run(ProposeSettings(labels=file), street.root)
    table = read_proposals(report.file)
    assert list(table.columns) == list(PROPOSAL_COLUMNS)
    assert len(table) == 8 * 4  # the regions of the images without labels, and of no other
    assert set(table["image"]) == {f"day/{n:02}.png" for n in range(4, 12)}
    class_of = {short_hash(image, "region", list(box)): c for image, c, box in street.things}
    for _, each in table.iterrows():
        c = class_of[each["item"]]
        if each["advice"] == "review":
            assert each["label"] == CLASSES[c]
        else:
            assert c == 3 or "alike" in each["reason"] or "close" in each["reason"]
    ground = table[[class_of[item] == 3 for item in table["item"]]]
    assert (ground["advice"] == "unknown").all()
    assert (ground["label"] == "").all()  # background is no class of an annotation file
    assert ground["reason"].str.startswith("looks like the background").all()
    assert report.labelled == {**{name: report.labelled[name] for name in CLASSES}, "background": 4}
    assert report.unknown + sum(report.review.values()) == len(table)
    assert (table["advice"] == "review").sum() >= 18
    assert report.compared
    assert set(table["features"]) == {report.features}
    assert (table["run"] == report.run).all()
    known = {item for each in table["neighbours"] for item in each}
    assert all(isinstance(item, str) for item in known)


def test_the_same_inputs_give_the_same_run_and_bytes(street: SimpleNamespace, tmp_path: Path) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 4))
    first = run(ProposeSettings(labels=file), street.root)
    bytes_of = {path.name: path.read_bytes() for path in Path(first.folder).iterdir()}
    again = run(ProposeSettings(labels=file), street.root)
    assert (again.run, again.already_done, len(street.asked)) == (first.run, True, 1)
    assert "already" in again.lines()[-1]
    assert first.lines() == again.lines()[:-1]
    redone = run(ProposeSettings(labels=file, again=True), street.root)
    assert not redone.already_done
    assert {path.name: path.read_bytes() for path in Path(first.folder).iterdir()} == bytes_of
    # The order of the rows of a file says nothing; another k does.
    assert run(ProposeSettings(labels=file, k=5), street.root).run != first.run


def test_a_named_run_of_other_labels_is_refused(street: SimpleNamespace, tmp_path: Path) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 4))
    assert run(ProposeSettings(labels=file, name="mine"), street.root).run == "mine"
    with pytest.raises(WorkspaceError, match="--name"):
        run(ProposeSettings(labels=file, name="mine", k=3), street.root)
    assert run(ProposeSettings(labels=file, name="mine", k=3, again=True), street.root).run == "mine"


def test_a_run_killed_before_its_table_is_redone(street: SimpleNamespace, tmp_path: Path) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 4))
    report = run(ProposeSettings(labels=file), street.root)
    whole = Path(report.file).read_bytes()
    Path(report.file).unlink()  # meta.json is written before it
    assert not run(ProposeSettings(labels=file), street.root).already_done
    assert Path(report.file).read_bytes() == whole


def test_without_background_the_other_regions_of_labelled_images_are_asked_about(
    street: SimpleNamespace, tmp_path: Path
) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 4))
    report = run(ProposeSettings(labels=file, background=False), street.root)
    assert "background" not in report.labelled
    assert report.proposals == 8 * 4 + 4  # a labelled box is not proposed again


def test_image_labels_label_the_other_images(street: SimpleNamespace, tmp_path: Path) -> None:
    rows = [f"{n:02}.png,scene {n % 3}" for n in range(6)]  # by file name: there is one folder
    file = write_labels(tmp_path / "labels.csv", [*rows, "00.png,wet"], header="image,label")
    report = run(ProposeSettings(labels=file), street.root)
    table = read_proposals(report.file)
    assert (table["kind"] == "image").all()
    assert table["image"].tolist() == [f"day/{n:02}.png" for n in range(6, 12)]
    sure = table[table["label"] != "wet"]
    assert (sure["label"] == [f"scene {int(image[4:6]) % 3}" for image in sure["image"]]).all()
    assert report.labelled["wet"] == 1
    assert not street.asked


def test_images_and_boxes_together(street: SimpleNamespace, tmp_path: Path) -> None:
    rows = [*boxes(street, 3), *(f"day/{n:02}.png,scene {n % 3},,,," for n in range(6))]
    report = run(ProposeSettings(labels=write_labels(tmp_path / "labels.csv", rows)), street.root)
    table = read_proposals(report.file)
    assert set(table["kind"]) == {"image", "region"}
    kept = read_labels(Path(report.folder) / labelled.GIVEN)  # what `export` writes beside the proposals
    assert (kept["x"].isna().sum(), len(kept)) == (6, 9 + 6)
    place = {item: n for n, item in enumerate(street.known.items["item"])}
    assert [place[item] for item in table["item"]] == sorted(place[item] for item in table["item"])
    lines = report.lines()
    assert sum("surest half" in line for line in lines) == 2  # a head for each table
    [features] = [line for line in lines if line.startswith("Features")]
    assert features.index("of images: ") < features.index("; of regions: ")
    [method] = [line for line in lines if line.startswith("Method")]
    assert "temperature" not in method  # each has its own
    assert method.count("joint") <= 1


def test_a_run_with_nothing_to_review_says_where_to_look(street: SimpleNamespace, tmp_path: Path) -> None:
    report = run(ProposeSettings(labels=write_labels(tmp_path / "l.csv", boxes(street, 4))), street.root)
    empty = dataclasses.replace(report, review={}, unknown=report.proposals)
    assert any(line.startswith("To review: nothing (each row says why") for line in empty.lines())
    assert not any("nothing" in line for line in report.lines() if line.startswith("To review"))


def test_without_labels_there_are_clusters_and_nothing_is_called_known(street: SimpleNamespace) -> None:
    report = run(ProposeSettings(clusters=4), street.root)
    table = read_proposals(report.file)
    assert len(table) == 12 * 4
    assert (table["label"] == "object").all()
    assert (table["advice"] == "review").all()
    assert (report.clusters, report.unknown, report.labelled) == (4, 0, {})
    class_of = {short_hash(image, "region", list(box)): c for image, c, box in street.things}
    pairs = {(class_of[item], cluster) for item, cluster in zip(table["item"], table["cluster"], strict=True)}
    assert len(pairs) == 4  # the made classes lie far apart: each is one cluster
    assert (
        Path(report.file).read_bytes()
        == Path(run(ProposeSettings(clusters=4, again=True), street.root).file).read_bytes()
    )


def test_images_without_regions_are_clustered_themselves(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [row(f"{n}.png", "image", (0, 0, 9, 9)) for n in range(8)]
    rows.append(row("bad.png", "image", (0, 0, 0, 0), status="failed", reason="truncated"))
    write_set(tmp_path, "plain", rows, [*(vector(n % 2, generator) for n in range(8)), np.zeros(DIM)])
    table = read_proposals(run(ProposeSettings(clusters=2), tmp_path).file)
    assert table["label"].tolist() == ["cluster-00", "cluster-01"] * 4
    with pytest.raises(LabelError, match="readable image"):
        run(ProposeSettings(labels=write_labels(tmp_path / "l.csv", ["bad.png,x"], "image,label")), tmp_path)
    with pytest.raises(WorkspaceError, match="no regions"):
        run(ProposeSettings(labels=write_labels(tmp_path / "b.csv", ["1.png,x,0,0,5,5"])), tmp_path)


def test_a_label_for_an_image_that_does_not_exist_is_a_warning(
    street: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [*boxes(street, 4), "no/such.png,car,0,0,5,5", "day/00.png,car,1,2,x,4"]
    report = run(ProposeSettings(labels=write_labels(tmp_path / "labels.csv", rows)), street.root)
    assert len(report.warnings) == 2
    assert any("'no/such.png'" in line for line in report.lines()[:2])
    assert report.proposals == 8 * 4


def test_no_usable_label_is_an_error_that_shows_how_images_are_named(
    street: SimpleNamespace, tmp_path: Path
) -> None:
    file = write_labels(tmp_path / "labels.csv", ["no/such.png,car,0,0,5,5"])
    with pytest.raises(LabelError, match=r"'day/00\.png'"):
        run(ProposeSettings(labels=file), street.root)


def test_features_can_be_asked_for(street: SimpleNamespace, tmp_path: Path) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 4))
    report = run(ProposeSettings(labels=file, features="hog+raw"), street.root)
    assert (report.features, report.compared) == ("hog=1,raw=0.7", ())
    with pytest.raises(UsageError, match="'grid'"):
        run(ProposeSettings(labels=file, features="gird=1"), street.root)


def test_vectors_are_compared_as_they_are_where_that_is_asked_for(
    street: SimpleNamespace, tmp_path: Path
) -> None:
    file = write_labels(tmp_path / "labels.csv", ["day/00.png,a", "day/01.png,b"], "image,label")
    report = run(ProposeSettings(labels=file, features="mean", centring="none"), street.root)
    table = read_proposals(report.file)
    images = (street.known.items["kind"] == "image").to_numpy()
    rows = parts.unit(street.known.part("mean", images))
    assert np.allclose(table["similarity"], (rows[2:] @ rows[:2].T).max(axis=1), atol=1e-4)
    assert set(table["features"]) == {"mean=1 uncentred"}
    ordinary = read_proposals(run(ProposeSettings(labels=file, features="mean"), street.root).file)
    assert set(ordinary["features"]) == {"mean=1"}
    assert ordinary["similarity"].mean() < table["similarity"].mean()


def test_one_label_is_enough_and_what_it_cannot_tell_is_said(street: SimpleNamespace, tmp_path: Path) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 1)[:1])
    report = run(ProposeSettings(labels=file, background=False), street.root)
    assert "the default, because" in report.features_reason
    assert any("Label a few more" in warning for warning in report.warnings)
    assert report.unknown < report.proposals


def test_repeated_regions_are_reviewed_once(street: SimpleNamespace, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    rows = [row("a.png", "image", (0, 0, 99, 80)), row("b.png", "image", (0, 0, 99, 80))]
    rows += [row("a.png", "region", (10.0 + n, 10, 20, 20)) for n in range(3)]
    rows += [row("b.png", "region", (40, 40, 9, 9))]
    looks = [vector(0, generator) for _ in range(6)]
    write_set(street.root, "twins", rows, looks)
    report = run(ProposeSettings(set="twins", clusters=1), street.root)
    table = read_proposals(report.file)
    assert (table[table["image"] == "a.png"]["advice"] == "review").sum() == 1
    assert table["reason"].str.startswith("shows the same as proposal").sum() == 2
    every = run(ProposeSettings(set="twins", clusters=1, overlap=1), street.root)
    assert every.unknown == 0


def test_the_set_of_labelled_boxes_is_never_the_newest(street: SimpleNamespace, tmp_path: Path) -> None:
    left = f"thermal{labelled.MARK}000009"
    workspace.set_folder(street.root, left).mkdir()
    workspace.remember(street.root, "set", left)  # as a killed run could leave it
    assert run(ProposeSettings(), street.root).set == "thermal"


def test_what_the_child_is_told(
    street: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.undo()
    monkeypatch.setattr(
        labelled.subprocess,
        "run",
        lambda command, **_: calls.append(command) or SimpleNamespace(returncode=3),
    )
    file = write_labels(tmp_path / "labels.csv", boxes(street, 2))
    with pytest.raises(DinonatError, match="could not be embedded"):
        run(ProposeSettings(labels=file), street.root)
    told = dict(
        pair.split("=", 1) for flag, pair in zip(calls[0], calls[0][1:], strict=False) if flag == "--set"
    )
    assert calls[0][3:6] == ["dinonat.pipelines", "embed", "nowhere"]
    assert told["size"] == "96"
    assert told["weights"] == '"run1"'
    assert told["name"].startswith('"thermal.labelled-')
    listed = Path(told["list_file"].strip('"')).read_bytes()
    assert listed == b"day/00.png\0day/01.png\0"
    given = pd.read_csv(told["regions"].strip('"'))
    assert len(given) == 6
    assert workspace.newest(street.root, "set") == "thermal"


@pytest.mark.parametrize("method", ["vote", "diffuse", "linear", "joint", "auto"])
def test_each_method_says_who_decided_and_who_agrees(
    street: SimpleNamespace, tmp_path: Path, method: str
) -> None:
    file = write_labels(tmp_path / "labels.csv", boxes(street, 4))
    report = run(ProposeSettings(labels=file, method=method), street.root)
    table = read_proposals(report.file)
    decided = {"auto": {report.method}}.get(method, {method})
    assert set(table["method"]) == decided
    agree = table.loc[table["advice"] == "review", "agree"].str.split()
    assert agree.str.len().min() >= 1
    assert set(agree.explode()) <= {"vote", "diffuse", "linear"}
    if method in ("joint", "auto"):
        assert [one.name for one in report.judged] == ["joint", "vote", "diffuse", "linear"]
        assert agree.str.len().max() == 3
        whole = table[table["agree"] == "vote diffuse linear"]
        assert whole["reason"].str.contains("all methods agree").all()
    else:
        assert not report.judged
    assert table["neighbours"].map(len).min() >= 1
    class_of = {short_hash(image, "region", list(box)): c for image, c, box in street.things}
    sure = table[table["advice"] == "review"]
    right = [CLASSES[class_of[item]] == label for item, label in zip(sure["item"], sure["label"], strict=True)
             if class_of[item] < 3]  # fmt: skip
    assert len(right) >= 12
    assert np.mean(right) > 0.9


def image_labels(
    street: SimpleNamespace, tmp_path: Path, lines: list[str], **more: object
) -> ProposeSettings:
    return ProposeSettings(labels=write_labels(tmp_path / "l.csv", lines, header="image,label"), **more)


def test_one_class_alone_is_that_or_unknown(street: SimpleNamespace, tmp_path: Path) -> None:
    report = run(image_labels(street, tmp_path, [f"{n:02}.png,road" for n in range(0, 12, 3)]), street.root)
    assert any("'road' is the only class" in warning for warning in report.warnings)
    table = read_proposals(report.file)
    assert set(table["label"]) == {"road"}
    other = [int(image[4:6]) % 3 != 0 for image in table["image"]]
    assert (table["advice"] == "unknown")[other].all()  # like none of the labels


def test_a_class_with_one_label_is_named(street: SimpleNamespace, tmp_path: Path) -> None:
    rows = [*(f"{n:02}.png,scene {n % 3}" for n in range(9)), "09.png,wet"]
    report = run(image_labels(street, tmp_path, rows), street.root)
    assert any(warning.startswith("'wet' with one label: ") for warning in report.warnings)
    assert read_proposals(report.file)["label"].tolist()[0] == "scene 1"


def test_labels_against_each_other_are_kept_and_counted(street: SimpleNamespace, tmp_path: Path) -> None:
    rows = [*(f"{n:02}.png,scene {n % 3}" for n in range(6)), "00.png,wet", "01.png,wet"]
    report = run(image_labels(street, tmp_path, rows), street.root)
    said = next(warning for warning in report.warnings if "several labels" in warning)
    assert said.startswith("2 images have several labels ('day/00.png', 'day/01.png')")
    assert report.labelled["wet"] == 2
    image, c, box = street.things[0]
    twice = [*boxes(street, 3), ",".join(map(str, (image, CLASSES[(c + 1) % 3], *box)))]
    report = run(ProposeSettings(labels=write_labels(tmp_path / "b.csv", twice)), street.root)
    assert any(warning.startswith("1 places have boxes of several classes") for warning in report.warnings)


def test_labels_of_images_that_are_gone_are_counted_and_named(
    street: SimpleNamespace, tmp_path: Path
) -> None:
    run(image_labels(street, tmp_path, [f"{n:02}.png,scene {n % 3}" for n in range(8)]), street.root)
    rows = [row(f"day/{n:02}.png", "image", (0, 0, 100, 80)) for n in range(6)]
    generator = np.random.default_rng(5)
    folder = workspace.set_folder(street.root, "thermal")
    for path in folder.iterdir():
        path.unlink()
    write_set(street.root, "thermal", rows, [vector(n % 3, generator) for n in range(6)])
    report = run(ProposeSettings(), street.root)
    said = next(warning for warning in report.warnings if "could not read" in warning)
    assert said.startswith("2 labels are for images")
    assert "'day/06.png', 'day/07.png'" in said


def test_equal_vectors_are_proposed_nothing_and_it_is_said(tmp_path: Path) -> None:
    rows = [row(f"{n}.png", "image", (0, 0, 9, 9)) for n in range(8)]
    write_set(tmp_path, "flat", rows, [np.ones(DIM)] * 8)
    file = write_labels(tmp_path / "l.csv", [f"{n}.png,{'ab'[n % 2]}" for n in range(4)], "image,label")
    report = run(ProposeSettings(labels=file), tmp_path)
    assert any("one and the same vector" in warning for warning in report.warnings)
    assert (report.unknown, report.proposals) == (4, 4)


def test_more_neighbours_than_items_are_all_of_them(street: SimpleNamespace, tmp_path: Path) -> None:
    rows = [f"{n:02}.png,scene {n % 3}" for n in range(6)]
    report = run(image_labels(street, tmp_path, rows, k=5000, graph_neighbours=5000), street.root)
    table = read_proposals(report.file)
    assert table["label"].tolist() == [f"scene {n % 3}" for n in range(6, 12)]


def test_nothing_to_ask_about_is_no_error(street: SimpleNamespace, tmp_path: Path) -> None:
    report = run(
        image_labels(street, tmp_path, [f"{n:02}.png,scene {n % 3}" for n in range(12)]), street.root
    )
    assert (report.proposals, report.unknown) == (0, 0)


def test_boxes_embedded_by_another_network_are_refused_with_the_command(
    street: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()

    def child(command: list[str], **_: object) -> SimpleNamespace:
        name = next(word for word in command if word.startswith("name="))[len('name="') : -1]
        folder = workspace.set_folder(street.root, name)
        making = {"model": "def", "settings": {"size": 96}, "root": "nowhere", "n": 1}
        writer = SetWriter(folder, making)
        writer.write(0, as_table([row("day/00.png", "region", (0, 10, 18, 20))], ITEM_COLUMNS),
                     dict.fromkeys(PARTS, np.ones((1, DIM), np.float32)))  # fmt: skip
        writer.finish(shards=1)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(labelled.subprocess, "run", child)
    file = write_labels(tmp_path / "labels.csv", boxes(street, 2))
    with pytest.raises(WorkspaceError, match=r"now def, but set 'thermal' was made with abc.*--again"):
        run(ProposeSettings(labels=file), street.root)


def test_boxes_that_were_embedded_before_need_no_network(
    street: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    made: list[str] = []

    def child(command: list[str], **_: object) -> SimpleNamespace:
        made.append(next(word for word in command if word.startswith("name="))[len('name="') : -1])
        rows = [row(image, "region", box, label=CLASSES[c]) for image, c, box in street.things[:8] if c < 3]
        looks = [vector(CLASSES.index(str(each["label"])), np.random.default_rng(2)) for each in rows]
        write_set(street.root, made[-1], rows, looks)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(labelled.subprocess, "run", child)
    file = write_labels(tmp_path / "labels.csv", boxes(street, 2))
    first = run(ProposeSettings(labels=file), street.root)
    again = run(ProposeSettings(labels=file, again=True), street.root)
    assert len(made) == 1
    assert first.review == again.review
    run(ProposeSettings(labels=write_labels(file, boxes(street, 3)), name="more"), street.root)
    assert len(set(made)) == 2  # other labels, other boxes


def test_what_to_look_at_first_lies_beside_the_proposals(street: SimpleNamespace, tmp_path: Path) -> None:
    rows = [f"{n:02}.png,scene {n % 3}" for n in range(8)]
    rows[4] = "04.png,scene 0"  # it shows scene 1
    report = run(image_labels(street, tmp_path, rows), street.root)
    doubts = pd.read_parquet(Path(report.folder) / "doubts.parquet")
    wrong = doubts[doubts["doubt"] == "label"].iloc[0]
    assert (wrong["image"], wrong["label"], wrong["other"]) == ("day/04.png", "scene 0", "scene 1")


def test_no_label_is_in_doubt_that_nobody_gave(street: SimpleNamespace, tmp_path: Path) -> None:
    lines = boxes(street, 6)
    image, label, box = lines[0].split(",", 2)
    wrong = next(name for name in CLASSES if name != label)
    file = write_labels(tmp_path / "labels.csv", [f"{image},{wrong},{box}", *lines[1:]])
    report = run(ProposeSettings(labels=file), street.root)
    assert report.labelled["background"]
    assert sum(report.labelled.values()) > len(lines)
    meta = json.loads((Path(report.folder) / "meta.json").read_text())
    assert f" of {len(lines)} labels " in meta["doubts"]["label"]
    doubts = pd.read_parquet(Path(report.folder) / "doubts.parquet")
    doubted = doubts[doubts["doubt"] == "label"]
    assert "background" not in set(doubted["label"])


def test_search_vectors_read_in_parts_are_those_read_at_once(
    street: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = (street.known.items["kind"] == "region").to_numpy()
    weights = {"grid": 1.0, "hog": 0.5}
    whole = joined(labelled.ready_parts(street.known, regions, means=street.known, kind="region"), weights)
    monkeypatch.setattr(propose_graph, "CHUNK", 5)
    monkeypatch.setattr(propose_graph, "fit_axes", lambda rows: fit_axes(rows, dims=2))
    monkeypatch.setattr(parts, "FITTED", 1000)
    found, axes = propose_graph.search_vectors(street.known, regions, "region", weights)
    sample = np.concatenate([whole[at : at + 5][::10] for at in range(0, 48, 5)])
    own = fit_axes(sample, dims=2)
    assert own is not None
    assert axes is not None
    np.testing.assert_array_equal(axes.columns, own.columns)
    np.testing.assert_allclose(found, own.reduce(whole), atol=1e-6)
    nothing, none = propose_graph.search_vectors(street.known, np.zeros_like(regions), "region", weights)
    assert (len(nothing), none) == (0, None)
