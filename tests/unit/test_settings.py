"""Settings: what is read, and what is refused in one line that names key, value and remedy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import IngestSettings
from pipelines.errors import SettingsError
from pipelines.settings import flatten, read

REFUSED_YAML = [
    ("imag: {}", ["unknown key imag", "label, checks, image, split, shards"]),
    ("image: {widht: 3}", ["unknown key image.widht", "mode, height, width, fit, background"]),
    ("image: 5", ["image=5"]),
    ("image:", ["image=None"]),
    ("label: {alphabet: 0123}", ["label.alphabet=83", "put it in quotes"]),  # YAML 1.1 reads an octal number
    ("label: {copy_number: maybe}", ["label.copy_number='maybe'", "boolean"]),
    ("image: {width: 12.5}", ["image.width=12.5", "integer"]),
    ("1: 2", ["Keys should be strings"]),
    ("- image", ["expected a mapping", "list"]),
    ("image: [", ["not a readable YAML file"]),
]

REFUSED_OVERRIDES = [
    (["image.width"], ["--set image.width:", "expected key=value", "image.width=200"]),
    (["=3"], ["--set =3", "expected key=value"]),
    (["imag.width=200"], ["unknown key imag", "image"]),
    (["image.widht=200"], ["unknown key image.widht", "width"]),
    (["image.width=wide"], ["image.width='wide'", "integer"]),
    (["image.width=7"], ["image.width=7", "greater than or equal to 8"]),
    (["image.mode=grey"], ["image.mode='grey'", "'gray' or 'rgb'"]),
    (["image.mode=["], ["image.mode=[", "not a YAML value"]),
    (["image=3", "image.width=200"], ["--set image.width=200", "image is a value"]),
    (["split.train=0.5"], ["split:", "add up to 0.8", "shares of 1"]),
    (["split.test=-0.1"], ["split.test=-0.1", "greater than or equal to 0"]),
    (["label.pattern=("], ["label.pattern='('", "not a regular expression"]),
    (["label.pattern=(.*)"], ["label.pattern='(.*)'", "no group named label", "(?P<label>"]),
    (["label.alphabet=abca"], ["label.alphabet='abca'", "each character once", "more than once: a"]),
    (["label.alphabet="], ["label.alphabet=''", "at least one"]),
    (["label.min_length=0"], ["label.min_length=0", "greater than or equal to 1"]),
    (["label.min_length=4", "label.max_length=2"], ["label:", "max_length 2 is below min_length 4"]),
    (["shards.rows=0"], ["shards.rows=0", "greater than or equal to 1"]),
    (["shards.compression=gzip"], ["shards.compression='gzip'", "'lz4', 'zstd' or 'none'"]),
]

READ_OVERRIDES = [
    ("label.alphabet=0123", "label.alphabet", "0123"),
    ("label.alphabet=1e5", "label.alphabet", "1e5"),
    ("label.alphabet=a=b", "label.alphabet", "a=b"),
    ("label.alphabet=null", "label.alphabet", None),
    ("label.pattern=(?P<label>[^_]+)_", "label.pattern", "(?P<label>[^_]+)_"),
    ("label.max_length=null", "label.max_length", None),
    ("label.copy_number=false", "label.copy_number", False),
    ("split.salt=007", "split.salt", "007"),
    ("split.salt=", "split.salt", ""),
    ("image.width=200", "image.width", 200),
    ("image.mode=rgb", "image.mode", "rgb"),
]


def refusal(path=None, overrides=()):
    with pytest.raises(SettingsError) as caught:
        read(IngestSettings, path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(("text", "said"), REFUSED_YAML)
def test_a_refused_file_is_told_in_one_line_with_key_value_and_remedy(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in said), message
    assert "\n" not in message


@pytest.mark.parametrize(("overrides", "said"), REFUSED_OVERRIDES)
def test_a_refused_override_is_told_in_one_line_with_key_value_and_remedy(overrides, said):
    message = refusal(overrides=overrides)
    assert all(part in message for part in said), message
    assert "\n" not in message


@pytest.mark.parametrize(("override", "key", "value"), READ_OVERRIDES)
def test_overrides_are_text_where_the_setting_is_text_and_yaml_elsewhere(override, key, value):
    assert flatten(read(IngestSettings, overrides=[override]).model_dump())[key] == value


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text != "null"))
def test_a_text_setting_takes_any_text_as_it_stands(text):
    assert read(IngestSettings, overrides=[f"split.salt={text}"]).split.salt == text


def test_all_mistakes_are_told_at_once():
    message = refusal(overrides=["image.width=1", "image.hight=2", "label.case=title"])
    assert all(part in message for part in ("image.width=1", "image.hight", "label.case='title'"))


def test_overrides_win_over_the_file_and_leave_the_rest(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("image: {width: 100, height: 50}")
    image = read(IngestSettings, path, ["image.width=200"]).image
    assert (image.width, image.height, image.mode) == (200, 50, "gray")


def test_an_empty_file_means_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing but a comment\n")
    assert read(IngestSettings, tmp_path / "empty.yaml") == IngestSettings()


def test_the_defaults_are_those_of_the_readme():
    split = IngestSettings().split
    assert (split.train, split.val, split.test) == (0.7, 0.1, 0.2)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
    message = refusal(tmp_path / name)
    assert str(tmp_path / name) in message
    assert "\n" not in message


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not a readable YAML file" in refusal(tmp_path / "binary.yaml")


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        IngestSettings().image.width = 3


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [2]}) == {"a.b": 1, "a.c.d": None, "e": [2]}
