"""What a recogniser reads of a group of files: one Parquet part, which is whole or not there and says what it belongs to."""

import io
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipelines.errors import DataError
from pipelines.facts import Planned
from pipelines.groups import LISTING_FILE, PASSING, contents, shown, unread
from pipelines.settings import Settings
from pipelines.storage import Location, locate

STAGING = "_batch"  # what a run needs until it is whole; readers of Parquet pass over names with a line in front
MARK = b"glyphmill"  # the key of a part's own description, in the metadata of its file
PREDICTIONS = pa.schema(
    [
        ("path", pa.string()),
        ("text", pa.string()),
        ("confidence", pa.float32()),
        ("characters", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)


class Row(NamedTuple):
    """What was read of one image; where nothing could be, `error` begins with the reason and the rest is None."""

    path: str
    text: str | None = None
    confidence: float | None = None
    characters: tuple[float, ...] | None = None
    error: str | None = None


Reader = Callable[[Iterable[tuple[str, bytes]]], Iterable[Row]]  # a row for each (path, bytes), in the same order


class Job(NamedTuple):
    """What every task of a run knows. `run` names it: what would read other rows is another."""

    input: str
    output: str
    run: str
    max_bytes: int

    @property
    def listing(self) -> Location:
        return locate(self.output).join(STAGING, LISTING_FILE)

    def part(self, number: int) -> Location:
        return locate(self.output).join(part_name(number))


class PartResult(Settings):
    """What became of the files of a part; `same` is for the runners, and always 0."""

    number: int
    files: int
    reasons: dict[str, int] = Field(default_factory=dict)
    same: int = 0


def part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def read_part(number: int, job: Job, open_reader: Callable[[], Reader]) -> PartResult:
    """Reads the files of row group `number` of the listing and writes their part, unless it stands already.

    Raises DataError where the reader loses one.
    """
    if done := finished(number, job):
        return done
    with job.listing.fs.open_input_file(job.listing.path) as file:
        listing = pq.ParquetFile(file).read_row_group(number)
    planned = map(Planned._make, zip(*(listing[name].to_pylist() for name in Planned._fields), strict=True))
    rows = list(rows_of(contents(locate(job.input), planned, job.max_bytes), open_reader()))
    if len(rows) != len(listing):
        raise DataError(f"part {number}: {len(rows)} rows were read of {len(listing)} files; nothing of it is written")
    reasons = Counter(row.error.partition(":")[0] for row in rows if row.error is not None)
    result = PartResult(number=number, files=len(rows), reasons=dict(sorted(reasons.items())))
    job.part(number).write_bytes(_parquet(rows, job.run, result))
    return result


def finished(number: int, job: Job) -> PartResult | None:
    """What a part says of itself; None where it is not there, damaged, of another run, or has files to be tried again."""
    place = job.part(number)
    try:
        metadata = pq.read_metadata(place.path, filesystem=place.fs)
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    told = json.loads((metadata.metadata or {}).get(MARK, b"{}"))
    if told.pop("run", None) != job.run or told["files"] != metadata.num_rows:
        return None
    result = PartResult.model_validate(told)
    return None if PASSING & result.reasons.keys() else result


def rows_of(found: Iterable[tuple[Planned, bytes | OSError]], read: Reader) -> Iterator[Row]:
    """A row for each file, in order: what `read` gives, or why its bytes could not be had."""
    waiting: deque[Row | None] = deque()  # files that were taken and have no row yet; None: `read` has it

    def there() -> Iterator[tuple[str, bytes]]:
        for planned, data in found:
            path = shown(planned.path)
            if isinstance(data, OSError):
                reject = unread(data)
                waiting.append(Row(path, error=f"{reject.reason.value}: {reject.detail}"))
            else:
                waiting.append(None)
                yield path, data

    for row in read(there()):
        while (failed := waiting.popleft()) is not None:
            yield failed
        yield row
    yield from filter(None, waiting)


def _parquet(rows: Iterable[Row], run: str, result: PartResult) -> bytes:
    """The same rows give the same bytes: nothing in them tells when or where they were made."""
    columns = [pa.array(column, kind.type) for column, kind in zip(zip(*rows, strict=True), PREDICTIONS, strict=True)]
    told = json.dumps({"run": run} | result.model_dump(exclude={"same"}))
    schema = PREDICTIONS.with_metadata({MARK: told.encode()})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()
