"""Panels as their example configs read them, products only: two weekly ones beside the project, and the sample."""

from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path

from shelfcast.config import read_config
from shelfcast.data.panel import Panel
from shelfcast.loading import Run, load_panel, products

ROOT = Path(__file__).resolve().parents[1]
FRAT = ROOT.parent / "shared" / "data" / "breakfast_at_the_frat"
VN2 = ROOT.parent / "shared" / "data" / "vn2"
LEVELS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)  # of protocol F16


def panel_of(example: str, folder: Path) -> Panel:
    """The products of an example config, from a folder with its files."""
    config, root = read_config(ROOT / "examples" / f"{example}.toml")
    return products(load_panel(Run(config.model_copy(update={"totals": ()}), root, datetime(2026, 1, 1), data=folder)))


def web_shop() -> Panel:
    """The products of the embedded sample without their price, which is what was paid: it tells of the sale itself."""
    with as_file(files("shelfcast.data") / "sample") as folder:
        config, root = read_config(folder / "demo.toml")
        sales = config.sales.model_copy(update={"paid": None})
        plain = config.model_copy(update={"totals": (), "sales": sales, "orders": None})
        return products(load_panel(Run(plain, root, datetime(2026, 1, 1), data=folder)))


def f16(frozen: int = 120) -> tuple[Panel, int, list[int]]:
    """Protocol F16: the panel, the period at which models are frozen, and the 16 origins from 13 weeks later on.

    As reported they are frozen at week 120, and origins are 133 .. 148. Frozen at week 97 or before, no target is one
    of those that the protocol reports.
    """
    panel = panel_of("frat", FRAT)
    first = panel.last - 155
    return panel, first + frozen - 1, [first + frozen + 12 + week for week in range(16)]


def vn2(frozen: int = 104) -> tuple[Panel, int, list[int]]:
    """VN2: the panel, the period at which models are frozen, and the 16 origins from four weeks later on.

    Frozen at week 104, origins are 108 .. 123 and targets end with the last week, 131.
    """
    panel = panel_of("vn2", VN2)
    first = panel.first
    return panel, first + frozen - 1, [first + frozen + 3 + week for week in range(16)]
