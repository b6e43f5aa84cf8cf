from pathlib import Path

import pytest

from taskroll.tasklib.package_config import PackageConfig, PackageConfigError, load_package_config


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pyproject.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_table_the_bases_are_cornserves(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    config = load_package_config(tmp_path)
    assert config == PackageConfig()
    assert config.file is None
    assert config.bases.unit_task == ("cornserve.task.base.UnitTask",)
    assert config.bases.composite_task == ("cornserve.task.base.Task",)
    assert config.bases.descriptor == ("cornserve.task_executors.descriptor.base.TaskExecutionDescriptor",)


def test_the_nearest_table_counts_and_files_without_one_do_not(tmp_path: Path) -> None:
    write(tmp_path, '[tool.taskroll]\nexclude = ["far"]')
    near = write(tmp_path / "a", '[tool.taskroll]\nexclude = ["near"]')
    write(tmp_path / "a/b", "[project]\nname = 'x'")
    config = load_package_config(tmp_path / "a/b/c")
    assert (config.exclude, config.file) == (("near",), near)


def test_the_search_ends_at_the_top_of_the_repository(tmp_path: Path) -> None:
    write(tmp_path, '[tool.taskroll]\nexclude = ["outside"]')
    (tmp_path / "repo/.git").mkdir(parents=True)
    (tmp_path / "repo/lib").mkdir()
    assert load_package_config(tmp_path / "repo/lib").exclude == ()


def test_a_full_table(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    write(
        tmp_path,
        """
        [tool.taskroll]
        source_root = "src"
        search_paths = ["."]
        exclude = ["lib.tests", "lib.*.dev"]
        provided = ["lib.shared"]
        labels = { team = "vision", "example.dev/tier" = "" }
        annotations = { "example.dev/contact" = "someone, somewhere" }
        bases.unit_task = ["acme.Unit"]
        """,
    )
    config = load_package_config(tmp_path)
    assert config.path("src") == tmp_path / "src"
    assert config.labels == {"team": "vision", "example.dev/tier": ""}
    assert config.bases.unit_task == ("acme.Unit",)
    assert config.bases.descriptor == PackageConfig().bases.descriptor


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[tool.taskroll\n", ["is not valid TOML"]),
        ("tool = 1", ["tool is 1", "write it as a table"]),
        ("[tool]\ntaskroll = 'x'", ["taskroll is 'x'", "write it as a table"]),
        ("[tool.taskroll]\nbasis = 1", ["basis: unknown field", "did you mean bases?", "Known: annotations, bases"]),
        ("[tool.taskroll.bases]\nunit_tasks = []", ["bases.unit_tasks: unknown", "did you mean unit_task?"]),
        ("[tool.taskroll]\nbases = 3", ["bases: 3", "write [tool.taskroll.bases]"]),
        ("[tool.taskroll]\nbases.unit_task = 'a.B'", ["bases.unit_task: 'a.B' is no list", '["…"]']),
        ("[tool.taskroll]\nbases.unit_task = ['B']", ["bases.unit_task.0: 'B'", "package.module.ClassName"]),
        ("[tool.taskroll]\nbases.unit_task = ['a/B.C']", ["bases.unit_task.0: 'a/B.C'", "dotted path"]),
        ("[tool.taskroll]\nbases.unit_task = [7]", ["bases.unit_task.0: 7 is no text", "quotes"]),
        ("[tool.taskroll]\nexclude = ['a b']", ["exclude.0: 'a b'", "package.tests"]),
        ("[tool.taskroll]\nprovided = ['a..b']", ["provided.0: 'a..b'", "dotted path"]),
        ("[tool.taskroll]\nlabels = 'x'", ["labels: 'x' is no table"]),
        ("[tool.taskroll.labels]\n'-bad' = 'x'", ["labels.-bad: '-bad'", "no Kubernetes key"]),
        ("[tool.taskroll.labels]\na = 'x y'", ["labels.a: 'x y'", "annotation"]),
        (f"[tool.taskroll.labels]\na = '{'x' * 64}'", ["labels.a:", "at most 63"]),
        ("[tool.taskroll.labels]\n'taskroll.dev/x' = 'y'", ["taskroll.dev/x", "use a prefix of yours"]),
        (f"[tool.taskroll.annotations]\na = '{'x' * 17000}'", ["annotations:", "16384 are allowed"]),
        ("[tool.taskroll]\nsource_root = 'nowhere'", ["source_root: 'nowhere' is no folder", "relative to this file"]),
        ("[tool.taskroll]\nsearch_paths = ['nowhere']", ["search_paths: 'nowhere' is no folder"]),
    ],
)
def test_errors_name_file_field_value_and_way_out(tmp_path: Path, text: str, parts: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(PackageConfigError) as caught:
        load_package_config(tmp_path)
    message = str(caught.value)
    assert message.startswith(str(file))
    for part in parts:
        assert part in message
    assert max(map(len, message.splitlines())) < 500


def test_several_errors_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "[tool.taskroll]\nexclude = [1]\nwrong = 2")
    with pytest.raises(PackageConfigError) as caught:
        load_package_config(tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PackageConfigError, match="cannot be read"):
        load_package_config(tmp_path)
