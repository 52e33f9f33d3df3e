"""Fixtures shared by the tests: a small shop as a table, its truth, and as a panel."""

import os
from datetime import date

import pytest
from hypothesis import HealthCheck, settings

import shop as small_shop
from shelfcast.data.panel import Panel

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run in parallel processes; tiny networks gain nothing from threads
settings.register_profile("quick", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quick")


@pytest.fixture(scope="session")
def shop():
    """Table and truth of a small shop of six daily series; two are launched half-way."""
    return small_shop.draw()


@pytest.fixture(scope="session")
def shop_panel(shop):
    """The panel of that shop."""
    return Panel.from_frame(shop[0], small_shop.SCHEMA, today=date(2026, 1, 1))
