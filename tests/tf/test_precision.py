"""Which number format suits which devices."""

import pytest

from model.precision import suited

pytestmark = pytest.mark.tf


def gpus(*capabilities):
    return [{"device_name": "a GPU"} | ({"compute_capability": c} if c else {}) for c in capabilities]


@pytest.mark.parametrize(
    ("devices", "policy"),
    [
        (gpus(), "float32"),  # a CPU, where bfloat16 is three times slower
        (gpus((9, 0)), "mixed_bfloat16"),
        (gpus((8, 0)), "mixed_bfloat16"),
        (gpus((7, 5)), "mixed_float16"),
        (gpus((7, 0)), "mixed_float16"),
        (gpus((6, 1)), "float32"),
        (gpus((9, 0), (7, 0)), "mixed_float16"),  # all of them must have it
        (gpus(None), "float32"),
    ],
)
def test_precision_by_device(devices, policy):
    assert suited(devices) == policy
