"""The learning side: from shards to a trained, evaluated, registered recogniser."""

import os
import platform

# TensorFlow has oneDNN's operations on by itself only where a CPU has AVX512_VNNI or newer. On one with AVX2 our networks
# trained 1.4 to 2.4 times as fast with them (benchmarks/RESULTS.md). It reads this while it is imported.
if platform.machine().lower() in ("x86_64", "amd64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
