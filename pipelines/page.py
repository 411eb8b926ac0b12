"""The frame of every page that a person gets: one file that needs nothing else, its style, and what its parts look like."""

import base64
from collections.abc import Mapping
from typing import Any

import jinja2

_STYLE = """
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; margin: 0; background: #f3f5f7; color: #1f2933 }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.7rem; margin: .5rem 0 } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem }
.card { background: #fff; border: 1px solid #dde3e8; border-radius: 8px; padding: .8rem 1rem; min-width: 0; overflow: auto }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: 1rem; align-items: start }
.stack { display: grid; gap: 1rem }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; margin: 1rem 0 }
.tiles b { display: block; font-size: 1.5rem; line-height: 1.2; overflow-wrap: anywhere }
.tiles span, .soft { color: #5f6c78; font-size: .87rem }
.share { display: flex; height: .8rem; border-radius: 4px; overflow: hidden; margin: .6rem 0; background: #dde3e8 }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #e4e8ec; padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }
tr:last-child > td { border-bottom: 0 } td { overflow-wrap: anywhere } th, .tight { white-space: nowrap }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
img { max-width: 100%; display: block; margin: .3rem auto } code { overflow-wrap: anywhere; font-size: .87rem }
.chars span { display: inline-block; margin: 0 .9rem .2rem 0; white-space: nowrap }
.bad { color: #b3261e } summary { cursor: pointer }
"""
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>%s</style></head><body><main>
"""
_PARTS = """
{% macro figure(name) %}
{% if name in figures %}<img alt="{{ name }}" src="data:image/png;base64,{{ figures[name] }}">{% endif %}
{% endmacro %}
{% macro card(name) %}{% if name in figures %}<div class="card">{{ figure(name) }}</div>{% endif %}{% endmacro %}
{% macro n(value) %}{{ "{:,}".format(value) }}{% endmacro %}
{% macro pairs(values) %}
<table>{% for key, value in values.items() %}
<tr><td class="tight">{{ key }}</td><td><code>{{ value }}</code></td></tr>{% endfor %}</table>
{% endmacro %}
"""
_ENVIRONMENT = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)


class Page:
    """A page whose body is a Jinja template; it has the macros `figure`, `card`, `n` and `pairs`."""

    def __init__(self, body: str) -> None:
        self._template = _ENVIRONMENT.from_string(_HEAD % _STYLE + _PARTS + body + "</main></body></html>\n")

    def render(self, title: str, figures: Mapping[str, bytes], facts: Mapping[str, Any]) -> bytes:
        """The page as HTML, with the PNG `figures` in it and the `facts` that its body names."""
        encoded = {name: base64.b64encode(data).decode() for name, data in figures.items()}
        return self._template.render({**facts, "title": title, "figures": encoded}).encode()
