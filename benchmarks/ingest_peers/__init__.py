"""The contenders that the ingest is measured against, a program each: images in, rows out, a JSON line about it."""
