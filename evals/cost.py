"""What a block of work costs: time, tokens, memory and energy. Knows nothing of what the work is.

Energy is read from the processor's own counters (RAPL) where the kernel lets this process read them; they count the whole package, other
processes included. Elsewhere it is an estimate, CPU seconds times watts a busy core is assumed to draw, and says so in ``energy_source``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from core.documents.confinement import peak_memory_mb
from core.errors import UsageError
from core.types import Frozen

WATTS_PER_CORE = 12.0
"""Thermal design power of one core of a processor that is not known, in watts (Lannelongue, Grealey and Inouye, "Green Algorithms: Quantifying the
Carbon Footprint of Computation", Advanced Science, 2021; TDP_cpu.csv of their calculator, model "Any")."""
POWERCAP = Path("/sys/class/powercap")
EnergySource = Literal["rapl", "assumed"]


class Cost(Frozen):
    """What a block cost."""

    milliseconds: float = Field(ge=0)
    """Wall time."""
    cpu_seconds: float = Field(ge=0)
    """Of all threads of this process, its children's not included."""
    tokens_read: int = Field(ge=0)
    tokens_written: int = Field(ge=0)
    peak_memory_mb: float = Field(ge=0)
    """Largest resident size of the process from its start to the end of the block; 0 where the platform does not tell."""
    energy_joules: float = Field(ge=0)
    energy_source: EnergySource


@dataclass
class Meter:
    """Measures while its block runs. The block adds to the tokens; the cost is there when it has ended."""

    tokens_read: int = 0
    tokens_written: int = 0
    _cost: Cost | None = field(default=None, repr=False)

    @property
    def cost(self) -> Cost:
        """What the block cost.

        Raises:
            UsageError: the block still runs.
        """
        if self._cost is None:
            raise UsageError("the cost is known when the measured block has ended; read it behind the with statement")
        return self._cost


@contextmanager
def measure(*, watts_per_core: float = WATTS_PER_CORE, powercap: Path = POWERCAP) -> Iterator[Meter]:
    """Measure a block; its cost is known also when it fails.

    Args:
        watts_per_core: assumed power of one busy core, in watts, where there are no counters.
        powercap: the kernel's folder of energy counters.

    Yields:
        The meter that holds the cost.
    """
    meter = Meter()
    counters = _counters(powercap)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield meter
    finally:
        milliseconds, seconds = (time.perf_counter() - wall) * 1_000, time.process_time() - cpu
        counted = _joules(counters, _counters(powercap), powercap)
        meter._cost = Cost(
            milliseconds=milliseconds,
            cpu_seconds=seconds,
            tokens_read=meter.tokens_read,
            tokens_written=meter.tokens_written,
            peak_memory_mb=peak_memory_mb(),
            energy_joules=seconds * watts_per_core if counted is None else counted,
            energy_source="assumed" if counted is None else "rapl",
        )


def _counters(powercap: Path) -> dict[str, int]:
    """Return the microjoules of each processor package by the name of its zone; none where they cannot be read.

    A package holds its zones of cores and memory, and a platform zone holds packages: only packages are counted.
    """
    found = {}
    try:
        for zone in powercap.glob("intel-rapl:*"):
            if (zone / "name").read_text("ascii").startswith("package"):
                found[zone.name] = int((zone / "energy_uj").read_text("ascii"))
    except (OSError, ValueError):
        return {}  # since 2020 the kernel lets only root read them (CVE-2020-8694)
    return found


def _joules(before: Mapping[str, int], after: Mapping[str, int], powercap: Path) -> float | None:
    """Return what the packages used between two readings, None where they cannot tell; a counter starts again behind its range."""
    if not before or before.keys() != after.keys():
        return None
    total = 0
    for zone, first in before.items():
        used = after[zone] - first
        try:
            total += used if used >= 0 else used + int((powercap / zone / "max_energy_range_uj").read_text("ascii"))
        except (OSError, ValueError):
            return None
    return total / 1e6
