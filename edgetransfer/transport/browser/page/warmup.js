// When a variant counts as warm: the rule of agent/timing.py.

import { quantile } from "./host.js";

const WINDOW = 12; // calls in one window, at least
const WINDOWS = 3;
const STABLE_WITHIN = 0.03;
const PARTS = 4; // into which each window is cut to look for a trend
const TREND = 0.01; // relative change over the three windows under which a trend does not matter

/** Run until three windows of calls take the same time; `timed` makes one and tells its ms. */
export async function warmUp(timed, plan) {
  const start = performance.now();
  const spent = () => (performance.now() - start) / 1000;
  const windows = [];
  for (;;) {
    const begun = performance.now();
    const times = [];
    while (times.length < WINDOW || performance.now() - begun < (plan.warmup_s / WINDOWS) * 1000) {
      times.push(await timed());
      if (spent() >= plan.warmup_max_s) break; // calls of seconds each
    }
    // Under a coarse clock single times are 0: the whole window tells more.
    const mean = (performance.now() - begun) / times.length;
    windows.push({ median: quantile(times, 0.5) || mean, parts: parts(times) });
    const stable = windows.length >= WINDOWS && isStable(windows.slice(-WINDOWS));
    if ((stable && spent() >= plan.warmup_s) || spent() >= plan.warmup_max_s) return { stable, mean };
  }
}

/** Means of the parts of a window: medians would be 0 under a coarse clock. */
function parts(times) {
  const ends = Array.from({ length: PARTS + 1 }, (_, at) => Math.round((at * times.length) / PARTS));
  const means = ends.slice(1).map((end, at) => {
    const own = times.slice(ends[at], end);
    return own.reduce((sum, ms) => sum + ms, 0) / own.length;
  });
  return means.filter((each) => !Number.isNaN(each));
}

function isStable(windows) {
  const medians = windows.map((each) => each.median);
  const least = Math.min(...medians);
  if (Math.max(...medians) - least > STABLE_WITHIN * least) return false;
  const change = Math.abs(medians[WINDOWS - 1] - medians[0]);
  return change <= TREND * least || !hasTrend(windows.flatMap((each) => each.parts));
}

/** Whether values rise or fall for longer than chance would have it: Mann-Kendall, 5 %, two-sided. */
export function hasTrend(values) {
  const n = values.length;
  let score = 0;
  for (let i = 0; i < n; i += 1) {
    for (let j = i + 1; j < n; j += 1) score += Math.sign(values[j] - values[i]);
  }
  return Math.abs(score) - 1 > 1.96 * Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18);
}
