"""Settings files, a package so that an installed glyphmill carries them."""
