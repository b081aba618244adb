// Fetches the newest model of a folder that `edgetransfer push` writes, and keeps it in the browser.
//
// Nothing is used unless every digest is right and the new model passes its own golden cases here. The
// model before stays until the next update, and `back()` takes it again.

import { check } from "./check.js";
import { EdgeModel, KitError, linesOf, reader, settingsOf } from "./edge-model.js";

const STATE = "edge-model-state";
const POINTER = new URL("./current", import.meta.url).href;
const NAME = /^(golden\/)?[A-Za-z0-9_-][A-Za-z0-9._-]*$/;
const FOLDER = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

async function digestOf(bytes) {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...found].map((each) => each.toString(16).padStart(2, "0")).join("");
}

/** The caches of the model in use and of the one before: `{ now, before }`, or nothing. */
async function state() {
  const found = await (await caches.open(STATE)).match(POINTER);
  return found ? found.json() : {};
}

async function point(to) {
  await (await caches.open(STATE)).put(POINTER, new Response(JSON.stringify(to)));
}

function kept(cache, folder = "") {
  return async (name) => {
    const found = await (await caches.open(cache)).match(new URL(folder + name, POINTER));
    if (!found) throw new KitError(`${name}: not in the browser's cache any more`);
    return found;
  };
}

/** Return what reads the newest model that is in the browser; undefined where none was fetched. */
export async function newest() {
  const { now } = await state();
  return now && kept(now);
}

/** Take the newest model of an address; return its version, or "" where it is here already. */
export async function update(address) {
  const base = address.endsWith("/") ? address : `${address}/`;
  const [version, folder, digest] = await listed(base);
  const { now } = await state();
  const cache = `edge-model-${digest}`;
  if (cache === now) return "";
  try {
    await fetchAll(new URL(`${folder}/`, new URL(base, location.href)), digest, cache);
    await prove(cache, now);
  } catch (error) {
    await caches.delete(cache);
    throw error;
  }
  await point({ now: cache, before: now ?? "" });
  await forget([cache, now]);
  return version;
}

/** Take the model before the last update again; the kit's own where there was none. */
export async function back() {
  const { now, before } = await state();
  if (!now) throw new KitError("no model was fetched, so there is none to go back from");
  await point(before ? { now: before } : {});
  await forget([before]);
}

async function listed(base) {
  const text = await (await reader(new URL(base, location.href))("index.tsv")).text();
  const rows = linesOf(text).map((line) => line.split("\t"));
  const ours = rows.filter((row) => row.length === 4 && row[1] === "1");
  if (!ours.length) throw new KitError(`${base}index.tsv: no model of contract 1, which this kit reads`);
  const [version, , folder, digest] = ours.at(-1);
  if (!FOLDER.test(folder)) throw new KitError(`${base}index.tsv: not the name of a folder: ${folder}`);
  return [version, folder, digest];
}

async function fetchAll(address, digest, cache) {
  const read = reader(address);
  const list = await (await read("files.tsv")).arrayBuffer();
  refuseOther(`${address}files.tsv`, await digestOf(list), digest);
  const files = await caches.open(cache);
  for (const line of linesOf(new TextDecoder().decode(list))) {
    const [wanted, , name] = line.split("\t");
    if (!NAME.test(name ?? "")) throw new KitError(`${address}files.tsv: not a digest, bytes and a name: ${line}`);
    const content = await (await read(name)).arrayBuffer();
    refuseOther(`${address}${name}`, await digestOf(content), wanted);
    await files.put(new URL(name, POINTER), new Response(content));
  }
}

/** Refuse a model of another kind than the one in use, or one whose golden cases fail here. */
async function prove(cache, now) {
  const old = await (await (now ? kept(now) : reader(new URL("./model/", import.meta.url)))("model.tsv")).text();
  const model = await EdgeModel.load({ read: kept(cache) });
  try {
    if (settingsOf(old).get("kind") !== model.settings.get("kind")) {
      throw new KitError(`the new model takes a ${model.settings.get("kind")}, the one in use does not`);
    }
    const { wrong } = await check(model, { read: kept(cache, "golden/") });
    if (wrong.length) throw new KitError(`the new model fails its golden cases here: ${wrong[0]}`);
  } finally {
    await model.release();
  }
}

async function forget(keep) {
  const names = await caches.keys();
  const gone = names.filter((name) => /^edge-model-[0-9a-f]{64}$/.test(name) && !keep.includes(name));
  await Promise.all(gone.map((name) => caches.delete(name)));
}

function refuseOther(address, found, wanted) {
  if (found !== wanted) throw new KitError(`${address}: the digest is ${found}, and ${wanted} is listed`);
}
