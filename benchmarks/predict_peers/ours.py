"""Our recogniser: the bundle's folder is the --model."""

import argparse

from benchmarks.predict_peers.reading import Read, report
from model.recognizer import Recognizer


def prepare(args: argparse.Namespace) -> Read:
    recognizer = Recognizer.load(args.model, threads=1)

    def read(image: bytes) -> str:
        (prediction,) = recognizer.predict([("", image)])
        return prediction.text

    return read


if __name__ == "__main__":
    report(prepare)
