"""What ships inside the package: models, prompt templates, sample data."""

from __future__ import annotations

from pathlib import Path

RESOURCES = Path(__file__).parent
"""The folder that holds them."""
