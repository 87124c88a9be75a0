"""The report: one self-contained HTML page about a search, its winner and what it was made of."""

from llmastool.report.page import write_report

__all__ = ["write_report"]
