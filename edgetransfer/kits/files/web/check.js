// Runs the golden cases here, says which step of which is wrong, and times one of them.

import { EdgeModel, linesOf, reader } from "./edge-model.js";

const ESCAPES = { t: "\t", n: "\n", r: "\r", 0: "\0" };
const [WARM_UP, RUNS, SHOWN] = [5, 50, 12];

const plain = (text) => text.replace(/\\(.)/gs, (_, letter) => ESCAPES[letter] ?? letter);

/** Read `golden.tsv`: a case a line, by the names of the first. */
export function casesOf(text) {
  const [head, ...rows] = linesOf(text).map((line) => line.split("\t"));
  return rows.map((row) => Object.fromEntries(head.map((name, at) => [name, row[at]])));
}

function furthest(one, other) {
  return one.reduce((most, each, at) => Math.max(most, Math.abs(each - other[at])), 0);
}

/** Say what is wrong with a decoded picture; nothing where it is right. */
function toldPixels(name, found, wanted, levels) {
  const size = ({ width, height }) => `${width} x ${height}`;
  if (size(found) !== size(wanted)) {
    const turned = name.startsWith("turned") ? ": it was not turned as its EXIF block says" : "";
    return `decode ${name}: ${size(found)} pixels, expected ${size(wanted)}${turned}`;
  }
  const apart = furthest(found.rgb, wanted.rgb);
  if (apart <= levels) return "";
  const exchanged = found.rgb.map((_, at, rgb) => rgb[at + [2, 0, -2][at % 3]]);
  if (furthest(exchanged, wanted.rgb) <= levels) return `decode ${name}: red and blue are exchanged`;
  return `decode ${name}: bytes are off by ${apart}, at most ${levels} is right`;
}

async function pictureOf(each, read, wrong) {
  const raw = new Uint8Array(await (await read(`${each.name}.picture.bin`)).arrayBuffer());
  const wanted = { rgb: raw, height: Number(each.height), width: Number(each.width) };
  try {
    const found = await EdgeModel.decode(await (await read(each.file)).blob());
    wrong.push(toldPixels(each.name, found, wanted, Number(each.levels)));
  } catch (error) {
    wrong.push(`decode ${each.name}: ${error.message}`);
  }
  return wanted;
}

function tokensOf(each, model, wrong) {
  const wanted = each.input_ids.split(",").map(Number);
  const found = model.tokenizer.encode(plain(each.text));
  if (found.join() !== wanted.join()) {
    const [one, other] = [found, wanted].map((ids) => `[${ids.slice(0, SHOWN).join(", ")}]`);
    wrong.push(`tokens ${each.name}: ids ${one}, expected ${other}`);
  }
  return wanted;
}

/**
 * Run all golden cases; `tell(done, total)` is told how far it is.
 *
 * Returns what `edgetransfer report --measured` judges, and `worst`, how far logits are off at most.
 */
export async function check(model, { read = reader(new URL("./golden/", import.meta.url)), tell = () => {} } = {}) {
  const cases = casesOf(await (await read("golden.tsv")).text());
  const most = Number(model.settings.get("tolerance_elsewhere"));
  const [wrong, outputs] = [[], []];
  let worst = 0;
  let first;
  for (const each of cases) {
    const given = model.takesTexts ? tokensOf(each, model, wrong) : await pictureOf(each, read, wrong);
    first ??= given;
    const found = await model.logits(given);
    const apart = furthest(found, each[model.settings.get("output")].split(",").map(Number));
    worst = Math.max(worst, apart);
    if (!(apart <= most)) {
      wrong.push(`model ${each.name}: logits are off by ${apart.toPrecision(4)}, more than ${most}`);
    }
    outputs.push({ name: each.name, outputs: [...found] });
    tell(outputs.length, cases.length);
  }
  return {
    schema: "edgetransfer.app/1",
    kit: "web",
    sha256: model.settings.get("sha256"),
    runtime: `onnxruntime-web ${model.ort.env.versions.web ?? model.ort.env.versions.common}`,
    device: navigator.userAgent.slice(0, 300),
    cases: outputs,
    wrong: wrong.filter(Boolean),
    milliseconds: await times(model, first),
    worst,
    isolated: Boolean(globalThis.crossOriginIsolated),
  };
}

async function times(model, given) {
  const found = [];
  for (let run = -WARM_UP; run < RUNS; run += 1) {
    const start = performance.now();
    await model.logits(given);
    // A browser may round its clock so that a run takes no time at all.
    if (run >= 0) found.push(Math.max(performance.now() - start, 1e-3));
  }
  return found;
}

/** The value that a share of the sorted numbers does not exceed. */
export function quantile(values, share) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
