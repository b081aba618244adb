"""How far the candidate's outputs are from the float model's, whatever the labels say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import words
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.report.node import Node


MEANINGS = {
    "NaN or Inf": "Outputs of the shipped model that are not numbers.",
    "Agreement": "Share of the examples on which both models decide for the same class, right or "
    "wrong.",
    "Flip rate, upper bound": "With 95 % confidence no more decisions than this change on new data "
    "like these.",
    "SQNR": "Signal to quantisation noise of the outputs: every 20 dB is a factor of ten between "
    "the float model's signal and the error added to it. Higher is better.",
    "KL divergence": "Mean distance of the class probabilities from the float model's; 0 where "
    "they are the same.",
    "Cosine similarity": "Mean alignment of the raw outputs; 1 where they point the same way.",
}


def drift(report: Node) -> dict[str, Any]:
    """How far the candidate's outputs are from the float model's, with what each number means."""
    agreement, numeric = report["agreement"], report["numeric"]
    broken, shares = numeric["non_finite"], dict(numeric.items()).get("kl_mean")
    told = {"NaN or Inf": broken.show(words.COUNT)} if broken.value else {}
    told["Agreement"] = agreement["rate"].show(words.PERCENT)
    told["Flip rate, upper bound"] = agreement["flip_rate_ucb95"].show(words.PERCENT)
    told["SQNR"] = numeric["sqnr_db"].show(words.DB)
    for name, noise in numeric["sqnr_db_by_output"].items():
        told[f"SQNR of {name}"] = noise.show(words.DB)
    if shares is not None:
        told["KL divergence"] = shares.show(words.tiny)
    told["Cosine similarity"] = numeric["cosine_mean"].show(words.COSINE)
    one = "The same of one output alone."
    return {"rows": [(name, value, MEANINGS.get(name, one)) for name, value in told.items()]}


def told(report: Mapping[str, Any]) -> Iterable[str]:
    """Say how many decisions changed, and how much noise was added."""
    agreement, sqnr = report["agreement"], report["numeric"]["sqnr_db"]
    noise = "identical outputs" if sqnr is None else f"{sqnr:.1f} dB SQNR"
    yield (
        f"{agreement['flips']} of {agreement['n']} decisions changed "
        f"(95 % bound {100 * agreement['flip_rate_ucb95']:.1f} %), {noise}"
    )


SECTION = Section(
    "drift",
    70,
    "Numeric drift",
    "How far the outputs moved from the float model's, whatever the labels say.",
    rows=drift,
    template="""
<table class="drift">
<thead class="unseen">
<tr><th scope="col">Measure</th><th scope="col">Value</th><th scope="col">Meaning</th></tr>
</thead>
<tbody>
{% for name, value, meaning in rows %}
<tr><th scope="row">{{ name }}</th><td class="number figure">{{ value }}</td>
<td class="meaning">{{ meaning }}</td></tr>
{% endfor %}
</tbody>
</table>
""",
    lines=told,
    line=5,
    asks="cost",
)
