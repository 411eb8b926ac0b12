"""The trainings that bench-train sets side by side; each runs in a process of its own."""
