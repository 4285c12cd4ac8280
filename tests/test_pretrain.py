import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from dinonat.errors import CheckpointError, ImageError, UsageError
from dinonat.models import catalog
from dinonat.models.nat import NATSettings
from dinonat.pipelines import judges, lengths, pretrain
from dinonat.pipelines import workspace as places
from dinonat.pipelines.pretrain import run
from dinonat.pipelines.pretrain_report import CheckReport
from dinonat.pipelines.pretrain_settings import PretrainSettings
from dinonat.pretraining import trainer
from dinonat.pretraining.health import Collapsed
from dinonat.pretraining.recipe import TrainSettings
from dinonat.settings import read_yaml

SMALL = {
    "network": "tiny", "batch": 4, "global_sizes": (32, 32), "local_sizes": (16, 16), "n_local": 1,
    "out_dim": 16, "hidden": 16, "bottleneck": 8, "picture_side": 48, "workers": 0, "threads": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    settings = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False)
    monkeypatch.setitem(catalog.NETWORKS, "tiny", settings)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def timed():
    """Asked for where a run is to find out by itself how long its steps take."""


@pytest.fixture(autouse=True)
def steps_are_not_timed(request, monkeypatch):
    """Runs of so many passes are so long at any speed, which is only said."""
    if "timed" not in request.fixturenames:
        monkeypatch.setattr(lengths, "measure_speed", lambda *_: trainer.Speed(0.01, 0.01))


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "rgb"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "not a picture.png").write_text("hello")
    return folder


def settings(folder, **changes) -> PretrainSettings:
    return PretrainSettings.checked({**SMALL, "folders": (folder,), "epochs": 2, **changes})


def test_a_run_leaves_weights_figures_and_its_settings(pictures, tmp_path):
    report = run(settings(pictures), tmp_path / "w")
    assert (report.images, report.failed, report.steps) == (6, 1, 3)
    folder = places.weights_folder(tmp_path / "w", places.newest(tmp_path / "w", "weights"))
    assert catalog.load_network(str(folder / "teacher.safetensors"))[1] == report.fingerprint
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 3
    assert read_yaml(str(folder / "settings.yaml"))["network"] == "tiny"
    assert not (folder / "pictures.npy").exists()


def test_the_same_again_is_already_done_and_other_settings_are_another_run(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    second = run(settings(pictures), tmp_path / "w")
    assert second.already_done
    assert second.fingerprint == first.fingerprint
    assert run(settings(pictures, again=True), tmp_path / "w").fingerprint == first.fingerprint
    assert run(settings(pictures, seed=1), tmp_path / "w").run != first.run


def test_a_run_goes_on_for_longer_and_nothing_else(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    longer = run(settings(pictures, epochs=4, resume=first.run), tmp_path / "w")
    assert longer.run == first.run
    assert longer.steps == 6
    assert longer.fingerprint != first.fingerprint
    with pytest.raises(UsageError, match="other learning_rate; only --minutes and"):
        run(settings(pictures, learning_rate=1e-4, resume=first.run), tmp_path / "w")
    with pytest.raises(UsageError, match="no such run"):
        run(settings(pictures, resume="nonsense"), tmp_path / "w")


def test_minutes_become_steps_that_are_written_down(timed, pictures, tmp_path):
    report = run(settings(pictures, epochs=None, minutes=0.005), tmp_path / "w")
    length = json.loads((tmp_path / "w/weights" / report.run / "length.json").read_text())
    assert length["steps"] == report.steps >= 1


def test_no_readable_image_is_said_with_the_reason(tmp_path):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb/a.png").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.png: not an image"):
        run(settings(tmp_path / "rgb"), tmp_path / "w")


def test_a_device_that_is_not_here_is_refused(pictures, tmp_path):
    with pytest.raises(UsageError, match="device=warp"):
        run(settings(pictures, device="warp"), tmp_path / "w")


@pytest.mark.parametrize(
    "preset", ["pretrain-cpu", "pretrain-gpu", "pretrain-thermal", "paper-text", "paper-algorithm1"]
)
def test_presets_are_settings(preset, tmp_path):
    built = PretrainSettings.resolve(config=preset, named={"folders": (tmp_path,)})
    assert built.network in catalog.NETWORKS
    if preset == "paper-text":
        assert built.global_scale == (0.5, 1.0)
        assert built.teacher_update == "epoch"
    if preset == "paper-algorithm1":
        assert built.n_local == 0


def test_paper_presets_make_their_steps(pictures, tmp_path):
    for preset in ("paper-text", "paper-algorithm1"):
        named = {
            **SMALL,
            "folders": (pictures,),
            "epochs": 1,
            "n_local": None if preset == "paper-text" else 0,
        }
        built = PretrainSettings.resolve(config=preset, named=named)
        assert np.isfinite(run(built, tmp_path / preset).loss)


def folder_of(workspace, report) -> Path:
    return places.weights_folder(workspace, report.run)


def test_a_run_alone_is_enough_to_go_on_with_it(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    longer = run(PretrainSettings.checked({"resume": first.run, "epochs": 4}), tmp_path / "w")
    assert (longer.run, longer.steps) == (first.run, 6)
    with pytest.raises(UsageError, match="other seed"):
        run(PretrainSettings.checked({"resume": first.run, "seed": 5}), tmp_path / "w")


def test_a_run_begins_with_the_network_of_a_file_or_with_all_that_another_run_learned(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    kept = folder_of(tmp_path / "w", first) / "teacher.safetensors"
    quiet = {"learning_rate": 0.0, "final_learning_rate": 0.0, "weight_decay": (0.0, 0.0)}
    for init, batch in ((first.run, 3), (str(kept), 2)):
        same = run(settings(pictures, init=init, batch=batch, **quiet), tmp_path / "w")
        assert same.fingerprint == first.fingerprint  # nothing was learned, so it is what it began with
        assert same.began == init
    recipe = json.loads((folder_of(tmp_path / "w", same) / "recipe.json").read_text())
    assert recipe["head_first"] > 0  # the heads were new
    scratch = run(settings(pictures, from_scratch=True, **quiet), tmp_path / "w")
    assert scratch.fingerprint != first.fingerprint
    with pytest.raises(UsageError, match="take one of them"):
        run(settings(pictures, init=first.run, from_scratch=True), tmp_path / "w")
    with pytest.raises(UsageError, match=f"neither a file nor a run of .*there: .*{first.run}"):
        run(settings(pictures, init="nonsense"), tmp_path / "w")


def test_weights_of_another_network_are_refused_in_words(pictures, tmp_path, monkeypatch):
    first = run(settings(pictures), tmp_path / "w")
    wider = catalog.NETWORKS["tiny"].model_copy(update={"dim": 16})
    monkeypatch.setitem(catalog.NETWORKS, "wider", wider)
    with pytest.raises(CheckpointError, match="not of this network"):
        run(settings(pictures, network="wider", init=first.run), tmp_path / "w")


def test_nothing_asked_for_begins_with_the_starter_weights(pictures, tmp_path):
    small = {**SMALL, "network": "nat_nano", "folders": (pictures,), "epochs": 1}
    report = run(
        PretrainSettings.checked({**small, "learning_rate": 0.0, "final_learning_rate": 0.0}), tmp_path
    )
    assert report.began == "starter"
    starter = catalog.load_network("starter")[0].state_dict()
    for name, value in catalog.load_network(report.weights)[0].state_dict().items():
        assert torch.equal(value, starter[name])  # nothing was learned


def classes(folder: Path, *, of_colour: bool = True) -> Path:
    """Write two classes of pictures: red and blue ones, or noise that nothing tells apart."""
    rng = np.random.default_rng(1)
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            base = np.array(colour) if of_colour else np.full(3, 120)
            pixels = np.clip(base + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_the_monitor_judges_on_the_way_and_the_best_is_kept(pictures, tmp_path):
    report = run(settings(pictures, monitor=classes(tmp_path / "m"), epochs=6), tmp_path / "w")
    folder = folder_of(tmp_path / "w", report)
    lines = [json.loads(line) for line in (folder / "judged.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0
    assert lines[-1]["step"] == report.steps
    assert report.judgement.knn == max(line["knn"] for line in lines[1:])
    assert report.judgement.knn_before == lines[0]["knn"]
    assert "k-NN" in "\n".join(report.lines())
    assert len(list((folder / "candidates").iterdir())) == 1  # that of the teacher that is kept
    longer = run(settings(pictures, monitor=tmp_path / "m", epochs=9, resume=report.run), tmp_path / "w")
    assert longer.judgement.knn >= report.judgement.knn  # it still counts


def test_a_run_that_harms_says_so_and_embed_takes_what_it_began_with(pictures, tmp_path, monkeypatch):
    found = iter([90.0, *[50.0 + i for i in range(8)]])
    monkeypatch.setattr(judges, "accuracy", lambda *_: next(found))
    report = run(settings(pictures, monitor=classes(tmp_path / "m"), epochs=12), tmp_path / "w")
    assert report.better == report.began == "untrained:0:tiny"
    assert "Worse than where it began" in "\n".join(report.lines())
    weights, said = places.newest_weights(tmp_path / "w")
    assert weights == report.began
    assert "worse than it began" in said


def test_a_monitor_of_one_class_is_refused(pictures, tmp_path):
    folder = classes(tmp_path / "m")
    shutil.rmtree(folder / "blue")
    with pytest.raises(UsageError, match=r"two classes or more.*found red \(6\)"):
        run(settings(pictures, monitor=folder), tmp_path / "w")


def test_an_open_run_goes_on_and_cools_down_without_losing_its_plateau(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    named = {"schedule": "open", "epochs": 4, "freeze_prototypes": 1}
    first = run(settings(pictures, **named), tmp_path / "w")
    assert (first.steps, first.resumable) == (6, "plateau")
    more = run(settings(pictures, **named, resume=first.run), tmp_path / "w")
    assert (more.run, more.steps) == (first.run, 12)
    plateau = (folder_of(tmp_path / "w", more) / "state.pt").read_bytes()
    cooled = run(PretrainSettings.checked({"resume": first.run, "cool_down": True}), tmp_path / "w")
    assert (cooled.run, cooled.resumable) == (first.run, "end")
    assert cooled.steps == 12 + round(12 * 0.3 / 0.7)
    assert cooled.fingerprint != more.fingerprint
    rates = [json.loads(x)["learning_rate"] for x in metrics(tmp_path / "w", cooled, "cooled")]
    assert rates[-1] < rates[0]
    assert (folder_of(tmp_path / "w", more) / "state.pt").read_bytes() == plateau
    again = run(settings(pictures, **named, resume=first.run), tmp_path / "w")
    assert again.steps == 18


def metrics(workspace, report, part: str = ".") -> list[str]:
    return (folder_of(workspace, report) / part / "metrics.jsonl").read_text().splitlines()


def test_an_open_run_in_two_pieces_is_the_run_in_one(pictures, tmp_path):
    whole = run(settings(pictures, schedule="open", epochs=8), tmp_path / "a")
    first = run(settings(pictures, schedule="open", epochs=4), tmp_path / "b")
    second = run(settings(pictures, schedule="open", epochs=4, resume=first.run), tmp_path / "b")
    assert whole.steps == second.steps == 12
    states = [folder_of(tmp_path / at, r) / "state.pt" for at, r in (("a", whole), ("b", second))]
    teachers = [torch.load(path, weights_only=True)["teacher"] for path in states]
    assert all(torch.equal(value, teachers[1][name]) for name, value in teachers[0].items())


def test_only_an_open_run_cools_down(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    with pytest.raises(UsageError, match="only a run of --open"):
        run(settings(pictures, resume=first.run, cool_down=True), tmp_path / "w")


def test_a_run_whose_state_is_gone_starts_again_from_its_weights(pictures, tmp_path, capsys):
    first = run(settings(pictures), tmp_path / "w")
    (folder_of(tmp_path / "w", first) / "state.pt").unlink()
    second = run(settings(pictures, resume=first.run), tmp_path / "w")
    assert second.run == first.run
    assert "its state was gone. It started again from its weights" in capsys.readouterr().err
    recipe = json.loads((folder_of(tmp_path / "w", second) / "recipe.json").read_text())
    assert recipe["head_first"] > 0
    third = run(settings(pictures, resume=first.run, epochs=4), tmp_path / "w")  # and goes on as any other
    assert third.steps == 6
    assert run(settings(pictures, resume=first.run, epochs=1), tmp_path / "w").steps == 6  # never fewer


def test_odd_pictures_among_colour_ones_are_trained_on(timed, tmp_path):
    folder, rng = tmp_path / "odd", np.random.default_rng(0)
    folder.mkdir()
    Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)).save(folder / "grey.png")
    Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)).save(folder / "rgba.png")
    Image.fromarray(rng.integers(2000, 9000, (20, 30), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.full((1, 1, 3), 9, np.uint8)).save(folder / "dot.png")
    Image.fromarray(rng.integers(0, 256, (3, 200, 3), dtype=np.uint8)).save(folder / "strip.png")
    report = run(settings(folder, batch=8, global_sizes=(64, 64), epochs=None, minutes=0.001), tmp_path / "w")
    assert (report.images, report.failed) == (5, 0)  # fewer than the batch, smaller than the crops
    assert np.isfinite(report.loss)


def test_processes_of_torchrun_make_one_run_and_one_of_them_speaks(pictures, tmp_path):
    program = (
        "import sys; from dinonat.models import catalog; from dinonat.models.nat import NATSettings;"
        "catalog.NETWORKS['tiny'] = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), "
        "kernel_size=3, position_bias=False); from dinonat.pipelines.cli import main; main()"
    )
    (tmp_path / "dinotool_of_a_test.py").write_text(program)
    words = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items()]
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "dinotool_of_a_test.py"]
    arguments = ["pretrain", str(pictures), "--epochs", "2", "-w", "w", "--json", *words, "--set=device=cpu"]
    done = subprocess.run(
        [sys.executable, *launched, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    alone = run(settings(pictures), tmp_path / "alone")
    assert (report["run"], report["steps"]) == (alone.run, alone.steps)
    ours, theirs = (
        catalog.load_network(str(path))[0].state_dict()
        for path in (tmp_path / report["weights"], Path(alone.weights))
    )
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=3e-3, rtol=0)  # three steps of Adam at 1e-3


def pair_folders(folder: Path, textures, *, shift: int = 0) -> tuple[Path, Path]:
    """Write twelve pairs in three recordings; thermal is the inverse of colour, ``shift`` pixels aside."""
    for number in range(12):
        grey = textures(number, 100, 160)
        name = f"frame_{number % 4 + 1000 * (number // 4):05d}.png"
        for light, pixels in (
            ("rgb", np.stack([grey, grey // 2, 255 - grey // 3], axis=2)),
            ("thermal", 255 - np.roll(grey, shift, axis=1)),
        ):
            (folder / light).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / light / name)
    lines = [f"frame_{n % 4 + 1000 * (n // 4):05d}.png,{n // 4}\n" for n in range(12)]
    (folder / "recordings.csv").write_text("image,recording\n" + "".join(lines))
    return folder / "rgb", folder / "thermal"


def test_pairs_teach_each_other_and_are_judged_on_a_recording_apart(pictures, textures, tmp_path, capsys):
    pairs = pair_folders(tmp_path / "p", textures)
    csv = tmp_path / "p/recordings.csv"
    report = run(settings(pictures, pairs=pairs, recordings=csv, held_out=0.3), tmp_path / "w")
    said = capsys.readouterr().err
    assert report.images == 6 + 2 * 8  # a recording of four pairs is held out
    assert "4 of whole recordings are not trained on" in said
    assert "aligned" in said
    assert report.judgement.pairs is not None
    assert "did not see" in "\n".join(report.lines())
    alone = run(
        PretrainSettings.checked({**SMALL, "epochs": 1, "pairs": pairs, "recordings": csv}), tmp_path / "w"
    )
    assert alone.images < 24  # without a folder beside them, and one recording held out


def test_pairs_that_are_not_aligned_are_said_and_an_offset_mends_them(textures, tmp_path, capsys):
    named = {**SMALL, "epochs": 1, "held_out": 0.0, "recordings": tmp_path / "p/recordings.csv"}
    pairs = pair_folders(tmp_path / "p", textures, shift=12)
    run(PretrainSettings.checked({**named, "pairs": pairs}), tmp_path / "w")
    assert re.search(r"pair.offset.*-1[123],0", capsys.readouterr().err)
    run(PretrainSettings.checked({**named, "pairs": pairs, "pair_offset": (-12, 0)}), tmp_path / "w")
    assert "are aligned" in capsys.readouterr().err


def test_nothing_to_train_on_is_said(tmp_path):
    with pytest.raises(UsageError, match="no folder of images was given"):
        run(PretrainSettings.checked({}), tmp_path)


def test_a_check_learns_one_batch_and_makes_no_run(pictures, tmp_path):
    report = run(settings(pictures, check=True, epochs=None, minutes=3), tmp_path / "w")
    assert report.images == 6
    assert "on one batch KL went from" in report.said
    assert ("works" in report.lines()[-1]) == report.learns
    assert report.seconds == pytest.approx(180, rel=0.1)  # of three minutes, so many steps fit in
    assert places.names(tmp_path / "w", "weights") == []
    assert [path.name for path in (tmp_path / "w").iterdir()] == [places.MARKER]


def stopped_at(monkeypatch, step: int) -> None:
    """Let the next run stop after a step, as a kill would."""
    true = pretrain.train

    def until(*arguments, **named):
        for figures in true(*arguments, **named):
            yield figures
            if figures["step"] == step:
                monkeypatch.setattr(pretrain, "train", true)
                raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "train", until)


def test_a_killed_run_goes_on_to_the_length_that_it_was_begun_with(pictures, tmp_path, monkeypatch):
    whole = run(settings(pictures, epochs=8), tmp_path / "whole")
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    stopped_at(monkeypatch, 2)  # before anything was judged
    with pytest.raises(KeyboardInterrupt):
        run(settings(pictures, epochs=8), tmp_path / "w")
    [name] = places.names(tmp_path / "w", "weights")
    report = run(PretrainSettings.checked({"resume": name}), tmp_path / "w")
    assert (report.steps, report.fingerprint) == (12, whole.fingerprint)


def test_a_run_that_was_never_judged_and_is_asked_for_less_ends_where_it_stands(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    stopped_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run(settings(pictures, epochs=20), tmp_path / "w")
    [name] = places.names(tmp_path / "w", "weights")
    report = run(PretrainSettings.checked({"resume": name, "epochs": 0.1}), tmp_path / "w")
    assert report.judgement.kept == report.steps >= 1


def test_what_is_given_is_not_what_was_fitted(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    given = run(settings(pictures, learning_rate=TrainSettings().learning_rate), tmp_path / "w")
    assert given.run != first.run
    assert not given.already_done


def test_other_pictures_of_the_same_names_are_another_run(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    shutil.copytree(pictures, tmp_path / "other")
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "other/0.png")
    other = run(settings(tmp_path / "other"), tmp_path / "w")
    assert other.run != first.run
    shutil.copy(tmp_path / "other/0.png", pictures / "0.png")
    with pytest.raises(UsageError, match="made with other images"):
        run(PretrainSettings.checked({"resume": first.run, "epochs": 3}), tmp_path / "w")


def test_a_check_leaves_a_finished_run_alone(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    report = run(settings(pictures, check=True, again=True), tmp_path / "w")
    assert isinstance(report, CheckReport)
    assert Path(first.weights).is_file()


def test_a_run_with_other_heads_takes_only_the_network(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    fewer = {key: value for key, value in SMALL.items() if key not in ("out_dim", "hidden", "bottleneck")}
    named = {**fewer, "folders": (pictures,), "epochs": 1, "init": first.run}
    with_heads = run(PretrainSettings.checked(named), tmp_path / "w")
    recipe = json.loads((folder_of(tmp_path / "w", with_heads) / "recipe.json").read_text())
    assert (recipe["out_dim"], recipe["head_first"]) == (16, 0)  # of the run, not what the data would fit
    alone = run(PretrainSettings.checked({**named, "out_dim": 32}), tmp_path / "w")
    recipe = json.loads((folder_of(tmp_path / "w", alone) / "recipe.json").read_text())
    assert (recipe["out_dim"], recipe["head_first"]) == (32, 100)


def test_a_run_goes_on_though_what_it_began_with_has_changed(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    second = run(settings(pictures, init=first.run), tmp_path / "w")
    run(settings(pictures, resume=first.run, epochs=6), tmp_path / "w")
    longer = run(PretrainSettings.checked({"resume": second.run, "epochs": 3}), tmp_path / "w")
    assert (longer.run, longer.began) == (second.run, first.run)


def test_two_commands_do_not_work_on_one_run(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    with FileLock(tmp_path / "w" / f".{first.run}.lock"), pytest.raises(UsageError, match="another dinotool"):
        run(settings(pictures), tmp_path / "w")


def test_a_torn_line_of_figures_costs_only_itself(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    path = folder_of(tmp_path / "w", first) / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "lo')
    assert run(settings(pictures, resume=first.run, epochs=4), tmp_path / "w").steps == 6
    path.unlink()
    assert run(settings(pictures, resume=first.run, epochs=4), tmp_path / "w").steps == 6
    (path.parent / "state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="Delete this one file"):
        run(settings(pictures, resume=first.run, epochs=5), tmp_path / "w")


def test_a_collapse_ends_the_run_with_its_page(pictures, tmp_path):
    flat = {"targets": "centre", "centre_momentum": 1.0, "teacher_temperature": (1.0, 1.0), "koleo": 0.0}
    quick = {"freeze_prototypes": 0, "patience": 5, "epochs": 200, "learning_rate": 1e-3}
    with pytest.raises(Collapsed, match="uniform collapse"):
        run(settings(pictures, **flat, **quick), tmp_path / "w")
    [name] = places.names(tmp_path / "w", "weights")
    folder = places.weights_folder(tmp_path / "w", name)
    assert "uniform collapse" in (folder / "report.html").read_text()
    assert (folder / "state.pt").is_file()
    assert not (folder / "report.json").exists()
