from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from edgetransfer.measure.stats.paired import (
    Pairs,
    _score_upper,
    drop_interval,
    drop_lower,
    drop_upper,
    examples_needed,
    holm,
    is_under,
    mcnemar_p,
    tango_excess,
)

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")
    import false_pass

Z = stats.norm.ppf(0.95)


def tango_interval(pairs, level):
    """The score interval that orders the tables for the exact bounds."""
    z = stats.norm.ppf((1 + level) / 2)
    lost, won, n = pairs.reference_only, pairs.candidate_only, pairs.n
    return -_score_upper(won, lost, n, z), _score_upper(lost, won, n, z)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 2000))
    lost = draw(st.integers(0, n))
    return Pairs(lost, draw(st.integers(0, n - lost)), n)


def score(pairs, drop):
    """Tango's statistic with the nuisance found by maximising the likelihood numerically."""
    concordant = pairs.n - pairs.discordant
    low, high = max(0.0, -drop), (1 - drop) / 2

    def loss(won):
        cells = [(pairs.reference_only, won + drop), (pairs.candidate_only, won)]
        cells.append((concordant, 1 - 2 * won - drop))
        return -sum(k * np.log(max(p, 1e-300)) for k, p in cells if k)

    best = optimize.minimize_scalar(loss, bounds=(low, high), options={"xatol": 1e-13}).x
    variance = pairs.n * (2 * best + drop * (1 - drop))
    return (pairs.reference_only - pairs.candidate_only - pairs.n * drop) / np.sqrt(variance)


@pytest.mark.parametrize(
    ("pairs", "level", "low", "high"),
    [
        # Tango (1998), section 6.1: cross-over trial of soft contact lenses.
        (Pairs(0, 1, 44), 0.90, -0.096, 0.037),
        # Tango (1998), section 6.2: sleeping difficulties, data of Karacan et al.
        (Pairs(9, 3, 32), 0.95, -0.027, 0.390),
        # Fagerland, Lydersen and Laake (2014): airway hyper-responsiveness.
        (Pairs(1, 7, 21), 0.95, -0.517, -0.026),
    ],
)
def test_published_intervals(pairs, level, low, high):
    assert tango_interval(pairs, level) == pytest.approx((low, high), abs=6e-4)
    exact_low, exact_high = drop_interval(pairs, level)
    assert exact_low < low + 6e-4
    assert exact_high > high - 6e-4


@pytest.mark.parametrize("pairs", [Pairs(12, 2, 50), Pairs(40, 20, 160), Pairs(3, 8, 153)])
def test_bounds_solve_the_score_equation(pairs):
    low, high = tango_interval(pairs, 0.90)
    assert score(pairs, high) == pytest.approx(-Z, abs=1e-4)
    assert score(pairs, low) == pytest.approx(Z, abs=1e-4)


@pytest.mark.parametrize("n", [1, 5, 60, 149, 1000])
def test_no_discordant_pair_has_the_closed_form(n):
    """A5: the score interval alone gave z^2 / (n + z^2), too little."""
    assert drop_upper(Pairs(0, 0, n)) == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-3)
    assert drop_upper(Pairs(0, 0, n)) >= 1 - 0.05 ** (1 / n)


@pytest.mark.parametrize(("limit", "n"), [(0.005, 598), (0.01, 299), (0.02, 149), (0.05, 59)])
def test_the_smallest_test_set_that_passes_without_a_flip(limit, n):
    """A5: it was 133 for 2 points."""
    assert examples_needed(limit, Pairs(0, 0, 10)) == n


@pytest.mark.parametrize(
    ("limit", "n"),
    [
        *((0.05, n) for n in (20, 52, 59, 131)),
        *((0.02, n) for n in (133, 149, 204)),
        *((0.01, n) for n in (118, 268, 299)),
        *((0.005, n) for n in (118, 598)),
        (0.03, 100),
    ],
)
def test_a_loss_of_the_whole_limit_passes_in_five_percent_at_most(limit, n):
    """A5: all outcomes are enumerated; `benchmarks/false_pass.py` does so for every n <= 2,000."""
    assert false_pass.false_pass(false_pass.passing(is_under, limit, n), limit, n)[0] <= 0.05


def test_what_is_under_a_limit_has_its_bound_there():
    rng = np.random.default_rng(3)
    for _ in range(20):
        n = int(rng.integers(2, 1500))
        lost, won = rng.binomial(n, 0.02), rng.binomial(n // 2, 0.02)
        pairs = Pairs(int(lost), int(won), n)
        bound = drop_upper(pairs)
        assert is_under(bound + 1e-7, pairs) == (bound + 1e-7 < 1)
        assert not is_under(bound - 1e-7, pairs)


@pytest.mark.parametrize("n", [3, 20, 61, 149])
def test_one_more_loss_never_lowers_the_bound_and_one_more_gain_never_lifts_it(n):
    """Also where the exact bound gives way to the score interval."""
    some = range(0, min(n, 36), 7)
    for lost in some:
        for won in (each for each in some if lost + each < n):
            bound = drop_upper(Pairs(lost, won, n))
            assert drop_upper(Pairs(lost + 1, won, n)) >= bound - 2e-9
            assert drop_upper(Pairs(lost, won + 1, n)) <= bound + 2e-9


def test_the_excess_is_negative_inside_the_interval():
    low, high = tango_interval(Pairs(9, 3, 32), 0.90)
    inside, outside = ((1 - w) * low + w * high for w in (0.9, 1.1))
    assert tango_excess(9, 3, 32, inside, Z) < 0 < tango_excess(9, 3, 32, outside, Z)


@given(tables())
@settings(max_examples=60, deadline=None)
def test_bounds_are_never_degenerate_and_enclose_the_estimate(pairs):
    low, high = drop_lower(pairs), drop_upper(pairs)
    assert -1 <= low <= pairs.drop <= high <= 1
    assert high - low > 0
    if pairs.drop < 1:
        assert high > pairs.drop


@given(tables())
@settings(max_examples=25, deadline=None)
def test_swapping_the_models_mirrors_the_interval(pairs):
    swapped = Pairs(pairs.candidate_only, pairs.reference_only, pairs.n)
    low, high = drop_interval(pairs)
    assert drop_interval(swapped) == (-high, -low)
    assert mcnemar_p(swapped) == mcnemar_p(pairs)


@pytest.mark.parametrize(
    ("lost", "won", "n"), [(0.05, 0.03, 150), (0.02, 0.02, 150), (0.1, 0.02, 60)]
)
def test_the_upper_bound_covers_about_its_level(lost, won, n):
    rng = np.random.default_rng(7)
    tables, counts = np.unique(
        rng.multinomial(n, [lost, won, 1 - lost - won], size=1000), axis=0, return_counts=True
    )
    held = [drop_upper(Pairs(int(b), int(c), n)) >= lost - won for b, c, _ in tables]
    assert 0.93 <= counts[held].sum() / 1000 <= 0.99


def test_more_examples_at_the_same_rates_narrow_the_interval():
    widths = [drop_upper(Pairs(k, k, 50 * k)) - drop_lower(Pairs(k, k, 50 * k)) for k in (1, 4, 16)]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("max_drop", [0.005, 0.01, 0.02, 0.05])
def test_examples_without_a_flip_are_the_first_that_decide(max_drop):
    n = examples_needed(max_drop, Pairs(0, 0, 10))
    assert drop_upper(Pairs(0, 0, n)) < max_drop <= drop_upper(Pairs(0, 0, n - 1))


def test_examples_needed_also_says_when_a_loss_would_be_sure():
    n = examples_needed(0.02, Pairs(5, 1, 100))
    assert n > 100
    k = -(-n // 100)
    assert drop_lower(Pairs(5 * k, k, 100 * k)) > 0.02


def test_a_loss_on_the_limit_is_never_decided():
    assert examples_needed(0.02, Pairs(2, 0, 100)) is None


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 0), (9, 3), (6, 6), (30, 12)])
def test_mcnemar_agrees_with_scipy(b, c):
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_p(Pairs(b, c, 100)) == pytest.approx(expected)


def test_holm_keeps_order_and_never_lowers():
    p = np.random.default_rng(0).random(20) ** 3
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()
    assert corrected.min() == pytest.approx(min(1, 20 * p.min()))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            (-1, 0, 5),
            "counts cannot be negative, n not under 1: "
            "Pairs(reference_only=-1, candidate_only=0, n=5)",
        ),
        (
            (3, 3, 5),
            "more discordant pairs than pairs: Pairs(reference_only=3, candidate_only=3, n=5)",
        ),
    ],
)
def test_impossible_tables_are_refused(counts, message):
    with pytest.raises(ValueError, match=r".") as caught:
        Pairs(*counts)
    assert str(caught.value) == message
