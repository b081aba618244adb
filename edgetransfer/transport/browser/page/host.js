// What page and worker share: asking the host, and quantiles.

export const base = new URL(".", import.meta.url);

const REFUSED = {
  404: "the host does not know this address any more: the measurement it was for is over",
  409: "another page is being measured with this address; each address is for one",
  410: "the host has given up this job",
};

/** Ask the host for something; what it refuses is said in words. */
export async function ask(path, visitor, options = {}) {
  const answer = await fetch(new URL(path, base), { ...options, headers: { "X-Visitor": visitor } });
  if (!answer.ok) throw new Error(REFUSED[answer.status] ?? `the host answered ${answer.status} to ${path}`);
  return answer;
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
