// Asks the host that serves this page for jobs, gives each to a fresh worker, and shows how it goes.
// It does not measure: worker.js does. At the end it shows what was found, and lets the model be tried.

import { ask, base, pause, quantile } from "./host.js";

const EVERY_MS = 250; // progress to the host at most this often
const ALIVE_MS = 2000;
const LOST_MS = 30000;
const MODELS = {
  reference: "float model",
  candidate: "shipped model",
  reference_whole: "float model, from the picture",
  candidate_whole: "shipped model, from the picture",
};
const LONGEST = 2048; // pixels: what a camera gives more is of no use, and takes memory

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
  for (const text of [MODELS[name] ?? name, ms(quantile(times, 0.5)), ms(quantile(times, 0.9)), times.length]) {
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

function showFound({ verdict, headline, figures }) {
  $("found").hidden = false;
  $("verdict").textContent = verdict;
  $("headline").textContent = headline;
  for (const texts of figures) {
    const row = $("figures").insertRow();
    for (const text of texts) row.insertCell().textContent = text;
  }
}

/** RGB of a picture as it is seen: turned by its EXIF orientation, over white, at most so large. */
async function pixels(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = $("seen");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(scale * side)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  return { rgb: new Uint8Array(data.filter((_, at) => at % 4 < 3)), width, height };
}

function showBest(best) {
  $("best").replaceChildren(...best.map(([name, share]) => {
    const item = document.createElement("li");
    item.textContent = `${name}: ${(100 * share).toFixed(1)} %`;
    return item;
  }));
}

function offerTry(worker) {
  const say = (text) => { $("said").textContent = text; };
  $("try").hidden = false;
  worker.onmessage = ({ data }) => {
    say(data.event === "error" ? data.text : "");
    if (data.event === "answer") showBest(data.best);
  };
  for (const input of document.querySelectorAll("#try input")) {
    input.addEventListener("change", async () => {
      if (!input.files.length) return;
      showBest([]);
      say("Looking");
      try {
        worker.postMessage(await pixels(input.files[0]));
      } catch {
        say("This browser cannot read that file as a picture.");
      }
    });
  }
}

/** Say something to the host; it need not hear everything but results and errors. */
function say(job, visitor, message) {
  const body = JSON.stringify({ ...message, hidden: document.hidden });
  return ask(`${job.number}/say`, visitor, { method: "POST", body });
}

/** Do one job in a worker of its own, and resolve when it has ended, well or not. */
async function work(job, visitor) {
  if (job.action === "show") showFound(job);
  const worker = new Worker(new URL("worker.js", base), { type: "module" });
  const beat = setInterval(() => say(job, visitor, { event: "alive" }).catch(() => {}), ALIVE_MS);
  let saidAt = 0;
  const isDue = ({ event, done, total }) =>
    event === "progress" && (done === total || performance.now() - saidAt > EVERY_MS);
  try {
    const last = await new Promise((resolve) => {
      worker.onerror = (event) => resolve({ event: "error", text: event.message || "the worker did not start" });
      worker.onmessage = ({ data }) => {
        if (data.event === "step") showStep(data.text);
        if (data.event === "progress") showProgress(data.done, data.total);
        if (data.event === "times") showTimes(data.name, data.times);
        if (data.event === "result" || data.event === "error") resolve(data);
        if (data.event === "step" || isDue(data)) {
          saidAt = performance.now();
          say(job, visitor, data).catch(() => {});
        }
      };
      worker.postMessage({ job, visitor });
    });
    if (last.facts) showFacts(last.facts);
    await say(job, visitor, last);
    if (last.event === "error" && job.action !== "show") throw new Error(last.text);
    if (last.event === "result" && job.answer) {
      offerTry(worker);
      return;
    }
    worker.terminate();
  } catch (error) {
    worker.terminate();
    throw error;
  } finally {
    clearInterval(beat);
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

attend();
