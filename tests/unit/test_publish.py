"""Publishing: whatever moment an ingest is killed at, what it decided is carried out to the same end; and the accounting."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import publish
from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError
from pipelines.facts import FACTS
from pipelines.groups import GroupResult
from pipelines.ingest import ingest
from pipelines.manifest import Accounting, Part, open_dataset, versions
from pipelines.publish import account, carry_out, check_accounting
from pipelines.storage import Location, locate
from pipelines.versions import damaged

SETTINGS = IngestSettings.model_validate({"image": {"width": 16, "height": 8}, "shards": {"files": 4, "rows": 2}})


class Killed(BaseException):
    """What no handler catches."""


def killed(*_args: object) -> None:
    raise Killed


def tree(folder: Location) -> dict[str, bytes]:
    """Every file below a folder."""
    found = {}
    for name in folder.names():
        place = folder.join(name)
        inside = tree(place) if place.info().type.name == "Directory" else None
        found |= {name: place.read_bytes()} if inside is None else {f"{name}/{path}": data for path, data in inside.items()}
    return found


@pytest.fixture
def decided(tmp_path, fill, noise, loop, monkeypatch):
    """An output whose ingest was killed just after it decided: of version 1, or of an appended version 2."""

    def decided(version: int) -> Path:
        fill(tmp_path / "images", {f"{n:02d}.png": noise(n) for n in range(5)} | {"bad.png": b"x", "00.1.png": noise(0)})
        given = (str(tmp_path / "images"), str(tmp_path / "decided"), SETTINGS)
        if version == 2:
            ingest(*given, loop())
            fill(tmp_path / "images", {f"{n:02d}.png": noise(n) for n in range(10, 15)} | {"worse.png": b"y"})
        with monkeypatch.context() as patch:
            patch.setattr(publish, "carry_out", killed)
            with pytest.raises(Killed):
                ingest(*given, loop(), IngestOptions(append=True, keep_rejects=1))
        assert versions(locate(tmp_path / "decided")) == [1][: version - 1]
        return tmp_path / "decided"

    return decided


def finish(output: Location) -> dict[str, bytes]:
    """What stands in the end, without the staging folder and hidden files, which a kill may leave."""
    manifest = carry_out(output, staging_of(output))
    assert manifest in (None, open_dataset(output.uri).manifest)  # None where the manifest stood already
    assert {wrong for _, wrong in damaged(open_dataset(output.uri))} == {None}
    return {path: data for path, data in tree(output).items() if not path.startswith("_staging/") and "/." not in path}


def staging_of(output: Location) -> Location:
    (name,) = output.join("_staging").names()
    return output.join("_staging", name)


def kill_at(step: int, patch: pytest.MonkeyPatch, halfway: bool) -> None:
    """Lets `step` changes of files pass and then kills; `halfway` leaves the source of the last move, as object stores may."""
    done = Counter[str]()

    def counted(change):
        def counting(self: Location, *args: object):
            if done["steps"] == step:
                if halfway and change is move and self.fs.get_file_info(self.path).is_file:
                    args[0]._make_parent()
                    self.fs.copy_file(self.path, args[0].path)
                raise Killed
            done["steps"] += 1
            return change(self, *args)

        return counting

    move = Location.move
    for name in ("move", "remove", "create"):
        patch.setattr(Location, name, counted(getattr(Location, name)))


@pytest.mark.parametrize("version", [1, 2])
def test_a_kill_at_any_step_ends_in_the_same_dataset(decided, tmp_path, version):
    start = decided(version)
    expected = finish(locate(shutil.copytree(start, tmp_path / "undisturbed")))
    before = [1][: version - 1]
    step, over = 0, False
    while not over:
        output = locate(shutil.copytree(start, tmp_path / f"step{step}"))
        with pytest.MonkeyPatch.context() as patch:
            kill_at(step, patch, halfway=False)
            try:
                carry_out(output, staging_of(output))
                over = True
            except Killed:
                assert versions(output) in (before, [*before, version])
        if version == 2:  # a reader of version 1 never notices
            assert {wrong for _, wrong in damaged(open_dataset(f"{output.uri}@1"))} == {None}
        assert finish(output) == expected
        assert finish(output) == expected  # and once more, as the manifest stands
        step += 1
    assert step > 20


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_that_copies_and_then_deletes_may_be_killed_in_between(decided, tmp_path, version):
    start, step, over = tree(locate(decided(version))), 0, False
    ends = []
    while not over:
        output = locate(f"memory://{tmp_path.name}/step{step}")
        for path, data in start.items():
            output.join(*path.split("/")[:-1]).make()
            output.join(path).write_bytes(data)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(step, patch, halfway=True)
            try:
                carry_out(output, staging_of(output))
                over = True
            except Killed:
                pass
        ends.append(finish(output))
        step += 1
    assert step > 15
    assert all(end == ends[0] for end in ends)
    output.join("..").remove()


def test_a_first_version_shows_whole_folders_only(decided, monkeypatch):
    output = locate(decided(1))
    seen = []

    def watched(self: Location, target: Location, move=Location.move) -> None:
        move(self, target)
        seen.append({name: len(tree(output.join(name))) for name in ("train", "val", "test") if output.join(name).exists()})

    with monkeypatch.context() as patch:
        patch.setattr(Location, "move", watched)
        end = finish(output)
    whole = {name: sum(path.startswith(f"{name}/") for path in end) for name in ("train", "val", "test")}
    assert all(shown.items() <= whole.items() for shown in seen)


def test_what_was_not_decided_is_not_carried_out(decided):
    output = locate(decided(2))
    staging_of(output).join(publish.COMMIT).remove()
    before = tree(output)
    assert carry_out(output, staging_of(output)) is None
    assert tree(output) == before


@pytest.mark.parametrize("settings", [SETTINGS, None], ids=["the same settings", "those of the version"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_next_ingest_publishes_what_was_decided(decided, loop, capsys, version, settings):
    output = decided(version)
    given = (str(output.parent / "images"), str(output), settings, lambda: pytest.fail("there is no work to do"))
    done = ingest(*given, IngestOptions(append=True))
    assert (done.unchanged, done.dataset.manifest.version) == (True, version)
    assert f"version {version} was decided by an ingest that was interrupted; it is published now" in capsys.readouterr().err
    assert not (output / "_staging").exists()


# --- accounting


def result(written: int = 0, **reasons: int) -> GroupResult:
    part = Part(path="", bytes=0, sha256="")
    return GroupResult(number=0, files=written + sum(reasons.values()), facts=part, shards=(), statistics=part, reasons=reasons)


def rejects(*results: GroupResult) -> pa.Table:
    names = [reason for r in results for reason, n in r.reasons.items() for _ in range(n)]
    columns = {"id": range(len(names)), "path": [f"{i}.png" for i in range(len(names))], "reason": names, "detail": names}
    return pa.table({name: pa.array(columns[name], FACTS.field(name).type) for name in ("id", "path", "reason", "detail")})


BEFORE = Accounting(
    listed=10, written=5, rejected=3, duplicates=2, reasons={"too_small": 3, "duplicate": 2}, examples={"too_small": "old: x", "duplicate": "old: y"}
)  # fmt: skip

# results, of the version before -> listed, written, rejected, duplicates, reasons in their order, examples
ACCOUNTS = [
    ([result(3)], None, (3, 3, 0, 0), {}, {}),
    ([result(1, no_label=1), result(2, no_label=2)], None, (6, 3, 3, 0), {"no_label": 3}, {"no_label": "0.png: no_label"}),
    (
        [result(1, duplicate=1), result(0, truncated=2)],
        None,
        (4, 1, 2, 1),
        {"truncated": 2, "duplicate": 1},
        {"duplicate": "0.png: duplicate", "truncated": "1.png: truncated"},
    ),
    ([result(4)], BEFORE, (14, 9, 3, 2), {"too_small": 3, "duplicate": 2}, BEFORE.examples),
    (
        [result(1, duplicate=2, changed=1)],
        BEFORE,
        (14, 6, 4, 4),
        {"duplicate": 4, "too_small": 3, "changed": 1},
        BEFORE.examples | {"changed": "2.png: changed"},
    ),
]


@pytest.mark.parametrize(("results", "before", "counts", "reasons", "examples"), ACCOUNTS)
def test_accounts(results, before, counts, reasons, examples):
    found = account(results, rejects(*results), before)
    assert (found.listed, found.written, found.rejected, found.duplicates) == counts
    assert found.listed == found.written + found.rejected + found.duplicates
    assert list(found.reasons.items()) == list(reasons.items())
    assert found.examples == examples


# written, rejected, most -> the message (None: fine); of ten duplicates none counts
LIMITS = [
    (5, 5, 1.0, None),
    (5, 5, 0.25, None),
    (
        5,
        5,
        0.24,
        "in: 5 of 20 files (25.0%) are rejected, more than --max-reject-fraction 0.24; nothing is published; most are",
    ),
    (20, 0, 0.0, None),
    (999, 1, 0.0, "in: 1 of 1010 files (0.1%) are rejected, more than --max-reject-fraction 0; nothing is published; most are"),
    (0, 5, 1.0, "in: none of its 15 files can be used:"),
]


@pytest.mark.parametrize(("written", "rejected", "most", "message"), LIMITS)
def test_too_many_rejects(written, rejected, most, message):
    results = [result(written, **({"truncated": rejected} if rejected else {}), duplicate=10)]
    counted = account(results, rejects(*results), None)
    if message is None:
        check_accounting("in", counted, None, most)
        return
    with pytest.raises(DataError) as caught:
        check_accounting("in", counted, None, most)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
