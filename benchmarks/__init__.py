"""Side-by-side measurements against named peers; each prints a table. Run them with make."""
