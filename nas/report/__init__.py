"""Self-contained HTML reports of a search and of a training: one file that opens offline and prints."""

from nas.report.search import search_report
from nas.report.train import train_report

__all__ = ["search_report", "train_report"]
