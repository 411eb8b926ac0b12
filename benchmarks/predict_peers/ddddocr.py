"""ddddocr (sml2h3/ddddocr), with the models that its package holds: --model default or beta, as its option is called.

It is told the alphabet, in upper and lower case, for it reads both. What helps it besides: it has no option for threads, and
two on one core hinder one another, so its sessions are made with one; and images are made RGB, for it shrinks those with a
palette by taking every few pixels (digits4: exact match some 0.7 in place of 0.5).
"""

import argparse
import io
from functools import partial

import ddddocr
import onnxruntime
from PIL import Image

from benchmarks.predict_peers.reading import Read, report


def prepare(args: argparse.Namespace) -> Read:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession = partial(onnxruntime.InferenceSession, sess_options=options)
    reader = ddddocr.DdddOcr(show_ad=False, beta=args.model == "beta")
    reader.set_ranges("".join(sorted({*args.alphabet.lower(), *args.alphabet.upper()})))
    return lambda image: reader.classification(Image.open(io.BytesIO(image)).convert("RGB"))


if __name__ == "__main__":
    report(prepare)
