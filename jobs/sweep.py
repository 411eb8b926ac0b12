"""Many trainings, one after another: every combination of presets and values, or a random sample, under one MLflow run.

python -m jobs.sweep --dataset data/shards --configs conf/train/fast.yaml conf/train/default.yaml \\
    --set train.learning_rate=1e-3,3e-4 --budget 600
python -m jobs.sweep --dataset data/shards --set train.learning_rate=1e-3,3e-4,1e-4 --set train.ema=0.99,null --sample 4

The same command started again goes on where it stopped. The best by the val split becomes challenger; with --promote it
becomes champion, where it is better than the present one on the test split.
"""

import sys
from pathlib import Path

from jobs import entry
from model.config import TrackingSettings
from model.recognizer import positive
from model.trials import trials
from pipelines.manifest import open_dataset


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_URI", help="dataset folder, or DIR@3 for version 3")
    parser.add_argument("--configs", nargs="+", default=[], metavar="YAML", help="settings files, such as those in conf/train/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE,VALUE", help="values of a setting")
    parser.add_argument("--sample", type=positive, metavar="N", help="only N of the combinations, drawn at random")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of --sample (default 0)")
    parser.add_argument("--budget", type=positive, metavar="N", help="seconds of each training, in place of its epochs")
    parser.add_argument("--output", type=Path, metavar="DIR", help="checkpoints, logs and table (default: in mlruns/)")
    parser.add_argument("--promote", action="store_true", help="put the best forward for champion")
    args = parser.parse_args()
    dataset = open_dataset(args.dataset)
    chosen = trials(args.configs, args.set, args.sample, args.seed)

    from model import compare, promotion, sweep, tracking

    rows = sweep.run(sweep.Sweep(dataset, chosen, args.budget, [sys.executable, "-m", "jobs.train"]), args.output)
    print(compare.text(rows, sweep.told(rows)), flush=True)
    best = sweep.best_of(rows)
    if best is None:
        sys.exit(1)
    uri = f"models:/{best.model}"
    if args.promote:
        given = promotion.promote(uri, TrackingSettings(), args.dataset, entry.load_recognizer)
    else:
        given = tracking.challenge(uri, f"the best of {len(rows)} trials by the val split")
    print(f"{given.uri} is {given.alias}: {given.reason}")
    if args.promote and given.alias != tracking.CHAMPION:
        sys.exit(1)


if __name__ == "__main__":
    entry.run(main)
