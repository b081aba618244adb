"""Judges a candidate against its float reference from raw outputs and raw times, without torch.

Where to find what:

- `measurement`: the raw values; `gates`: one function a gate
- `verdict`: `examine`, all statistics; `judge` runs the gates; `worst`, `exit_code`
- `record`: `make_report`, the values as report.json has them (see `bundle.readers`)
- `comparison`, `metrics`, `drift`: what the candidate loses; `speed`, `stats`: times, statistics
"""
