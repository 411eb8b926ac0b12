"""Programs that the loader is measured beside. Each goes over the same rows for some epochs and prints what that took."""
