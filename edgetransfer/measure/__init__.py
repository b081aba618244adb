"""Judges a candidate against its float reference from raw outputs and raw times, without torch.

Where to find what:

- `measurement`: the raw values; `findings`: `examine`, all statistics of them
- `gates`: one function a gate; `verdict`: `judge` runs them all, `worst`, `exit_code`
- `record`: `make_report`, the values as report.json has them (see `bundle.report_form`)
- `comparison`, `metrics`, `drift`: what the candidate loses; `speed`, `stats`: times, statistics
"""
