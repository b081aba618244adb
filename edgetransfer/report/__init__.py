"""Shows a report: one self-contained HTML page."""
