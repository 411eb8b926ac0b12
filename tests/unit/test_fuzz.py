"""Hostile input: damaged encodings, lying headers and arbitrary names raise nothing but a Reject, in bounded memory."""

import contextlib
import io
import json
import struct
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines import images
from pipelines.images import ImageChecks, decode
from pipelines.labels import LabelRule
from pipelines.preprocess import PreprocessSpec
from pipelines.rejects import Reason, Reject

ROOT = Path(__file__).parents[2]


def file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8))
GRAY, RGBA, BLACK_AND_WHITE, WIDE = NOISE.convert("L"), NOISE.convert("RGBA"), NOISE.convert("1"), NOISE.convert("I;16")
TURNED = Image.Exif()
TURNED[0x0112] = 6
TWICE = [
    file(NOISE.copy(), kind, save_all=True, append_images=[NOISE.rotate(180)]) for kind in ("PNG", "MPO", "GIF", "WEBP", "TIFF")
]
PNGS = [file(NOISE), file(GRAY), file(RGBA), file(NOISE, dpi=(96, 96))]
OTHERS = [
    *TWICE,
    *(file(NOISE.convert("P"), transparency=3), file(BLACK_AND_WHITE), file(WIDE), file(NOISE, exif=TURNED)),
    *(file(NOISE, "JPEG"), file(NOISE, "JPEG", progressive=True, exif=TURNED), file(NOISE.convert("CMYK"), "JPEG")),
    *(file(NOISE, "GIF"), file(NOISE, "WEBP"), file(RGBA, "WEBP", lossless=True, exif=TURNED)),
    *(file(NOISE, "BMP"), file(NOISE.convert("P"), "BMP"), file(BLACK_AND_WHITE, "BMP")),
    *(file(NOISE, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")),
    *(file(BLACK_AND_WHITE, "TIFF", compression="group4"), file(NOISE.convert("P"), "TIFF")),
]

CHECKS = ImageChecks(max_pixels=100_000)
SPEC = PreprocessSpec(width=16, height=8, fit="pad")


def outcome(data: bytes) -> object:
    """What is comparable of the decoded image, or of the Reject."""
    try:
        decoded = decode(data, CHECKS)
    except Reject as reject:
        return reject.reason, reject.detail
    assert decoded.image.mode in ("L", "RGB")
    assert SPEC.apply(decoded.image).shape == SPEC.shape
    return decoded.image.mode, decoded.image.tobytes(), *decoded[1:]


def without_the_fast_decoder(data: bytes) -> object:
    fast, images.FastImage = images.FastImage, None
    try:
        return outcome(data)
    finally:
        images.FastImage = fast


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


def flipped(data: bytes, changes: list[tuple[float, int]]) -> bytes:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * len(data))] = value
    return bytes(damaged)


@settings(max_examples=1500)
@given(st.sampled_from(OTHERS + PNGS), flips, st.floats(0.1, 1))
def test_damage_raises_nothing_but_a_reject(data, changes, keep):
    outcome(flipped(data, changes))
    outcome(flipped(data, changes)[: int(keep * len(data))])


MAGIC = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"BM\0\0\0\0\0\0\0\0",
    b"II*\0",
    b"MM\0+",
]


@settings(max_examples=1000)
@given(st.sampled_from(MAGIC), st.binary(max_size=64))
def test_any_bytes_raise_nothing_but_a_reject(magic, data):
    outcome(magic + data)


@settings(max_examples=1500)
@given(st.sampled_from(PNGS), flips, st.integers(0, 40))
def test_damage_has_the_same_verdict_with_and_without_the_fast_decoder(data, changes, cut):
    for damaged in (flipped(data, changes), data[: len(data) - cut]):
        assert outcome(damaged) == without_the_fast_decoder(damaged)


def with_right_crcs(png: bytes) -> bytes:
    """The PNG with every CRC computed again, so that damage reaches the decoder of the pixels."""
    mended, place = png[:8], 8
    while place + 12 <= len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        if place + 12 + length > len(png):
            break
        mended += chunk(png[place + 4 : place + 8], png[place + 8 : place + 8 + length])
        place += 12 + length
    return mended + png[place:]


def sum_is_wrong(png: bytes) -> bool:
    """Whether the pixels inflate, and only zlib's Adler-32 does not fit them."""
    end = png.index(b"IDAT") + 4
    idat = png[end : end + int.from_bytes(png[end - 8 : end - 4], "big")]
    inflate = zlib.decompressobj(wbits=-15)  # without header and sum
    with contextlib.suppress(zlib.error):
        raw = inflate.decompress(idat[2:])
        return inflate.eof and zlib.adler32(raw).to_bytes(4, "big") != inflate.unused_data[:4]
    return False


@settings(max_examples=1500)
@given(st.sampled_from(PNGS), flips)
def test_damage_below_right_crcs_has_the_same_verdict_but_for_the_sum(data, changes):
    damaged = with_right_crcs(flipped(data, changes))
    fast, pillow = outcome(damaged), without_the_fast_decoder(damaged)
    if fast != pillow:
        assert pillow == (Reason.TRUNCATED, "damaged PNG: broken data stream when reading image file")
        assert sum_is_wrong(damaged)


# --- memory

BIG = 60_000
MOST = 1_000_000  # pixels that the child process below allows
ROOM = 32 << 20  # bytes it may take for them: an RGBA image, its copy and its background, and a JPEG's coefficients


def patched(data: bytes, place: int, layout: str, *values: int) -> bytes:
    return data[:place] + struct.pack(layout, *values) + data[place + struct.calcsize(layout) :]


def png(width: int, height: int, colour: int, idat: bytes, before: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def jpeg(width: int, height: int, **options: object) -> bytes:
    data = file(NOISE, "JPEG", **options)
    frame = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    return patched(data, frame + 5, ">HH", height, width)


def tiff(tag: int, value: int, **options: object) -> bytes:
    """A TIFF with another value in one of its tags (little-endian, of type short or long)."""
    data = file(NOISE, "TIFF", **options)
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    entry = next(p for p in range(start + 2, start + 2 + 12 * count, 12) if data[p : p + 2] == tag.to_bytes(2, "little"))
    return patched(data, entry + 2, "<HII", 4, 1, value)


ZEROS = zlib.compress(bytes(200_000_000), 9)
GIF, WEBP, BMP = file(NOISE, "GIF"), file(RGBA, "WEBP", lossless=True, exif=TURNED), file(NOISE, "BMP")
HOSTILE = {
    **{f"PNG of colour type {colour} that claims {BIG}": png(BIG, BIG, colour, zlib.compress(b"")) for colour in (0, 2, 3, 6)},
    **{
        f"PNG of colour type {colour} at the limit": png(1000, 1000, colour, zlib.compress(bytes(100)))
        for colour in (0, 2, 3, 6)
    },
    "PNG with pixels that never end": png(12, 8, 2, ZEROS),
    "PNG with a profile that never ends": png(12, 8, 2, zlib.compress(bytes(37 * 8)), chunk(b"iCCP", b"a\0\0" + ZEROS)),
    "PNG with a text that never ends": png(12, 8, 2, zlib.compress(bytes(37 * 8)), chunk(b"zTXt", b"a\0\0" + ZEROS)),
    "PNG with a chunk that claims 2 GB": png(12, 8, 2, b"", struct.pack(">I", 2**31 - 1) + b"tEXt"),
    **{f"RGBA at the limit, {kind}": file(Image.new("RGBA", (1000, 1000)), kind) for kind in ("PNG", "WEBP", "TIFF")},
    **{f"JPEG that claims {side}, progressive {p}": jpeg(side, side, progressive=p) for side in (1000, 65_500) for p in (0, 1)},
    "GIF with a screen of 65535": patched(GIF, 6, "<HH", 65535, 65535),
    "GIF with a frame of 65535": patched(GIF, GIF.index(b",\0\0\0\0") + 5, "<HH", 65535, 65535),
    "WebP with a canvas of 16777216": patched(WEBP, WEBP.index(b"VP8X") + 12, "<HHH", 65535, 65535, 65535),
    "WebP with a chunk of 4 GB": patched(WEBP, WEBP.index(b"VP8L") + 4, "<I", 2**32 - 2),
    "BMP that claims 60000": patched(BMP, 18, "<ii", BIG, BIG),
    "BMP that claims less than nothing": patched(BMP, 18, "<ii", -BIG, -BIG),
    "BMP whose pixels lie far away": patched(BMP, 10, "<I", 2**32 - 1),
    "BMP with runs, at the limit": patched(patched(file(GRAY, "BMP"), 18, "<ii", 1000, 1000), 30, "<I", 1),
    "TIFF that claims 2147483647 columns": tiff(256, 2**31 - 1),
    "TIFF that claims 60000 rows": tiff(257, BIG),
    "TIFF with a strip of 4 GB": tiff(279, 2**32 - 1),
    "TIFF with an LZW strip of 4 GB": tiff(279, 2**32 - 1, compression="tiff_lzw"),
    "TIFF with a strip of 4294967295 rows": tiff(278, 2**32 - 1, compression="tiff_adobe_deflate"),
    "TIFF with 65535 samples": tiff(277, 65535, compression="tiff_lzw"),
}

CHILD = """
import json, resource, sys
from pathlib import Path
from pipelines.images import ImageChecks, decode
from pipelines.rejects import Reject

def verdict(path):
    try:
        decode(path.read_bytes(), ImageChecks(max_pixels=int(sys.argv[2])))
    except Reject as reject:
        return reject.reason.value

first, *paths = sorted(Path(sys.argv[1]).iterdir())
verdict(first)  # whatever is loaded on the first call is loaded
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)
try:
    bytes(2 * int(sys.argv[3]))
except MemoryError:
    print(json.dumps({path.name: verdict(path) for path in paths}))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_no_header_takes_more_memory_than_the_limit_of_pixels_allows(tmp_path):
    for number, data in enumerate([file(NOISE, "TIFF", compression="tiff_lzw"), *HOSTILE.values()]):
        (tmp_path / f"{number:03d}").write_bytes(data)
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(MOST), str(ROOM)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verdicts = dict(zip(HOSTILE, json.loads(done.stdout.splitlines()[-1]).values(), strict=True))
    assert set(verdicts.values()) <= {None, "truncated", "decompression_bomb", "too_large", "not_an_image"}
    over = [name for name in HOSTILE if ("claims 60000" in name and "rows" not in name) or "screen" in name or "canvas" in name]
    assert {name: verdicts[name] for name in over} == dict.fromkeys(over, "decompression_bomb")
    assert [verdicts[name] for name in HOSTILE if name.startswith("RGBA at the limit")] == [None, None, None]


# --- names

anything = st.text(st.characters(exclude_characters="\0"), max_size=60)  # lone surrogates too: names that are not valid UTF-8
rules = st.sampled_from(
    [
        LabelRule(),
        LabelRule(copy_number=False, case="upper", max_length=5),
        LabelRule(case="lower", alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_length=2),
        LabelRule(source="folder", case="fold"),
        LabelRule(pattern=r"(?P<label>[^/]*)$"),
        LabelRule(pattern=r"(?:^|/)(?P<label>\w+)(?:\.\d+)?\.\w+$", case="upper"),
        LabelRule(table={"file": "labels.csv", "image": "image", "label": "label"}),
    ]
)


@settings(max_examples=1500)
@given(rules, st.lists(anything, min_size=1, max_size=4).map("/".join), st.none() | anything)
def test_any_name_has_a_label_by_the_rule_or_a_reject(rule, path, cell):
    try:
        label = rule.label_of(path, cell)
    except Reject as reject:
        assert reject.reason in (Reason.NO_LABEL, Reason.FOREIGN_CHARACTER, Reason.TOO_SHORT, Reason.TOO_LONG)
        reject.detail.encode()
    else:
        assert unicodedata.is_normalized("NFC", label)
        assert rule.min_length <= len(label.encode().decode()) <= (rule.max_length or len(label))
        assert rule.alphabet is None or set(label) <= set(rule.alphabet)
