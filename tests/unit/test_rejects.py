"""Rejects: the closed list of reasons, as it stands in tables and manifests."""

import pickle

from pipelines.rejects import Reason, Reject

REASONS = """
    empty_file unreadable vanished not_an_image truncated decompression_bomb animated too_small too_large
    excluded no_label no_image no_row no_split foreign_character too_short too_long conflicting_label changed duplicate
"""


def test_the_reasons_are_a_closed_list_that_readers_rely_on():
    assert [reason.value for reason in Reason] == REASONS.split()


def test_a_reject_survives_the_way_from_an_executor():
    reject = pickle.loads(pickle.dumps(Reject(Reason.TOO_LONG, "label '12345' is longer than 4")))
    assert (reject.reason, reject.detail) == (Reason.TOO_LONG, "label '12345' is longer than 4")
