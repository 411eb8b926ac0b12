"""Errors that a person can mend. A job prints their message as one line and leaves with `exit_code`."""


class GlyphmillError(Exception):
    """Base of every error that is told in one line, without a stack trace."""

    exit_code = 1


class DataError(GlyphmillError):
    """Something is wrong with files, datasets, models or servers (exit code 1)."""


class SettingsError(GlyphmillError):
    """Something is wrong with a setting, a YAML file or the command line (exit code 2)."""

    exit_code = 2
