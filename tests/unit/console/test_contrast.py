"""Contrast (WCAG 2.2) of every pair of colours that the console uses, from its style sheet, light and dark."""

import re

import pytest

from imageflow.console.packaged import STATIC

CSS = (STATIC / "console.css").read_text()
PAIRS = [
    *(("text", ground) for ground in ("ground", "paper", "sunk")),
    *(("soft", ground) for ground in ("ground", "paper", "sunk")),
    *((colour, "paper") for colour in ("link", "written", "unchanged", "superseded", "failed", "waiting", "flight")),
    *((colour, f"{colour}-soft") for colour in ("failed", "waiting", "written")),
    ("failed", "ground"),
    ("on-accent", "accent"),
    ("edge", "paper"),
]


def colours(pattern):
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", re.search(pattern, CSS, re.DOTALL)[1]))


LIGHT = colours(r":root\s*\{(.*?)\n\}")
DARK = LIGHT | colours(r"prefers-color-scheme: dark\).*?:root[^{]*\{(.*?)\n  \}")


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_contrast(scheme, text, ground):
    """4.5 for text, 3 for edges."""
    low, high = sorted((luminance(scheme[text]), luminance(scheme[ground])))
    assert (high + 0.05) / (low + 0.05) >= (3 if text == "edge" else 4.5)
