"""Errors: the exit codes that scripts rely on."""

import pytest

from pipelines.errors import DataError, GlyphmillError, SettingsError


@pytest.mark.parametrize(("error", "code"), [(DataError, 1), (SettingsError, 2)])
def test_exit_codes(error, code):
    assert error.exit_code == code
    assert issubclass(error, GlyphmillError)
