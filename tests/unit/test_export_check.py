"""What is near enough of an export, on real rows, and what is said where it is not."""

import re

import numpy as np
import pytest

from model.exports.check import Checked, compare, single_ms
from model.provenance import dataset_of
from pipelines.errors import DataError

VERDICTS = [  # same texts, exact match of the export and of the original, int8: what is said
    (1.0, 0.95, 0.95, False, ""),
    (0.999, 0.951, 0.95, False, ""),
    (
        0.9985,
        0.95,
        0.95,
        False,
        "the same texts on 0.9985 of 2000 rows, where 0.999 are asked (exact match 0.9500, of the original 0.9500)",
    ),
    (0.5, 0.951, 0.95, True, ""),
    (0.99, 0.945, 0.95, True, ""),
    (0.99, 0.944, 0.95, True, "exact match 0.9440 where the original has 0.9500 on 2000 rows, more than 0.5 points less"),
    (0.9, 0.99, 0.95, True, ""),
]


@pytest.mark.parametrize(("same", "exact", "original", "int8", "said"), VERDICTS)
def test_what_is_near_enough(same, exact, original, int8, said):
    assert Checked(2000, same, exact, original).problem(int8) == said


def test_texts_are_compared_row_by_row():
    labels = ["12", "34", "56", "78"]
    assert compare(["12", "34", "5", ""], ["12", "3", "5", "78"], labels) == Checked(4, 0.5, 0.5, 0.5)


def test_single_images_are_timed_one_by_one():
    asked = []
    ms = single_ms(lambda images: asked.append(images.shape) or images, np.zeros((3, 8, 8, 1), np.uint8))
    assert ms > 0
    assert asked == [(1, 8, 8, 1)] * 6  # three to warm up


def test_a_dataset_that_no_run_notes_is_asked_for_in_one_line():
    with pytest.raises(DataError, match=re.escape("model_out: no run is known of it; name a dataset with --dataset")):
        dataset_of(None, "model_out")
