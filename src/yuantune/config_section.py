"""What every section of options is: unknown names are refused, and its fields' docstrings describe them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of options: unknown names are refused, docstrings become the option's description."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )
