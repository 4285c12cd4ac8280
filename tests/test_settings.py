import pytest

from dinonat.errors import UsageError, WorkspaceError
from dinonat.records import ITEM_COLUMNS, LABEL_COLUMNS, as_table, read_proposals
from dinonat.settings import Settings, parse_overrides, read_yaml


class Example(Settings):
    learning_rate: float = 0.1
    sizes: tuple[int, ...] = (1,)
    name: str | None = None


def test_later_sources_win_and_none_is_not_given(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("learning_rate: 0.5\nname: file\n")
    built = Example.resolve(config=str(path), overrides=["sizes=[2, 3]", "name=pair"], named={"name": None})
    assert built == Example(learning_rate=0.5, sizes=(2, 3), name="pair")
    assert Example.resolve(overrides=["name=pair"], named={"name": "option"}).name == "option"


def test_an_unknown_key_names_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'learning_rate'"):
        Example.resolve(overrides=["learning_rat=1"])
    path = tmp_path / "mine.yaml"
    path.write_text("zzz: 1\n")
    with pytest.raises(UsageError, match="Known keys: learning_rate, name, sizes"):
        Example.resolve(config=str(path))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [(["learning_rate=fast"], "learning_rate='fast'"), (["sizes"], "expected key=value")],
)
def test_bad_values_are_refused_in_words(overrides, words):
    with pytest.raises(UsageError, match=words):
        Example.resolve(overrides=overrides)


def test_yaml_that_is_none_is_refused(tmp_path):
    for text, words in (("- 1\n", "got list"), ("a: [\n", "not valid YAML")):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(UsageError, match=words):
            read_yaml(str(tmp_path / "x.yaml"))
    with pytest.raises(UsageError, match="no preset of that name"):
        read_yaml("nonsense")


def test_errors_name_the_command_and_not_the_class():
    class EvaluateKnnSettings(Settings):
        k: int = 5

    with pytest.raises(UsageError, match=r"Unknown key 'kk' for evaluate knn\. Did you mean 'k'"):
        EvaluateKnnSettings.checked({"kk": 1})


def test_settings_are_frozen_and_overrides_are_yaml():
    with pytest.raises(ValueError, match="frozen"):
        Example().name = "other"  # type: ignore[misc]
    assert parse_overrides(["a=true", "b=1.5", "c=x=y"]) == {"a": True, "b": 1.5, "c": "x=y"}


def test_tables_have_their_columns_in_order_and_type():
    table = as_table([{"w": 1, "image": "a", "label": "b", "x": 0, "y": 0, "h": 2, "more": 3}], LABEL_COLUMNS)
    assert list(table) == list(LABEL_COLUMNS)
    assert table.dtypes["w"] == "float32"
    assert list(as_table([], ITEM_COLUMNS)) == list(ITEM_COLUMNS)
    with pytest.raises(KeyError, match="image"):
        as_table([{"label": "b"}], LABEL_COLUMNS)


def test_proposals_that_are_none_are_refused(tmp_path):
    with pytest.raises(WorkspaceError, match="not a table of proposals"):
        read_proposals(tmp_path / "missing.parquet")
