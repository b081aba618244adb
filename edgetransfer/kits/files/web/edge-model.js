// Runs the model of the folder `model/` in a browser, by ONNX Runtime Web of the folder `ort/`.

import { WordPiece } from "./wordpiece.js";

const CONTRACT = "1";
const ENGINES = { wasm: "./ort/ort.wasm.min.mjs", webgpu: "./ort/ort.webgpu.min.mjs" };
const MOST_THREADS = 4;

/** Something that is not as it should be, in words. */
export class KitError extends Error {
  name = "KitError";
}

/** The lines of a file, which end in "\n" and in nothing else. */
export const linesOf = (text) => text.replace(/\n$/, "").split("\n");

/** Return what reads a file below an address: `await reader(address)(name)` is a Response. */
export function reader(address) {
  return async (name) => {
    const url = new URL(name, address);
    let answer;
    try {
      answer = await fetch(url);
    } catch (error) {
      throw new KitError(`${url}: not reached: ${error.message}`);
    }
    if (!answer.ok) throw new KitError(`${url}: not there: the server says ${answer.status}`);
    return answer;
  };
}

async function runtime(engine) {
  const ort = await import(ENGINES[engine]);
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated
    ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1)
    : 1;
  ort.env.logLevel = "error";
  return ort;
}

/** Read `model.tsv`; KitError where it is of another version of the contract. */
export function settingsOf(text) {
  const settings = new Map(linesOf(text).map((line) => line.split(/\t(.*)/s, 2)));
  const found = settings.get("contract");
  if (found !== CONTRACT) throw new KitError(`a model of contract ${found}, this kit reads ${CONTRACT}`);
  return settings;
}

/** Return the session's entries as ONNX Runtime Web takes them: an object for each part of a name. */
function entries(settings) {
  const found = {};
  for (const [name, value] of settings) {
    const [first, ...parts] = name.split(".");
    if (first !== "session") continue;
    const last = parts.pop();
    parts.reduce((at, part) => (at[part] ??= {}), found)[last] = value;
  }
  return found;
}

export class EdgeModel {
  /** Use `await EdgeModel.load()`. */
  constructor(ort, session, settings, labels, tokenizer) {
    Object.assign(this, { ort, session, settings, labels, tokenizer });
    this.takesTexts = settings.get("kind") === "text";
    this.temperature = Number(settings.get("temperature"));
    this.threshold = Number(settings.get("threshold"));
  }

  /** Open the model that `read` reads, once: opening takes longer than running. */
  static async load({ read = reader(new URL("./model/", import.meta.url)), engine = "wasm" } = {}) {
    const text = async (name) => (await read(name)).text();
    const settings = settingsOf(await text("model.tsv"));
    const [ort, model, labels] = await Promise.all([
      runtime(engine),
      read("model.onnx").then((answer) => answer.arrayBuffer()),
      text("labels.txt"),
    ]);
    let tokenizer;
    if (settings.get("kind") === "text") {
      const [vocabulary, rows] = await Promise.all(["vocabulary.txt", "characters.tsv"].map(text));
      tokenizer = new WordPiece(linesOf(vocabulary), linesOf(rows), settings);
    }
    const options = { executionProviders: [engine], logSeverityLevel: 3, extra: entries(settings) };
    try {
      const session = await ort.InferenceSession.create(new Uint8Array(model), options);
      return new EdgeModel(ort, session, settings, linesOf(labels), tokenizer);
    } catch (error) {
      throw new KitError(`model.onnx is not opened: ${error.message}`);
    }
  }

  /** Return what a person sees of a picture on a white page: `{ rgb, height, width }`, upright. */
  static async decode(source) {
    let bitmap;
    try {
      const upright = { imageOrientation: "from-image", colorSpaceConversion: "none" };
      bitmap = await createImageBitmap(source, upright);
    } catch (error) {
      throw new KitError(`not a picture that can be read: ${error.message}`);
    }
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const { data } = context.getImageData(0, 0, width, height);
    const rgb = new Uint8Array(3 * width * height);
    for (let from = 0, to = 0; from < data.length; from += 4) {
      rgb[to++] = data[from];
      rgb[to++] = data[from + 1];
      rgb[to++] = data[from + 2];
    }
    return { rgb, height, width };
  }

  /** Return Float32Array [labels] for `{ rgb, height, width }`, or for a list of token ids. */
  async logits(given) {
    const feeds = {};
    for (const name of this.settings.get("inputs").split(",")) feeds[name] = this.#tensor(name, given);
    const output = this.settings.get("output");
    const { [output]: found } = await this.session.run(feeds, [output]);
    return Float32Array.from(found.data);
  }

  #tensor(name, given) {
    if (!this.takesTexts) {
      return new this.ort.Tensor("uint8", given.rgb, [1, given.height, given.width, 3]);
    }
    const fill = { input_ids: (id) => BigInt(id), attention_mask: () => 1n }[name] ?? (() => 0n);
    return new this.ort.Tensor("int64", BigInt64Array.from(given, fill), [1, given.length]);
  }

  /** Return `{ labels: [{ name, probability }], accepted }`, the likeliest first. */
  decide(logits, top = 3) {
    const scaled = Array.from(logits, (each) => each / this.temperature);
    const most = Math.max(...scaled);
    const shares = scaled.map((each) => Math.exp(each - most));
    const total = shares.reduce((sum, each) => sum + each, 0);
    const labels = shares
      .map((each, at) => ({ name: this.labels[at], probability: each / total }))
      .sort((one, other) => other.probability - one.probability)
      .slice(0, top);
    return { labels, accepted: labels[0].probability >= this.threshold };
  }

  /** Decide on a text, or on a picture: a Blob, an <img>, a <video>, a canvas, an ImageBitmap. */
  async classify(given, top = 3) {
    const prepared = this.takesTexts ? this.tokenizer.encode(given) : await EdgeModel.decode(given);
    return this.decide(await this.logits(prepared), top);
  }

  /** Give its memory back. */
  async release() {
    await this.session.release();
  }
}
