"""What a block of work costs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from core.errors import UsageError
from evals.cost import WATTS_PER_CORE, measure


def counter(folder: Path, zone: str, name: str, joules: float) -> None:
    (folder / zone).mkdir(parents=True, exist_ok=True)
    (folder / zone / "name").write_text(name)
    (folder / zone / "energy_uj").write_text(str(int(joules * 1e6)))
    (folder / zone / "max_energy_range_uj").write_text(str(int(1_000 * 1e6)))


def test_without_counters_energy_is_cpu_seconds_at_the_assumed_power(tmp_path: Path) -> None:
    with measure(powercap=tmp_path) as meter:
        ends = time.process_time() + 0.05
        while time.process_time() < ends:
            pass
        meter.tokens_read, meter.tokens_written = 7, 3
    cost = meter.cost
    assert cost.energy_source == "assumed" and cost.energy_joules == pytest.approx(cost.cpu_seconds * WATTS_PER_CORE)
    assert cost.cpu_seconds >= 0.05 and cost.milliseconds >= 45 and cost.peak_memory_mb > 10
    assert (cost.tokens_read, cost.tokens_written) == (7, 3)


def test_counters_of_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys")):
        counter(tmp_path, zone, name, 10)
    with measure(powercap=tmp_path) as meter:
        for zone, name, joules in (
            ("intel-rapl:0", "package-0", 12),
            ("intel-rapl:1", "package-1", 15),
            ("intel-rapl:0:0", "core", 11),
            ("intel-rapl:2", "psys", 90),
        ):
            counter(tmp_path, zone, name, joules)
    assert meter.cost.energy_source == "rapl" and meter.cost.energy_joules == pytest.approx(2 + 5)


def test_counter_that_began_anew_goes_on_behind_its_range(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", 999)
    with measure(powercap=tmp_path) as meter:
        counter(tmp_path, "intel-rapl:0", "package-0", 4)
    assert meter.cost.energy_joules == pytest.approx(5)


def test_cost_is_known_when_the_block_failed_and_not_before_it_ended(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), measure(powercap=tmp_path) as meter:
        with pytest.raises(UsageError, match="when the measured block has ended"):
            _ = meter.cost
        _ = 1 / 0
    assert meter.cost.milliseconds >= 0
