"""One self-contained HTML page to read a run by: what was forecast, how far to trust it, and what to order.

`ReportInputs` holds the tables a run made; `render` turns them into one page that asks nothing of any network, and
`write_report` puts it on disk, whole or not at all. The numbers are chosen and rounded here; the drawing is the page's.
"""

from shelfcast.report.inputs import Attention, Kind, ReportInputs
from shelfcast.report.look import worth_a_look
from shelfcast.report.page import render, write_report

__all__ = ["Attention", "Kind", "ReportInputs", "render", "worth_a_look", "write_report"]
