"""A corpus of bad files and bad names in one ingest: each lands in its reject reason, none stops the job."""

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.config import IngestSettings
from pipelines.ingest import ingest

SETTINGS = IngestSettings.model_validate(
    {
        "label": {
            "pattern": r"(?:^|/)(?P<label>[^/]+?)(?:\.copy)?\.\w{3,5}$",
            "alphabet": "0123456789abcdefé",
            "case": "lower",
            "min_length": 2,
            "max_length": 6,
        },
        "checks": {"max_side": 2000, "max_pixels": 1_000_000},
        "image": {"width": 16, "height": 8},
    }
)


def noise(seed: int, width: int = 24, height: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def frames(kind: str) -> bytes:
    return file(noise(1), kind, save_all=True, append_images=[noise(2)])


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("a.png", file(noise(1)))
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


ROWS = zlib.compress(bytes(12 * 25))  # what an IDAT holds of a gray, black 24x12
BOMB = zlib.compress(bytes(20_000_000))
IEND = chunk(b"IEND", b"")


def png(width: int, height: int, before: bytes = b"", idat: bytes = ROWS, after: bytes = IEND) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + (chunk(b"IDAT", idat) if idat else b"") + after


def broken(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


WHOLE = {kind: file(noise(3), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")}
MAGIC = {"PNG": 8, "JPEG": 3, "WEBP": 12, "BMP": 10, "GIF": 6, "TIFF": 4}  # bytes that tell the format
CUTS = {f"{kind} cut {where}": data for kind, whole in WHOLE.items() for where, data in {
    "after its signature": whole[: MAGIC[kind]],
    "in its header": whole[: MAGIC[kind] + 12],
    "in the middle": whole[: len(whole) // 2],
    "before its end": whole[: -len(whole) // 8],
}.items()}  # fmt: skip
TEXTS = {
    "text": b"the label is in the file name\n",
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "json": b'{"error": "rate limit exceeded"}',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="24" height="12"/>',
    "shell script": b"#!/bin/sh\nexit 1\n",
    "a text that starts like a BMP": b"BMW is a car, and no bitmap at all.\n",
    "a portable pixmap": file(noise(1), "PPM"),
    "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "zip": archive(),
    "gzip": gzip.compress(WHOLE["PNG"]),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(57),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
    "random bytes": np.random.default_rng(5).bytes(1000),
    "NUL bytes": bytes(1000),
    "one byte": b"\x89",
    "a line break before a PNG": b"\n" + WHOLE["PNG"],
}

# kind: the bytes, the reason. Each lies under a good name.
FILES: dict[str, tuple[bytes, str]] = {
    "zero bytes": (b"", "empty_file"),
    **{kind: (data, "truncated") for kind, data in CUTS.items()},
    **{kind: (data, "not_an_image") for kind, data in TEXTS.items()},
    "a PNG with a wrong CRC of the header": (broken(WHOLE["PNG"], 30), "truncated"),
    "a PNG with a wrong CRC of a note": (broken(png(24, 12, chunk(b"pHYs", bytes(9))), 53), "truncated"),
    "a PNG with damaged pixels": (broken(WHOLE["PNG"], 60), "truncated"),
    "a PNG with no pixels": (png(24, 12, idat=b""), "truncated"),
    "a PNG with too few pixels": (png(240, 120), "truncated"),
    "a PNG of no size": (png(0, 0), "truncated"),
    "a PNG in text mode": (WHOLE["PNG"].replace(b"\r\n", b"\n"), "not_an_image"),
    "a JPEG of zeros": (WHOLE["JPEG"][:200] + bytes(400), "truncated"),
    "a TIFF that points behind its end": (WHOLE["TIFF"][:4] + b"\xff\xff\xff\x7f" + WHOLE["TIFF"][8:], "truncated"),
    "a BMP of an unknown compression": (WHOLE["BMP"][:30] + b"\x63" + WHOLE["BMP"][31:], "truncated"),
    "a PNG that claims 4 billion columns": (png(2**32 - 1, 2**32 - 1), "decompression_bomb"),
    "a PNG over the limit": (png(1001, 1000, idat=zlib.compress(bytes(1002 * 1000))), "decompression_bomb"),
    "a GIF that claims 65535 columns": (WHOLE["GIF"][:6] + b"\xff\xff\xff\xff" + WHOLE["GIF"][10:], "decompression_bomb"),
    "a bomb in a profile": (png(24, 12, chunk(b"iCCP", b"a\0\0" + BOMB)), "decompression_bomb"),
    "a bomb in a text": (png(24, 12, chunk(b"zTXt", b"a\0\0" + BOMB)), "decompression_bomb"),
    "a bomb in a text behind the pixels": (png(24, 12, after=chunk(b"zTXt", b"a\0\0" + BOMB) + IEND), "decompression_bomb"),
    "an animated GIF": (frames("GIF"), "animated"),
    "an animated PNG": (frames("PNG"), "animated"),
    "an animated WebP": (frames("WEBP"), "animated"),
    "a TIFF of two pages": (frames("TIFF"), "animated"),
    "one pixel": (file(noise(1, 1, 1)), "too_small"),
    "one row": (file(noise(1, 24, 1)), "too_small"),
    "too wide": (file(noise(1, 2001, 2)), "too_large"),
    "too high": (file(noise(1, 2, 2001)), "too_large"),
    "32 bits": (file(Image.new("I", (24, 12), 70_000), "TIFF"), "not_an_image"),
    "float": (file(Image.new("F", (24, 12), 0.5), "TIFF"), "not_an_image"),
    "lab": (file(Image.new("LAB", (24, 12)), "TIFF"), "not_an_image"),
}

# kind: the name, the reason. Each is a good image.
NAMES: dict[str, tuple[str, str]] = {
    "no extension": ("0a0b", "no_label"),
    "a pattern that does not match": ("0a0b.p", "no_label"),
    "not UTF-8": ("0a\udcff.png", "no_label"),  # the byte FF, as Python holds it
    "not UTF-8 in the folder": ("\udce9t\udce9/0a0b.\udcff", "no_label"),
    "a letter outside the alphabet": ("0a0z.png", "foreign_character"),
    "a letter that looks like another": ("0\u0430.png", "foreign_character"),  # Cyrillic
    "a combining mark that joins nothing": ("0a\u0323.png", "foreign_character"),
    "emoji": ("0a\U0001f469\u200d\U0001f680.png", "foreign_character"),
    "right to left": ("\u05d0\u05d1\u05d2.png", "foreign_character"),
    "a mark that turns the direction": ("0a\u202e0b.png", "foreign_character"),
    "full-width digits": ("\uff10\uff11.png", "foreign_character"),
    "a space": ("0a 0b.png", "foreign_character"),
    "a space at the end": ("0a0b .png", "foreign_character"),
    "a control character": ("0a\x070b.png", "foreign_character"),
    "a line break": ("0a\n0b.png", "foreign_character"),
    "a backslash": ("0a\\0b.png", "foreign_character"),
    "shell": ("$(a);'.png", "foreign_character"),
    "percent": ("0%2Fb.png", "foreign_character"),
    "too short": ("0.png", "too_short"),
    "too long": ("0123456.png", "too_long"),
    "255 bytes": ("a" * 251 + ".png", "too_long"),
    "255 bytes of two each": ("é" * 125 + "a.png", "too_long"),
}

# path: the bytes, the label
GOOD = {
    "good/wrong extension/0b01.txt": (WHOLE["JPEG"], "0b01"),
    "good/upper case/0B02.PNG": (file(noise(12)), "0b02"),
    "good/combining/0b03e\u0301.png": (file(noise(13)), "0b03é"),
    "good/folder.png/0b04.png": (file(noise(14)), "0b04"),
    "good/" + "deep/" * 100 + "0b05.png": (file(noise(15)), "0b05"),
    "good/same label/0b01.png": (file(noise(16)), "0b01"),
    "good/-rf/0b06.png": (file(noise(17)), "0b06"),
    "good/one frame/0b07.gif": (WHOLE["GIF"], "0b07"),
    "good/cmyk/0b08.jpg": (file(noise(18).convert("CMYK"), "JPEG"), "0b08"),
    "good/one bit/0b09.bmp": (file(noise(19).convert("1"), "BMP"), "0b09"),
    "good/as wide as it may be/0b10.png": (file(noise(20, 2000, 2)), "0b10"),
    "good/collision/0B0a.png": (file(noise(23)), "0b0a"),
    "good/collision/0b0A.png": (file(noise(24)), "0b0a"),
    "good/1/0c01.png": (file(noise(21)), "0c01"),
    "good/2/0c02.png": (file(noise(22)), "0c02"),
}

# path: the bytes, the reason. What stands in the way of each is another file.
REPEATED = {
    "repeat/0c01.png": (GOOD["good/1/0c01.png"][0], "duplicate"),
    "repeat/0C02.copy.png": (GOOD["good/2/0c02.png"][0], "duplicate"),  # the label is folded first
    "conflict/0d01.png": (file(noise(31)), "conflicting_label"),
    "conflict/0d02.png": (file(noise(31)), "conflicting_label"),
    "conflict/0d03.png": (file(noise(31)), "conflicting_label"),
}


def write(path: Path, data: bytes) -> None:
    """Each file in the folder of its own kind; also names that are not valid UTF-8."""
    os.makedirs(os.fsencode(path.parent), exist_ok=True)
    with open(os.fsencode(path), "wb") as stream:
        stream.write(data)


def special(root: Path) -> dict[str, str]:
    """What is neither a file nor a folder, and files that cannot be read: path -> reason of those that are listed."""
    folder = root / "special"
    folder.mkdir()
    (folder / "0e01.png").symlink_to("nowhere.png")
    (folder / "0e02.png").symlink_to("0e02.png")
    (folder / "0e03.png").symlink_to("0e04.png")
    (folder / "0e04.png").symlink_to("0e03.png")
    reasons = {f"special/0e0{n}.png": "unreadable" for n in (1, 2, 3, 4)}
    os.mkfifo(folder / "0e05.png")
    (folder / "empty.png").mkdir()
    (folder / ".hidden.png").write_bytes(WHOLE["PNG"])
    (folder / ".png").write_bytes(WHOLE["PNG"])
    if os.geteuid():  # root reads everything
        (folder / "0e06.png").write_bytes(WHOLE["PNG"])
        (folder / "0e06.png").chmod(0)
        reasons["special/0e06.png"] = "unreadable"
    return reasons


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, loop):
    """The dataset of the whole corpus, and the reason that is expected for each path that is not written."""
    folder = tmp_path_factory.mktemp("corpus")
    root, reasons = folder / "images", {}
    for number, (kind, (data, reason)) in enumerate(FILES.items()):
        path = f"files/{kind}/{number:04d}.png"
        write(root / path, data)
        reasons[path] = reason
    for number, (kind, (name, reason)) in enumerate(NAMES.items()):
        path = f"names/{kind}/{name}"
        write(root / path, file(noise(1000 + number)))
        reasons[path.encode("utf-8", "backslashreplace").decode()] = reason
    for path, (data, reason) in REPEATED.items():
        write(root / path, data)
        reasons[path] = reason
    for path, (data, _) in GOOD.items():
        write(root / path, data)
    reasons |= special(root)
    return ingest(str(root), str(folder / "shards"), SETTINGS, loop()).dataset, reasons


def rejects(dataset) -> dict[str, tuple[str, str]]:
    table = pq.read_table(dataset.location.join("rejects").path).to_pylist()
    return {row["path"]: (row["reason"], row["detail"]) for row in table}


def test_there_are_enough_kinds():
    assert len(FILES) + len(NAMES) + len(REPEATED) >= 90


def test_every_bad_file_has_its_reason(corpus):
    dataset, reasons = corpus
    assert {path: reason for path, (reason, _) in rejects(dataset).items()} == reasons


def test_every_reason_is_told_in_one_printable_line(corpus):
    for path, (_, detail) in rejects(corpus[0]).items():
        assert detail, path
        assert "\n" not in detail, path
        assert len(detail) < 400, path


def test_the_accounting_holds(corpus):
    dataset, reasons = corpus
    count = dataset.manifest.accounting
    assert (count.listed, count.written) == (len(reasons) + len(GOOD), len(GOOD))
    assert (count.rejected, count.duplicates) == (len(reasons) - 2, 2)
    assert count.reasons == Counter(reasons.values())


def test_the_good_files_among_them_are_written(corpus):
    dataset, _ = corpus
    tables = [pq.read_table(dataset.location.join(s.path).path, columns=["path", "label"]) for s in dataset.manifest.shards]
    written = {row["path"]: row["label"] for table in tables for row in table.to_pylist()}
    assert written == {path: label for path, (_, label) in GOOD.items()}
