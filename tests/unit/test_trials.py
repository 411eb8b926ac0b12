"""The trials of a sweep: values parsed, every combination once and in order, samples of them; and the figure of their rows."""

import io

import pytest
from PIL import Image

from model.compare import Row
from model.compare_figures import chart
from model.trials import Trial, parse, trials
from pipelines.errors import SettingsError

RATES = "train.learning_rate=1e-3,3e-4"


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        (RATES, "train.learning_rate", ["1e-3", "3e-4"]),
        ("train.seed=1", "train.seed", ["1"]),
        ("network.widths=[8, 16],[16,32, 64]", "network.widths", ["[8, 16]", "[16,32, 64]"]),
        ("network={name: crnn, units: 8},{name: multihead}", "network", ["{name: crnn, units: 8}", "{name: multihead}"]),
        ("train.ema=null, 0.99", "train.ema", ["null", "0.99"]),
        ("train.init_from=models:/a@b", "train.init_from", ["models:/a@b"]),
    ],
)
def test_values_of_a_setting(text, key, values):
    assert parse(text) == (key, values)


@pytest.mark.parametrize("text", ["train.seed", "train.seed=", "=1,2", "train.seed=1,", "train.seed=1,,2", "train.seed=1,2,1"])
def test_what_is_no_list_of_values_is_told(text):
    with pytest.raises(SettingsError, match="--set "):
        parse(text)


def test_a_grid_has_every_combination_once_and_in_order():
    assert trials(["conf/a.yaml", "conf/b.yaml"], [RATES, "train.seed=1,2"]) == [
        Trial("conf/a.yaml", (("train.learning_rate", "1e-3"), ("train.seed", "1"))),
        Trial("conf/a.yaml", (("train.learning_rate", "1e-3"), ("train.seed", "2"))),
        Trial("conf/a.yaml", (("train.learning_rate", "3e-4"), ("train.seed", "1"))),
        Trial("conf/a.yaml", (("train.learning_rate", "3e-4"), ("train.seed", "2"))),
        Trial("conf/b.yaml", (("train.learning_rate", "1e-3"), ("train.seed", "1"))),
        Trial("conf/b.yaml", (("train.learning_rate", "1e-3"), ("train.seed", "2"))),
        Trial("conf/b.yaml", (("train.learning_rate", "3e-4"), ("train.seed", "1"))),
        Trial("conf/b.yaml", (("train.learning_rate", "3e-4"), ("train.seed", "2"))),
    ]


def test_presets_alone_and_nothing_at_all():
    assert trials(["a.yaml", "b.yaml", "a.yaml"], []) == [Trial("a.yaml", ()), Trial("b.yaml", ())]
    assert trials([], []) == [Trial(None, ())]
    assert Trial(None, ()).name == "default"


def test_what_all_trials_have_is_not_in_their_names():
    one, two = trials([], ["train.epochs=3", "train.seed=1,2", "train.batch_size=8"])
    assert (one.name, two.name) == ("default train.seed=1", "default train.seed=2")
    assert one.overrides == ["train.epochs=3", "train.batch_size=8", "train.seed=1"]


def test_a_key_that_stands_twice_is_told():
    with pytest.raises(SettingsError, match="stands there twice"):
        trials([], ["train.seed=1", "train.seed=2"])


def test_a_sample_is_seeded_ordered_and_without_repeats():
    settings = ["train.seed=" + ",".join(map(str, range(100))), "train.epochs=" + ",".join(map(str, range(1, 101)))]
    every = trials([], settings)
    some = trials([], settings, 50, seed=1)
    assert some == trials([], settings, 50, seed=1)
    assert some != trials([], settings, 50, seed=2)
    assert len(set(some)) == 50
    assert some == [trial for trial in every if trial in set(some)]
    assert trials([], settings, 10**6) == every


def test_a_sample_of_more_combinations_than_fit_in_memory():
    many = [f"train.key{n}=" + ",".join(map(str, range(100))) for n in range(8)]
    assert len(trials([], many, 3)) == 3


def test_what_a_trial_is_called_and_sets():
    trial = Trial("conf/train/fast.yaml", (("train.learning_rate", "1e-3"), ("network.widths", "[8, 16]")))
    assert trial.name == "fast train.learning_rate=1e-3 network.widths=[8, 16]"
    assert trial.overrides == ["train.learning_rate=1e-3", "network.widths=[8, 16]"]


@pytest.mark.parametrize("count", [1, 3, 60])
def test_every_table_is_drawn(count):
    rows = [
        Row("a" * 32, f"trial {n} x=$_^{n}", "finished", "p", "d", "data", n / 100, 0.0, 0.9, val_exact_match=n / 90)
        for n in range(count)
    ]
    for some in (
        rows,
        [*rows, Row("", "a trial", "failed", "p", "d", "data", error="no")],
        rows[:0] or [Row("", "t", "failed", "", "", "")],
    ):
        with Image.open(io.BytesIO(chart(some, "trials"))) as image:
            assert image.size == (1080, int((1.3 + 0.34 * min(40, len(some))) * 120))
