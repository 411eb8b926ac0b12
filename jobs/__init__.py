"""Entry points: parse, call, print, exit code."""
