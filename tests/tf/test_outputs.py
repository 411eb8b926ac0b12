"""The folder of a run: who may work in it, what goes on there, and what is refused."""

import json

import pytest

from model import outputs
from model.mixture import Mixture
from model.outputs import default_folder, find, opened, read_record, record_of

pytestmark = pytest.mark.tf


@pytest.fixture
def record(digits, quick):
    return lambda **changes: record_of(Mixture.of(digits), quick(**changes), "preset")


def begun(folder, record) -> None:
    with opened(folder, record) as output:
        output.started("abc", folder.parent / "home")


def test_a_run_that_begins_and_ends(tmp_path, record, digits):
    folder = tmp_path / "deep" / "run"
    with opened(folder, record()) as output:
        assert (output.record.run_id, output.record.finished) == (None, False)
        output.started("abc", tmp_path)
    with opened(folder, record()) as output:
        assert (output.record.run_id, output.record.finished) == ("abc", False)
        output.finished()
    kept = read_record(folder)
    assert kept == record().model_copy(update={"run_id": "abc", "finished": True})
    assert kept.datasets == (f"{digits.location.uri}@1",)
    assert [path.name for path in folder.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"epochs": 7}}, "train.epochs was 1 and is 7"),
        (
            {"network": {"units": 16}, "augment": {"zoom": 0.5}},
            "augment.zoom was 0.0 and is 0.5, network.units was 8 and is 16",
        ),
        ({"loader": {"window": 10}}, "loader.window was 8192 and is 10"),
        ({"tracking": {"experiment": "other"}}, "tracking.experiment was glyphmill and is other"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(tmp_path, record, told, changes, message):
    begun(tmp_path / "run", record())

    def again() -> None:
        begun(tmp_path / "run", record(**changes))

    assert f"run: a run of other settings: {message}; take another --output, or --resume " in told(again)


def test_another_dataset_is_refused(tmp_path, record, told):
    begun(tmp_path / "run", record().model_copy(update={"fingerprint": "f00"}))
    assert "dataset was f00 and is " in told(lambda: begun(tmp_path / "run", record()))


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"steps_per_call": 3, "checkpoint_minutes": 1.0, "checkpoint_steps": 9}},
        {"loader": {"prefetch": 9, "threads": 1}},
        {"devices": {"cpus": 2}},
        {"tracking": {"promote": "never"}},
    ],
)
def test_what_does_not_decide_a_run_may_change(tmp_path, record, changes):
    begun(tmp_path / "run", record())
    begun(tmp_path / "run", record(**changes))
    assert default_folder(tmp_path, record()) == default_folder(tmp_path, record(**changes))


def test_the_default_folder_goes_by_what_decides(tmp_path, record):
    folders = {default_folder(tmp_path, record(train={"seed": seed})) for seed in (0, 1, 1)}
    assert len(folders) == 2
    assert {folder.parent for folder in folders} == {tmp_path / "checkpoints"}


def test_a_run_is_found_by_folder_and_by_id(tmp_path, record, told):
    folder = tmp_path / "somewhere" / "run"
    with opened(folder, record()) as output:
        output.started("abc", tmp_path / "home")
    with opened(folder, record()) as output:
        output.started("abc", tmp_path / "home")  # it went on
    assert find(str(folder), tmp_path / "home") == find("abc", tmp_path / "home") == folder
    message = told(find, "abd", tmp_path / "home")
    assert message.startswith("--resume abd: no folder with a run.json, and not the id of a run whose folder is under ")


def test_a_folder_of_something_else_is_refused(tmp_path, record, told):
    (tmp_path / "thesis.tex").write_text("x")
    assert "not an empty folder, and no training run" in told(lambda: begun(tmp_path, record()))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_one_process_at_a_time(tmp_path, record, told):
    with opened(tmp_path / "run", record()):
        assert "another training is writing here (pid " in told(lambda: begun(tmp_path / "run", record()))


def test_a_record_that_is_no_record_is_told(tmp_path, record):
    begun(tmp_path / "run", record())
    (tmp_path / "run" / outputs.RECORD).write_text(json.dumps({"what": 1}))
    with pytest.raises(Exception, match=r"run\.json: datasets: Field required; .*unknown key what") as caught:
        read_record(tmp_path / "run")
    assert "\n" not in str(caught.value)
