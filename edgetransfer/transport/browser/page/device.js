// What a browser lets a page know of its device: features, the step of its clock, a slower processor.

import { pause, quantile } from "./host.js";

const ADAPTER_MS = 3000;

/** The smallest step of performance.now() seen in twenty, in ms: browsers make it coarse. */
export function clockStep() {
  let least = Infinity;
  for (let seen = 0, last = performance.now(); seen < 20;) {
    const now = performance.now();
    if (now > last) {
      least = Math.min(least, now - last);
      last = now;
      seen += 1;
    }
  }
  return least;
}

/** A small fixed kernel, by which a slower device shows before a model is blamed. */
export class Probe {
  constructor(step) {
    this.numbers = Float64Array.from({ length: 4096 }, (_, at) => 1 + at / 4096);
    this.roots = new Float64Array(4096);
    this.rounds = 8;
    for (let warm = 0; warm < 50; warm += 1) this.once();
    // As many rounds as the clock needs to see a difference of some per cent, whatever else runs.
    while (this.best() * this.rounds < 50 * step) this.rounds *= 2;
    const told = Array.from({ length: 40 }, () => this.best());
    this.baseline = quantile(told, 0.5);
    this.relIqr = (quantile(told, 0.75) - quantile(told, 0.25)) / this.baseline;
  }

  once() {
    const start = performance.now();
    for (let round = 0; round < this.rounds; round += 1) {
      for (let at = 0; at < 4096; at += 1) this.roots[at] = Math.sqrt(this.numbers[at]);
    }
    return (performance.now() - start) / this.rounds;
  }

  /** ms of one round, the best of several short runs. */
  best() {
    return Math.min(...Array.from({ length: 8 }, () => this.once()));
  }
}

// Each is the smallest module that uses the feature; "validate" says whether the browser has it.
const FEATURES = {
  simd: [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
  relaxed_simd: [
    1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 1, 253, 15, 65, 2, 253, 15, 65, 3, 253, 15,
    253, 147, 2, 11,
  ],
  threads: [1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 11, 1, 9, 0, 65, 0, 254, 16, 2, 0, 26, 11],
};

const has = (body) => WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, ...body]));

/** What the browser tells of itself and its device. */
export async function environment() {
  const hints = ["architecture", "bitness", "model", "platformVersion", "fullVersionList"];
  const told = await navigator.userAgentData?.getHighEntropyValues(hints).catch(() => null);
  return {
    user_agent: navigator.userAgent,
    platform: told ? `${told.platform} ${told.platformVersion}`.trim() : navigator.platform,
    model: told?.model || null,
    architecture: told?.architecture ? `${told.architecture} ${told.bitness}` : null,
    browser: told?.fullVersionList?.filter((each) => !/Not.*Brand/.test(each.brand))
      .map((each) => `${each.brand} ${each.version}`).join(", ") || null,
    cores: navigator.hardwareConcurrency ?? null,
    memory_gib_rounded: navigator.deviceMemory ?? null,
    secure_context: self.isSecureContext,
    cross_origin_isolated: self.crossOriginIsolated ?? false,
    wasm: Object.keys(FEATURES).filter((name) => has(FEATURES[name])),
    clock_step_ms: clockStep(),
    gpu: await adapter(),
  };
}

/** The graphics processor; a browser that was started without one may never answer. */
async function adapter() {
  const asked = navigator.gpu?.requestAdapter().catch(() => null);
  const found = await Promise.race([asked, pause(ADAPTER_MS)]);
  if (!found) return null;
  const { vendor, architecture, device, description, isFallbackAdapter } = found.info;
  return {
    vendor, architecture, device, description,
    software: isFallbackAdapter ?? found.isFallbackAdapter ?? false,
    float16: found.features.has("shader-f16"),
  };
}
