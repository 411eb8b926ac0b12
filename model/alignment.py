"""A label and what was read of it, character by character."""

from rapidfuzz.distance import Levenshtein

Pair = tuple[str, str]


def aligned(label: str, text: str) -> list[Pair]:
    """The characters of `label` opposite those of `text`, with the fewest edits (Levenshtein); "" stands opposite nothing.

    So ("a", "a") was read right, ("a", "b") is a substitution, ("a", "") a character dropped, ("", "b") one inserted. There
    are as many unequal pairs as there are edits.
    """
    pairs: list[Pair] = []
    for step in Levenshtein.opcodes(label, text):
        theirs, ours = label[step.src_start : step.src_end], text[step.dest_start : step.dest_end]
        count = max(len(theirs), len(ours))  # equal, or one of them is empty: a replacement is one for one
        pairs += [(theirs[i : i + 1], ours[i : i + 1]) for i in range(count)]
    return pairs
