"""This project's loader: manifest and shards to batches."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: F401 - loaded before the clock starts

from benchmarks.loader_peers.contender import SHUFFLED, arguments, report
from model.config import LoaderSettings
from model.loader import open_loader
from pipelines.manifest import open_dataset

if __name__ == "__main__":
    args = arguments()
    settings = LoaderSettings(window=SHUFFLED, threads=args.threads)
    loader = open_loader(open_dataset(args.input), "train", args.batch, settings, seed=0)
    report(args, loader.dataset(args.epochs), padded=True)
