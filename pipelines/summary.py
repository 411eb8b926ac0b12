"""What a person sees of a dataset in the terminal (apart from the report, whose figures take a second to import)."""

from pipelines.manifest import Dataset


def summary_lines(dataset: Dataset) -> list[str]:
    """The accounting, the commonest characters, label lengths and reject reasons, as lines of text."""
    manifest = dataset.manifest
    count, every = manifest.accounting, manifest.statistics["all"]
    lines = [
        f"{count.listed} listed = {count.written} written + {count.rejected} rejected + {count.duplicates} duplicates",
        "splits       " + ", ".join(f"{split} {rows}" for split, rows in manifest.splits.items()),
        f"alphabet     {manifest.alphabet} ({len(manifest.alphabet)})",
        "characters   " + ", ".join(f"{c} {n}" for c, n in list(every["characters"].items())[:10]),
        "lengths      " + ", ".join(f"{length}: {n}" for length, n in every["lengths"].items()),
    ]
    for reason, number in count.reasons.items():
        kind = "duplicates" if reason == "duplicate" else "rejected"
        lines.append(f"{kind:12} {number} {reason}, such as {count.examples[reason]}")
    if not manifest.petastorm:
        lines.append("petastorm    is not installed: shards have no petastorm metadata; all else reads them")
    lines.append(f"version      {manifest.version}, fingerprint {manifest.fingerprint[:16]}, {manifest.seconds:.1f} s")
    return [*lines, f"dataset      {dataset.location.shown}"]
