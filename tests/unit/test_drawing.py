"""Made data: the same seed draws the same bytes anywhere; flaws, names and refusals."""

import hashlib
import io
import random
import re
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from captcha import image as captcha_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.drawing import FLAWS, DrawingSettings, draw, plan
from pipelines.errors import SettingsError
from pipelines.settings import build

ROOT = Path(__file__).parents[2]
HASHES = """
import hashlib, random
from pipelines.drawing import DrawingSettings, draw, plan
settings = DrawingSettings(count=4, seed={seed}, size="80x40", flaws=4)
for drawing in plan(settings):
    print(drawing.path, hashlib.sha256(draw(settings, drawing)).hexdigest())
"""


def hashes_of_a_fresh_process(seed: int) -> list[str]:
    command = [sys.executable, "-c", HASHES.format(seed=seed)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def test_the_same_seed_draws_the_same_bytes_in_another_process():
    first, again, other = (hashes_of_a_fresh_process(seed) for seed in (1, 1, 2))
    assert len(first) == 8
    assert first == again
    assert not {line.split()[1] for line in first[:4]} & {line.split()[1] for line in other[:4]}


def test_a_drawing_depends_on_nothing_drawn_before():
    settings = DrawingSettings(count=3, size="80x40")
    drawings = plan(settings)
    forwards = [draw(settings, drawing) for drawing in drawings]
    random.seed(99)
    assert [draw(settings, drawing) for drawing in reversed(drawings)] == forwards[::-1]


def test_captcha_still_draws_from_its_module_level_secrets():
    assert getattr(captcha_image, "secrets", None) is secrets, (
        "captcha.image has no module-level `secrets` any more: pipelines.drawing seeds captcha by replacing it,"
        " so drawings are not reproducible with this version of captcha"
    )


def test_captcha_draws_all_its_chance_from_secrets(monkeypatch):
    class Counting(random.Random):
        calls = 0

        def randbelow(self, bound):
            Counting.calls += 1
            return self.randrange(bound)

        def randbits(self, bits):
            Counting.calls += 1
            return self.getrandbits(bits)

    def drawn() -> bytes:
        monkeypatch.setattr(captcha_image, "secrets", Counting(1))
        return captcha_image.ImageCaptcha(80, 40).generate("AB").getvalue()

    assert drawn() == drawn(), "captcha draws from something besides `secrets`, which pipelines.drawing does not seed"
    assert Counting.calls > 0


def test_secrets_are_put_back_also_after_an_error():
    settings = DrawingSettings(count=1, size="80x40")
    with pytest.raises(ZeroDivisionError):
        draw(settings, plan(settings)[0]._replace(label=""))
    assert captcha_image.secrets is secrets


def test_an_image_is_a_png_of_the_size_asked_for():
    settings = DrawingSettings(count=1, size="120x50")
    with Image.open(io.BytesIO(draw(settings, plan(settings)[0]))) as image:
        assert (image.format, image.size) == ("PNG", (120, 50))


def test_flaws_come_in_turn_and_are_what_they_say():
    settings = DrawingSettings(count=20, flaws=6, size="80x40")
    drawings = plan(settings)
    good, flawed = drawings[:20], drawings[20:]
    assert FLAWS == ("empty", "truncated", "not_an_image", "duplicate")
    assert [drawing.flaw for drawing in flawed] == [*FLAWS, "empty", "truncated"]
    assert all(drawing.path.startswith("flawed/") for drawing in flawed)
    original = {drawing.number: draw(settings, drawing) for drawing in good}
    empty, truncated, text, duplicate = (draw(settings, drawing) for drawing in flawed[:4])
    assert empty == b""
    assert original[flawed[1].number].startswith(truncated)
    assert 0 < len(truncated) < len(original[flawed[1].number])
    assert b"text" in text
    assert duplicate == original[flawed[3].number]
    assert flawed[3].label == good[flawed[3].number].label


plans = st.builds(
    DrawingSettings,
    count=st.sampled_from([1, 9, 1001]),
    alphabet=st.sampled_from(["A", "ab", "0123456789"]),
    length=st.sampled_from(["1", "1-2", "3-5"]),
    seed=st.integers(0, 3),
    flat=st.booleans(),
    flaws=st.integers(0, 9),
)


@settings(max_examples=30)
@given(plans)
def test_a_plan(planned):
    drawings = plan(planned)
    assert len(drawings) == planned.count + planned.flaws
    assert len({drawing.path for drawing in drawings}) == len(drawings)
    assert drawings == plan(planned)
    for drawing in drawings:
        folder, _, name = drawing.path.rpartition("/")
        assert re.fullmatch(re.escape(drawing.label) + r"(\.\d+)?\.png", name)
        assert planned.length[0] <= len(drawing.label) <= planned.length[1]
        assert set(drawing.label) <= set(planned.alphabet)
        assert folder == ("" if planned.flat else "flawed" if drawing.flaw else f"{drawing.number // 1000:05d}")


def test_a_label_that_comes_again_gets_a_number():
    drawings = plan(DrawingSettings(count=4, alphabet="A", length="2", flat=True))
    assert [drawing.path for drawing in drawings] == ["AA.png", "AA.1.png", "AA.2.png", "AA.3.png"]


def test_a_longer_plan_begins_with_the_shorter_one():
    assert plan(DrawingSettings(count=900))[:50] == plan(DrawingSettings(count=50))


def test_labels_use_every_length_and_character():
    drawings = plan(DrawingSettings(count=3000))
    lengths = Counter(len(drawing.label) for drawing in drawings)
    assert sorted(lengths) == [4, 5, 6]
    assert all(800 < count < 1200 for count in lengths.values())
    assert len({c for drawing in drawings for c in drawing.label}) == 36


def test_every_character_of_an_alphabet_is_drawn():
    settings = DrawingSettings(count=1, alphabet="aé_-%𝔸", length="6", size="200x60")
    for label in ("aé_-%𝔸", "______", "------"):
        data = draw(settings, plan(settings)[0]._replace(label=label))
        assert (
            hashlib.sha256(data).hexdigest()
            == hashlib.sha256(draw(settings, plan(settings)[0]._replace(label=label))).hexdigest()
        )


@pytest.mark.parametrize(
    ("key", "text", "pair"),
    [("length", "5", (5, 5)), ("length", "4-6", (4, 6)), ("length", (2, 3), (2, 3)), ("size", "160x60", (160, 60))],
)
def test_pairs(key, text, pair):
    assert getattr(DrawingSettings.model_validate({"count": 1, key: text}), key) == pair


REFUSED = [
    ("count", 0, "greater than or equal to 1"),
    ("length", "6-4", "between 1 and 64, such as 4-6"),
    ("length", "0-4", "between 1 and 64, such as 4-6"),
    ("length", "1-65", "between 1 and 64, such as 4-6"),
    ("length", "long", "expected numbers such as 4-6"),
    ("size", "9x9", "between 16 and 4096, such as 200x100"),
    ("size", "200*100", "expected numbers such as 200x100"),
    ("alphabet", "", "at least 1 character"),
    ("alphabet", "aba", "'a' stands twice or cannot stand in a file name"),
    ("alphabet", "a/b", "'/' stands twice or cannot stand in a file name"),
    ("alphabet", "a.b", "'.' stands twice or cannot stand in a file name"),
    ("alphabet", "a b", "' ' stands twice or cannot stand in a file name"),
    ("alphabet", "a\\\0", "stands twice or cannot stand in a file name"),
    ("flaws", -1, "greater than or equal to 0"),
    ("colour", "red", "unknown key colour"),
]


@pytest.mark.parametrize(("key", "value", "said"), REFUSED)
def test_settings_that_cannot_be_drawn_are_refused(key, value, said):
    with pytest.raises(SettingsError) as caught:
        build(DrawingSettings, {"count": 1, key: value}, "generate")
    message = str(caught.value)
    assert message.startswith("generate: ")
    assert key in message
    assert said in message
