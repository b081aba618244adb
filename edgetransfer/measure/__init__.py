"""Judges a candidate against its float reference from raw logits and raw times, without torch.

Where to find what:

- `record`: `make_report(Facts) -> dict` (report.json, see `bundle.report_form`); `facts.Facts`
- `verdict`: `judge`, `unverified`, `worst`, `exit_code`; `gates.Gate`, one function a gate
- `findings`: `examine(Facts)`, all statistics as values
- `comparison`: `compare`, `by_group`, `examples_to_decide`; `metrics`: top-1, macro-F1, ...
- `drift`: flips, SQNR, KL, cosine; `latency`: `Samples`, `summarise`, `speedup`
- `paired`, `proportions`, `quantiles`, `bootstrap`: the statistics themselves
"""
