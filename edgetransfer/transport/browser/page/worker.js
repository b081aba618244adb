// Does one job in this worker with a runtime of its own: outputs, times, or what the browser is.
// Raw numbers go back; it does not judge. For "show" it stays, and answers what a model says of pictures.
// The rules are those of edgetransfer/agent (etb-1), as far
// as a browser lets them: it tells no CPU time, no frequency and no temperature.

import { clockStep, environment, Probe } from "./device.js";
import { ask, base, pause, quantile } from "./host.js";
import { warmUp } from "./warmup.js";

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array,
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array,
};
const REPEATED = 32; // examples run twice
const CHECKED = 4; // first examples whose outputs are told before and after the timing
const FINE = 100; // a sample lasts at least this many steps of the clock
const SLOWER_BY = 1.1;
const COOL_BELOW = 1.03;
const NAP_MS = 250;
const OVERTIME = 2; // and FEWEST_ROUNDS: as in agent/timing.py
const FEWEST_ROUNDS = 3;

const tell = (event, fields = {}) => postMessage({ event, ...fields });

// Every memory that the runtime makes: it never shrinks, so its length is also its peak.
const memories = [];
const heapMiB = () => memories.reduce((sum, each) => sum + each.buffer.byteLength, 0) / 2 ** 20;

WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
  construct(Memory, parameters) {
    const memory = new Memory(...parameters);
    memories.push(memory);
    return memory;
  },
});

/** The mean time of some calls in a row, in ms. */
async function timed(call, calls) {
  const start = performance.now();
  for (let done = 0; done < calls; done += 1) await call();
  return (performance.now() - start) / calls;
}

class Job {
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

  async session(number, config = {}) {
    const model = new Uint8Array(await (await this.get(`model/${number}`)).arrayBuffer());
    const start = performance.now();
    const made = await this.ort.InferenceSession.create(model, {
      executionProviders: [this.job.engine.provider],
      extra: { ...config },
    });
    const load_ms = performance.now() - start;
    const run = async (feeds) => {
      const given = await made.run(feeds);
      return made.outputNames.map((name) => given[name]);
    };
    return { run, load_ms, outputs: [...made.outputNames] };
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

  async examples(number, indices) {
    const found = [];
    for (const index of indices) found.push(await this.example(number, index));
    return found;
  }

  async send(name, type, shape, body) {
    const path = `${this.job.number}/array/${name}?type=${type}&shape=${shape.join()}`;
    await ask(path, this.visitor, { method: "POST", body });
  }

  /** Every output of all examples, under a name with its place. */
  async sendRows(name, rows) {
    for (const [place, { dims, type }] of rows[0].entries()) {
      const shape = [rows.length, ...dims.slice(1)];
      await this.send(`${name}${place}`, type, shape, new Blob(rows.map((row) => row[place].data)));
    }
  }

  /** All examples once, and a few again to see whether the runtime repeats itself bit by bit. */
  async outputs() {
    const { name, count, config } = this.job.variants[0];
    tell("step", { text: `${name}: loading` });
    await this.load();
    const first = await this.example(0, 0);
    const { run, load_ms, outputs } = await this.session(0, config);
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
    const repeated = Math.min(REPEATED, count);
    for (let index = 0; index < repeated; index += 1) {
      const again = await run(await this.example(0, index));
      deterministic &&= rows[index].every((row, place) => same(row.data, again[place].data));
    }
    await this.sendRows("output-", rows);
    return {
      outputs, load_ms, first_inference_ms, deterministic, repeated,
      threads: this.ort.env.wasm.numThreads,
      resident_before_mib: 0, resident_after_mib: after, peak_mib: peak, peak_is_own: true,
    };
  }

  /** Times of all variants in interleaved blocks, in the order that the host has drawn. */
  async time() {
    const { variants, plan } = this.job;
    await this.load();
    const step = clockStep();
    const opened = {};
    for (const [number, variant] of variants.entries()) {
      tell("step", { text: `${variant.name}: loading` });
      opened[variant.name] = await this.open(number, variant);
    }
    const result = { warmed_up: {}, calls_per_sample: {}, load_ms: {}, first_inference_ms: {} };
    for (const [name, each] of Object.entries(opened)) {
      tell("step", { text: `${name}: warming up` });
      const { stable, mean } = await warmUp(() => timed(each.call, 1), plan);
      each.calls = Math.max(1, Math.ceil((FINE * step) / Math.max(mean, step / FINE)));
      result.warmed_up[name] = stable;
      result.calls_per_sample[name] = each.calls;
      result.load_ms[name] = each.load_ms;
      result.first_inference_ms[name] = each.first_inference_ms;
    }
    result.floor_ns = await this.floor();
    Object.assign(result, await this.blocks(opened, step));
    for (const [name, { checked, run }] of Object.entries(opened)) {
      await this.sendRows(`${name}.after.`, await inTurn(run, checked));
    }
    return { ...result, clock_step_ms: step, threads: this.ort.env.wasm.numThreads };
  }

  async open(number, { name, config, count, chosen }) {
    const checked = await this.examples(number, [...Array(Math.min(CHECKED, count)).keys()]);
    const { run, load_ms } = await this.session(number, config);
    const start = performance.now();
    await run(checked[0]);
    const first_inference_ms = performance.now() - start;
    await this.sendRows(`${name}.before.`, await inTurn(run, checked));
    const examples = await this.examples(number, chosen);
    let next = 0;
    const call = () => run(examples[next++ % examples.length]);
    return { run, call, checked, load_ms, first_inference_ms };
  }

  /** A model that does nothing: what the runtime itself costs at least, in ns. */
  async floor() {
    const { run } = await this.session(this.job.variants.length);
    const feeds = { x: new this.ort.Tensor("float32", new Float32Array(1), [1, 1]) };
    const means = [];
    for (let batch = 0; batch < 11; batch += 1) means.push(await timed(() => run(feeds), 50));
    return 1e6 * quantile(means.slice(1), 0.5);
  }

  /** Interleaved turns; one that a slower device disturbed is marked and taken once more. */
  async blocks(opened, step) {
    const { plan, order, guard } = this.job;
    const probe = new Probe(step);
    const usual = Math.min(probe.baseline, guard.baseline_ns ? guard.baseline_ns / 1e6 : Infinity);
    const samples = Object.fromEntries(Object.keys(opened).map((name) => [name, []]));
    const turns = [];
    let left = guard.cooldown_s * 1000;
    let spent = 0;
    const allowed = OVERTIME * plan.blocks * plan.block_s * 1000 * Object.keys(opened).length;
    const turn = async (name, block, number) => {
      const { call, calls } = opened[name];
      const told = probe.best();
      const start = performance.now();
      await call(); // not timed: the other variants drove its data out of the caches
      const end = performance.now() + plan.block_s * 1000;
      const taken = [];
      do taken.push(await timed(call, calls)); while (performance.now() < end);
      const marks = told > SLOWER_BY * usual ? ["probe"] : [];
      const at = marks.length && !number ? plan.blocks + block : block;
      if (at === block) spent += performance.now() - start;
      for (const ms of taken) samples[name].push(at, ms);
      turns.push({ turn: turns.length, name, block: at, probe_ns: 1e6 * told, marks });
      return marks.length > 0;
    };
    tell("step", { text: `timing ${Object.keys(opened).join(" and ")}` });
    for (const [block, names] of order.entries()) {
      if (block >= FEWEST_ROUNDS && spent >= allowed) break;
      for (const name of names) {
        if (!(await turn(name, block, 0))) continue;
        for (; left > 0; left -= NAP_MS) {
          await pause(NAP_MS);
          if (probe.best() < COOL_BELOW * usual) break;
        }
        await turn(name, block, 1);
      }
      tell("progress", { done: block + 1, total: order.length });
    }
    for (const [name, held] of Object.entries(samples)) {
      await this.send(name, "float64", [held.length / 2, 2], new Float64Array(held));
      tell("times", { name, times: held.filter((_, at) => at % 2) });
    }
    return {
      turns,
      probe: { baseline_ns: 1e6 * probe.baseline, held_against_ns: 1e6 * usual, rel_iqr: probe.relIqr },
      waited_s: guard.cooldown_s - Math.max(0, left) / 1000,
    };
  }

  /** Keep the shipped model open, for pictures that are taken or chosen here; nothing is fetched for them. */
  async show() {
    const { answer, input, labels } = this.job;
    if (!answer) return {};
    tell("step", { text: "Loading the model, to be tried here" });
    await this.load();
    const { run, outputs } = await this.session(0);
    const source = URL.createObjectURL(new Blob([answer], { type: "text/javascript" }));
    const told = await import(source);
    tried = async ({ rgb, width, height }) => {
      const given = await run({ [input]: new this.ort.Tensor("uint8", rgb, [1, height, width, 3]) });
      return told.answer(Object.fromEntries(outputs.map((name, at) => [name, given[at].data])), labels);
    };
    return {};
  }

  async describe() {
    return { facts: await environment() };
  }
}

async function inTurn(run, examples) {
  const rows = [];
  for (const example of examples) rows.push(await run(example));
  return rows;
}

function same(first, second) {
  const [one, other] = [first, second].map((a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength));
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

let tried = null;

onmessage = async ({ data }) => {
  try {
    if (data.rgb) tell("answer", { best: await tried(data) });
    else tell("result", await new Job(data.job, data.visitor)[data.job.action]());
  } catch (error) {
    tell("error", { text: error?.message ?? String(error) });
  }
};
