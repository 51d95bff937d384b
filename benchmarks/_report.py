"""What every figure needs: the machine it was measured on, percentiles, a table to read and JSON to keep."""

import json
import platform
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, str]:
    """What the figures depend on besides the code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "ssl": ssl.OPENSSL_VERSION,
        "cryptography": version("cryptography"),
        "libcrypto of cryptography": backend.openssl_version_text(),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that *percent* of the others do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def measure(rows: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each row's microseconds, round by round, in an order drawn anew for each.

    The first tenth of the rounds warms up and is not kept.
    """
    times: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + rounds // 10):
        for name in random.sample(list(rows), len(rows)):
            elapsed = rows[name]()
            if number >= rounds // 10:
                times[name].append(elapsed)
    return times


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Percentiles in microseconds, and the ratios to `ssl` and to the floor."""
    figures = {
        name: {"P50": percentile(row, 50), "P90": percentile(row, 90), "P99": percentile(row, 99)}
        for name, row in times.items()
    }
    for other in ("ssl", "floor"):
        for percent in ("P50", "P99"):
            base = figures[other][percent]
            for row in figures.values():
                row[f"{percent} / {other}"] = row[percent] / base
    return figures


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns; the first is text, the others are figures."""
    cells = [list(header), *([f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in enumerate(line))
        for line in ([*zip(row, widths, strict=True)] for row in cells)
    )


def keep(name: str, figures: Mapping[str, object], path: Path | None = None) -> Path:
    """Write the figures and the machine as JSON."""
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n", encoding="utf-8")
    return path
