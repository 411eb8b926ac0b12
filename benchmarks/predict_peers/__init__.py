"""The readers that bench-predict sets side by side; each runs in a process of its own, on one core."""
