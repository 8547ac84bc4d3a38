"""Tools of the gardening domain: plain functions, pydantic in, pydantic out. Nothing here knows the kit."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Bed(BaseModel):
    """A bed and how deep the water shall stand on it if none ran off."""

    area_m2: float = Field(gt=0, le=10_000, description="area of the bed in square metres")
    depth_mm: float = Field(gt=0, le=200, description="depth of water in millimetres")


class Watering(BaseModel):
    """How much water the bed takes."""

    litres: float
    cans: int = Field(description="watering cans of 10 litres, rounded up")


def watering_volume(bed: Bed) -> Watering:
    """Return the water that a bed takes: one millimetre on one square metre is one litre."""
    litres = round(bed.area_m2 * bed.depth_mm, 1)
    return Watering(litres=litres, cans=-int(-litres // 10))
