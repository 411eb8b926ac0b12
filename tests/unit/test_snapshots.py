"""Stages as files: names that are of their own and stay in their folder."""

import os

import numpy as np
import pytest
from PIL import Image

from model.snapshots import Snapshots
from pipelines.errors import DataError

STAGES = [("source", np.arange(24, dtype=np.uint8).reshape(2, 4, 3)), ("mode", np.arange(8, dtype=np.uint8).reshape(2, 4, 1))]


def test_each_stage_is_a_file(tmp_path):
    Snapshots(tmp_path / "new" / "stages")("images/aB3x.png", STAGES)
    source, mode = sorted((tmp_path / "new" / "stages").iterdir())
    assert [source.name, mode.name] == ["00001-aB3x.png-0-source.png", "00001-aB3x.png-1-mode.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(source)), STAGES[0][1])
    np.testing.assert_array_equal(np.asarray(Image.open(mode)), STAGES[1][1][..., 0])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.png", "b.png"),
        ("c/b.png", "b.png"),
        ("../../etc/x", "x"),
        ("..", ".."),
        ("/", ""),
        ("", ""),
        ("é b\n.png", "__b_.png"),
        ("\udcff.png", "_.png"),
        ("a\0b", "a_b"),
        ("a\\..\\b", "a_.._b"),
        ("x" * 300 + ".png", "x" * 56 + ".png"),
    ],
)
def test_names_stay_in_the_folder(tmp_path, path, name):
    snapshots = Snapshots(tmp_path / "stages")
    for _ in range(2):
        snapshots(path, STAGES[:1])
    assert sorted(os.listdir(tmp_path / "stages")) == [f"00001-{name}-0-source.png", f"00002-{name}-0-source.png"]
    assert os.listdir(tmp_path) == ["stages"]


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for place, said in ((tmp_path, "holds something already"), (tmp_path / "mine.txt", "cannot be made")):
        with pytest.raises(DataError, match=said) as caught:
            Snapshots(place)
        assert "--save-debug" in str(caught.value)
    assert (tmp_path / "mine.txt").read_text() == "mine"
