"""The data side: from a folder of labelled images to verified, split, versioned shards."""

VERSION = "0.1.0"
