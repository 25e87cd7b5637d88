"""What ships inside the package: models, prompt templates, sample data."""

from __future__ import annotations

from pathlib import Path

RESOURCES = Path(__file__).parent
"""The folder that holds them."""
BUILTIN = ("yuan2-mini",)
"""Models that ship there, each in a folder of its name."""
