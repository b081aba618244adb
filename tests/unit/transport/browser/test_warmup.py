"""The page's rule for a warm variant is the agent's."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgetransfer import transport
from edgetransfer.agent.timing import has_trend

PAGE = Path(transport.__file__).parent / "browser" / "page"


def evaluated(expression, given):
    """Return what JavaScript makes of a value, with the page's rule at hand."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to run the page's code with")
    script = f"""
        const {{ hasTrend, warmUp }} = await import({json.dumps((PAGE / "warmup.js").as_uri())});
        const given = {json.dumps(given)};
        console.log(JSON.stringify({expression}));
    """
    words = [node, "--experimental-default-type=module", "--input-type=module", "--eval", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_trend_is_what_the_agent_takes_for_one():
    rng = np.random.default_rng(0)
    series = [
        (slope * np.arange(12) + rng.normal(size=12)).round(2).tolist()
        for slope in np.repeat([0.0, 0.1, 0.2, 0.4], 25)
    ]
    expected = [bool(has_trend(each)) for each in series]
    assert 20 < sum(expected) < 80
    assert evaluated("given.map(hasTrend)", series) == expected


@pytest.mark.parametrize(
    ("times", "calls"),
    [
        ([5.0], 36),
        ([*np.linspace(10, 10.25, 36), 10.25], 60),
        ([9.0, *[5.0] * 35], 36),
    ],
)
def test_a_variant_is_warm_after_three_windows_without_a_trend(times, calls):
    plan = {"warmup_s": 0, "warmup_max_s": 60}
    told = evaluated(
        "await (async () => { let made = 0; const next = async () => "
        "given.times[Math.min(made++, given.times.length - 1)]; "
        "return { stable: (await warmUp(next, given.plan)).stable, made }; })()",
        {"times": [float(each) for each in times], "plan": plan},
    )
    assert told == {"stable": True, "made": calls}
