// Asks the host that serves this page for jobs, and does each in a fresh worker, which loads the
// runtime afresh. One module, twice: in the page it talks and shows, in a worker it measures.
// It does not judge: raw logits and raw times go back.

const base = new URL(".", import.meta.url);

// ---- both -------------------------------------------------------------------------------------

/** Ask the host for something; what it refuses is said in words. */
async function ask(path, visitor, options = {}) {
  const headers = { "X-Visitor": visitor };
  const answer = await fetch(new URL(path, base), { ...options, headers });
  if (!answer.ok) throw new Error(REFUSED[answer.status] ?? `the host answered ${answer.status} to ${path}`);
  return answer;
}

const REFUSED = {
  404: "the host does not know this address any more: the measurement it was for is over",
  409: "another page is being measured with this address; each address is for one",
  410: "the host has given up this job",
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ---- in a worker: the measuring -----------------------------------------------------------------

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array,
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array,
};
const WINDOW = 10; // calls in one window of the warm-up rule, as in agent/timing.py
const STABLE_WITHIN = 0.03;
const REPEATED = 32;
const ADAPTER_MS = 3000;
const FINE = 100; // a sample lasts at least this many ticks of the clock

// Every memory that the runtime makes: it never shrinks, so its length is also its peak.
const memories = [];
const heapMiB = () => memories.reduce((sum, each) => sum + each.buffer.byteLength, 0) / 2 ** 20;

function watchMemory() {
  WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
    construct(Memory, parameters) {
      const memory = new Memory(...parameters);
      memories.push(memory);
      return memory;
    },
  });
}

/** The smallest step of performance.now() seen in twenty, in ms: browsers make it coarse. */
function clockStep() {
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

const tell = (event, fields = {}) => postMessage({ event, ...fields });

class Worked {
  constructor(job, visitor) {
    this.job = job;
    this.visitor = visitor;
  }

  get(path) {
    return ask(`${this.job.number}/${path}`, this.visitor);
  }

  /** Load the runtime; its binary is fetched first, so that no network counts as loading. */
  async load() {
    const { module, binary, threads } = this.job.engine;
    this.ort = await import(new URL(`ort/${module}`, base));
    const { wasm } = this.ort.env;
    wasm.wasmPaths = new URL("ort/", base).href;
    wasm.wasmBinary = await (await fetch(new URL(`ort/${binary}`, base))).arrayBuffer();
    wasm.numThreads = self.crossOriginIsolated ? threads : 1;
    this.ort.env.logLevel = "error";
  }

  async session(number) {
    const { config } = this.job.variants[number];
    const model = new Uint8Array(await (await this.get(`model/${number}`)).arrayBuffer());
    const start = performance.now();
    const made = await this.ort.InferenceSession.create(model, {
      executionProviders: [this.job.engine.provider],
      extra: { ...config },
    });
    return { made, load_ms: performance.now() - start };
  }

  /** One example as tensors by the name of the input. */
  async example(number, index) {
    const feeds = {};
    for (const [position, name] of this.job.variants[number].inputs.entries()) {
      const answer = await this.get(`example/${number}/${index}/${position}`);
      const type = answer.headers.get("X-Type");
      if (!(type in ARRAYS)) throw new Error(`an input of type ${type}, which this page cannot read`);
      const values = new ARRAYS[type](await answer.arrayBuffer());
      feeds[name] = new this.ort.Tensor(type, values, JSON.parse(answer.headers.get("X-Shape")));
    }
    return feeds;
  }

  async send(name, type, shape, values) {
    const path = `${this.job.number}/array/${name}?type=${type}&shape=${shape.join()}`;
    await ask(path, this.visitor, { method: "POST", body: values });
  }

  /** All examples once, and a few again to see whether the runtime repeats itself bit by bit. */
  async logits() {
    const { name, count } = this.job.variants[0];
    tell("step", { text: `${name}: loading` });
    await this.load();
    const first = await this.example(0, 0);
    const { made, load_ms } = await this.session(0);
    const run = async (feeds) => (await made.run(feeds))[made.outputNames[0]];
    const start = performance.now();
    const rows = [await run(first)];
    const first_inference_ms = performance.now() - start;
    const after = heapMiB();
    tell("step", { text: `${name}: ${count} examples` });
    for (let index = 1; index < count; index += 1) {
      rows.push(await run(await this.example(0, index)));
      tell("progress", { done: index + 1, total: count });
    }
    const peak = heapMiB();
    let deterministic = true;
    for (let index = 0; index < Math.min(REPEATED, count); index += 1) {
      deterministic &&= same(rows[index].data, (await run(await this.example(0, index))).data);
    }
    const { type, dims } = rows[0];
    await this.send("logits", type, [count, ...dims.slice(1)], new Blob(rows.map((row) => row.data)));
    return {
      load_ms, first_inference_ms, deterministic,
      resident_before_mib: 0, resident_after_mib: after, peak_mib: peak, peak_is_own: true,
      threads: this.ort.env.wasm.numThreads,
    };
  }

  /** Times of all variants in interleaved blocks, in the order that the host has drawn. */
  async time() {
    const { variants, plan, order } = this.job;
    await this.load();
    const step = clockStep();
    const calls = {};
    for (const [number, { name, chosen }] of variants.entries()) {
      tell("step", { text: `${name}: loading` });
      const { made } = await this.session(number);
      const examples = [];
      for (const index of chosen) examples.push(await this.example(number, index));
      let next = 0;
      calls[name] = () => made.run(examples[next++ % examples.length]);
    }
    const warmed_up = {};
    const calls_per_sample = {};
    for (const { name } of variants) {
      tell("step", { text: `${name}: warming up` });
      const { stable, median } = await warmUp(calls[name], plan);
      warmed_up[name] = stable;
      calls_per_sample[name] = Math.max(1, Math.ceil((FINE * step) / Math.max(median, step / WINDOW)));
    }
    const samples = Object.fromEntries(variants.map(({ name }) => [name, []]));
    tell("step", { text: `timing ${variants.map(({ name }) => name).join(" and ")}` });
    for (const [block, names] of order.entries()) {
      for (const name of names) {
        const end = performance.now() + plan.block_s * 1000;
        do {
          samples[name].push(block, await timed(calls[name], calls_per_sample[name]));
        } while (performance.now() < end);
      }
      tell("progress", { done: block + 1, total: order.length });
    }
    for (const [name, held] of Object.entries(samples)) {
      await this.send(name, "float64", [held.length / 2, 2], new Float64Array(held));
      tell("times", { name, times: held.filter((_, at) => at % 2) });
    }
    return { warmed_up, calls_per_sample, clock_step_ms: step, threads: this.ort.env.wasm.numThreads };
  }

  async describe() {
    return { facts: await environment() };
  }
}

/** The mean time of some calls in a row, in ms. */
async function timed(call, calls) {
  const start = performance.now();
  for (let done = 0; done < calls; done += 1) await call();
  return (performance.now() - start) / calls;
}

/** Run until three windows of calls have the same median, as in agent/timing.py. */
async function warmUp(call, plan) {
  const start = performance.now();
  const medians = [];
  for (;;) {
    const begun = performance.now();
    const times = [];
    for (let done = 0; done < WINDOW; done += 1) {
      times.push(await timed(call, 1));
      if (performance.now() - start >= plan.warmup_max_s * 1000) break; // calls of seconds each
    }
    // Under a coarse clock single times are 0: the whole window tells more.
    const mean = (performance.now() - begun) / times.length;
    medians.push(quantile(times, 0.5) || mean);
    const spent = (performance.now() - start) / 1000;
    const last = medians.slice(-3);
    const stable = last.length === 3
      && Math.max(...last) - Math.min(...last) <= STABLE_WITHIN * Math.min(...last);
    if ((stable && spent >= plan.warmup_s) || spent >= plan.warmup_max_s) return { stable, median: mean };
  }
}

const same = (first, second) => {
  const [one, other] = [first, second].map((a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength));
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
};

const quantile = (values, share) => {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
};

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
async function environment() {
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

// ---- in the page: the talking and the showing ---------------------------------------------------

const EVERY_MS = 250; // progress to the host at most this often
const ALIVE_MS = 2000;
const LOST_MS = 30000;

const $ = (id) => document.getElementById(id);

function showStep(text) {
  $("step").textContent = text;
  $("count").textContent = "";
  $("bar").removeAttribute("value");
}

function showProgress(done, total) {
  $("bar").max = total;
  $("bar").value = done;
  $("count").textContent = `${done} of ${total}`;
}

function showEnd(text) {
  showStep(text);
  $("bar").hidden = true;
  $("advice").hidden = true;
}

function showFailure(text) {
  showEnd("Stopped");
  $("failed").hidden = false;
  $("why").textContent = text;
}

function showTimes(name, times) {
  $("results").hidden = false;
  const ms = (value) => `${value.toPrecision(3)} ms`;
  const row = $("rows").insertRow(0);
  for (const text of [name.replace("_", ", "), ms(quantile(times, 0.5)), ms(quantile(times, 0.9)), times.length]) {
    row.insertCell().textContent = text;
  }
}

function showFacts(facts) {
  const shown = {
    Processor: [facts.architecture, facts.cores && `${facts.cores} threads`].filter(Boolean).join(", "),
    System: [facts.model, facts.platform].filter(Boolean).join(", "),
    Threads: facts.cross_origin_isolated ? "yes" : "no: this address is not a secure one",
    WebAssembly: facts.wasm.join(", ").replace("_", " "),
    "Clock step": `${Number(facts.clock_step_ms.toPrecision(2))} ms`,
    WebGPU: facts.gpu ? [facts.gpu.vendor, facts.gpu.architecture].filter(Boolean).join(" ") : "no",
  };
  $("facts").replaceChildren(...Object.entries(shown).flatMap(([name, value]) => {
    const parts = [document.createElement("dt"), document.createElement("dd")];
    [name, value || "not told"].forEach((text, at) => { parts[at].textContent = text; });
    return parts;
  }));
}

/** Say something to the host; it need not hear everything but results and errors. */
function say(job, visitor, message) {
  const body = JSON.stringify({ ...message, hidden: document.hidden });
  return ask(`${job.number}/say`, visitor, { method: "POST", body });
}

/** Do one job in a worker of its own, and resolve when it has ended, well or not. */
async function work(job, visitor) {
  const worker = new Worker(import.meta.url, { type: "module" });
  const beat = setInterval(() => say(job, visitor, { event: "alive" }).catch(() => {}), ALIVE_MS);
  let saidAt = 0;
  try {
    const last = await new Promise((resolve) => {
      worker.onerror = (event) => resolve({ event: "error", text: event.message || "the worker did not start" });
      worker.onmessage = ({ data }) => {
        if (data.event === "step") showStep(data.text);
        if (data.event === "progress") showProgress(data.done, data.total);
        if (data.event === "times") showTimes(data.name, data.times);
        if (data.event === "result" || data.event === "error") resolve(data);
        if (data.event === "step" || (data.event === "progress" && performance.now() - saidAt > EVERY_MS)) {
          saidAt = performance.now();
          say(job, visitor, data).catch(() => {});
        }
      };
      worker.postMessage({ job, visitor });
    });
    if (last.facts) showFacts(last.facts);
    await say(job, visitor, last);
    if (last.event === "error") throw new Error(last.text);
  } finally {
    clearInterval(beat);
    worker.terminate();
  }
}

/** Ask for the next job, over and over; a network that is away for a moment is no end. */
async function next(visitor) {
  for (const since = performance.now(); ;) {
    try {
      return await (await ask("next", visitor)).json();
    } catch (error) {
      // Only a failed fetch is a TypeError; a refusal is final.
      if (!(error instanceof TypeError) || performance.now() - since > LOST_MS) throw error;
      await pause(1000);
    }
  }
}

async function attend() {
  // A name for this page that outlives a reload: the host serves one page.
  const visitor = sessionStorage.getItem("visitor")
    ?? Array.from(crypto.getRandomValues(new Uint32Array(2)), (n) => n.toString(36)).join("");
  sessionStorage.setItem("visitor", visitor);
  let current = null;
  addEventListener("pagehide", () => {
    if (current) fetch(new URL(`${current.number}/say`, base), {
      method: "POST", keepalive: true, headers: { "X-Visitor": visitor }, body: '{"event": "closed"}',
    });
  });
  const stayAwake = () => navigator.wakeLock?.request("screen").catch(() => {});
  document.addEventListener("visibilitychange", stayAwake);
  stayAwake();
  try {
    for (;;) {
      const job = await next(visitor);
      if (job?.action === "end") break;
      if (job) {
        current = job;
        await work(job, visitor);
        current = null;
        showStep("Waiting for the computer");
      }
    }
    showEnd("Done. The report is on the computer.");
  } catch (error) {
    current = null;
    showFailure(error instanceof TypeError ? "The computer cannot be reached any more." : error.message);
  }
}

// ---- which of the two this is -------------------------------------------------------------------

if (typeof document === "undefined") {
  watchMemory();
  onmessage = async ({ data: { job, visitor } }) => {
    try {
      tell("result", await new Worked(job, visitor)[job.action]());
    } catch (error) {
      tell("error", { text: error?.message ?? String(error) });
    }
  };
} else {
  attend();
}
