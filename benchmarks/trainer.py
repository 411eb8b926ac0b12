"""The training loop beside its limit, keras.Model.fit on data in memory: the same network, loss, optimiser and batch.

make bench-trainer                     # the default network on 2,400 images of 160x60, five rounds; build/bench/trainer.json
make bench-trainer ARGS="--rounds 3 --set train.batch_size=64"

Both train in one process, in turns of one epoch: this job on a dataset of made images, which its loader reads, shuffles and
checks, and with batch normalisation in one operation; Model.fit on random pixels and labels of the same shapes in memory, with
Keras's own layers, as many steps in a call of its compiled function as ours. Nothing is augmented on either side, and neither
validates within the time that counts. The first turn of each, in which graphs are traced, is left out. images/s are medians of
the turns; the ratio is that of the medians. "Waiting" is the share of the training time in which the loop had no data, as the
progress bar shows it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.images import Made, made_images
from benchmarks.measure import machine, versions
from benchmarks.tables import bar, bar_lines, table, write_result
from jobs import entry
from model.config import TrainSettings
from pipelines.config import IngestSettings
from pipelines.ingest import ingest
from pipelines.manifest import Dataset
from pipelines.pool import PoolRunner
from pipelines.settings import read

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/trainer.json"
PACKAGES = ("numpy", "pyarrow", "tensorflow", "keras")
STILL = ("augment.rotate=0", "augment.shear=0", "augment.zoom=0", "augment.shift=0")
OURS, LIMIT = "this loop, from shards", "keras.Model.fit, in memory"
Row = dict[str, Any]


def main() -> None:
    args = _arguments()
    entry.restart_for_training()
    settings = read(TrainSettings, None, [*STILL, *args.set, f"train.epochs={args.rounds + 1}", "train.patience=999"])
    made = Made(args.count, width=160, height=60)
    with made_images(made, args.keep_images) as images, tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
        dataset = ingest(str(images), f"{work}/shards", IngestSettings(), PoolRunner).dataset
        entry.load_tensorflow()
        turns = measure(dataset, settings, Path(work))
    rows = [row(name, turns[name]) for name in (OURS, LIMIT)]
    ratio = rows[0]["images_per_s"] / rows[1]["images_per_s"]
    result = {
        "images": made.name,
        "settings": settings.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(sys.executable, PACKAGES),
        "rows": rows,
        "bars": {"ratio_to_model_fit": bar(ratio, 0.97), "waiting_for_data": bar(rows[0]["waiting"], 0.02, least=False)},
    }
    write_result(RESULT, result)
    about = ", ".join(f"{name} {value}" for name, value in (result["machine"] | result["versions"]).items())  # type: ignore[operator]
    print("\n".join([table(list(map(cells, rows))), "", *bar_lines(result["bars"]), "", about]))  # type: ignore[arg-type]


def measure(dataset: Dataset, settings: TrainSettings, work: Path) -> dict[str, list[Row]]:
    """The turns of each contender, without their first."""
    import tensorflow as tf

    from model.trainer import Trainer

    turns: dict[str, list[Row]] = {OURS: [], LIMIT: []}

    class Timed(Trainer):
        """Times the training part of each epoch from outside."""

        def _rest_of_epoch(self, state, run):  # type: ignore[no-untyped-def]
            began = time.perf_counter()
            state = super()._rest_of_epoch(state, run)
            seconds = time.perf_counter() - began
            _, rows, waited = state.sums
            turns[OURS].append({"images_per_s": rows / seconds, "waiting": waited / seconds})
            return state

    trainer = Timed(dataset, settings, tf.distribute.get_strategy())
    peer = Peer(dataset, settings)

    def turn(epoch: Any) -> None:
        turns[LIMIT].append({"images_per_s": peer.epoch()})
        for name in turns:
            print(f"turn {epoch.epoch}: {name}: {turns[name][-1]['images_per_s']:.1f} images/s", file=sys.stderr, flush=True)

    trainer.fit(work / "checkpoints", turn)
    return {name: found[1:] for name, found in turns.items()}


class Peer:
    """keras.Model.fit of the network, on as many random rows as the train split has, in whole batches."""

    def __init__(self, dataset: Dataset, settings: TrainSettings) -> None:
        import keras

        from model import losses
        from model.networks import build

        train, manifest = settings.train, dataset.manifest
        self._batch = train.batch_size
        rows = manifest.splits["train"] // self._batch * self._batch
        rng = np.random.default_rng(0)
        longest = max(map(int, manifest.statistics["all"]["lengths"]))
        self._images = rng.integers(0, 256, (rows, *manifest.image_shape), np.uint8)
        self._labels = rng.integers(0, len(manifest.charset), (rows, longest)).astype(np.int32)
        self._model = build(settings.network, manifest.image_shape, len(manifest.charset), longest)

        def loss(labels: Any, logits: Any) -> Any:
            return losses.ctc(keras.ops.cast(labels, "int32"), keras.ops.full((self._batch,), longest, "int32"), logits)

        optimizer = keras.optimizers.AdamW(
            train.learning_rate, weight_decay=train.weight_decay, beta_2=0.99, global_clipnorm=train.clip_norm
        )
        # auto would compile with XLA, which has no kernel for this loss and is slower on CPUs
        self._model.compile(optimizer, loss, jit_compile=False, steps_per_execution=train.steps_per_call)

    def epoch(self) -> float:
        """Images/s of one epoch."""
        began = time.perf_counter()
        self._model.fit(self._images, self._labels, batch_size=self._batch, epochs=1, verbose=0)
        return len(self._images) / (time.perf_counter() - began)


def row(name: str, turns: Sequence[Row]) -> Row:
    """Medians over the turns of one contender."""
    speeds = [turn["images_per_s"] for turn in turns]
    waits = [turn["waiting"] for turn in turns if "waiting" in turn]
    return {
        "contender": name,
        "turns": len(turns),
        "images_per_s": median(speeds),
        "range": [min(speeds), max(speeds)],
        "waiting": median(waits) if waits else None,
    }


def cells(found: Row) -> dict[str, str]:
    """A row of the printed table."""
    return {
        "contender": found["contender"],
        "turns": str(found["turns"]),
        "images/s": f"{found['images_per_s']:.1f}",
        "min-max": "-".join(f"{speed:.1f}" for speed in found["range"]),
        "waiting": "-" if found["waiting"] is None else f"{found['waiting']:.2%}",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2400, help="images, of which seven in ten are trained on (default 2400)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that count (default 5)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a training setting")
    parser.add_argument("--keep-images", action="store_true", help="leave the images for the next run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
