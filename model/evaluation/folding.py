"""Characters that cannot be told apart taken for one: scores that show what only confusable characters cost."""

from collections.abc import Iterable

ALIKE = ("0O", "0o", "1I", "1l", "Il")  # as drawn letters; the cases of a letter come from the alphabet


def usual_pairs(alphabet: str) -> list[str]:
    """The pairs of `alphabet` that are commonly confused: upper and lower case of a letter, 0, O and o, 1, I and l."""
    cased = [a + b for a in alphabet for b in alphabet if a < b and a.lower() == b.lower()]
    return cased + [pair for pair in ALIKE if set(pair) <= set(alphabet)]


def fold_table(pairs: Iterable[str]) -> dict[int, str]:
    """For `str.translate`: each character of the pairs -> the first of all that pairs join it with, by code point."""
    groups: dict[str, set[str]] = {}
    for pair in pairs:
        joined = set(pair).union(*(groups.get(character, set()) for character in pair))
        groups.update(dict.fromkeys(joined, joined))
    return {ord(character): min(group) for character, group in groups.items()}
