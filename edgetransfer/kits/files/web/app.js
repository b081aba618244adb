// The page: a picture or a text in, labels out. What labels hold is text, whatever it is.

import { check, quantile } from "./check.js";
import { EdgeModel } from "./edge-model.js";
import { newest } from "./update.js";

const at = (id) => document.getElementById(id);
const say = (id, words) => (at(id).textContent = words);

async function keepForLater() {
  if (!("serviceWorker" in navigator) || !globalThis.crypto?.subtle) return;
  const list = await (await fetch("./kit.tsv")).arrayBuffer();
  const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", list))];
  const version = digest.map((each) => each.toString(16).padStart(2, "0")).join("");
  await navigator.serviceWorker.register(`./sw.js?${version}`, { type: "classic" });
}

function show({ labels, accepted }, milliseconds) {
  say("sure", accepted ? `${labels[0].name}` : "Not sure. The likeliest are:");
  at("labels").replaceChildren(...labels.map(row));
  at("answer").hidden = false;
  say("state", `Answered in ${milliseconds.toFixed(0)} ms.`);
}

function row({ name, probability }) {
  const made = document.createElement("tr");
  const [label, bar, share] = ["th", "td", "td"].map((kind) => document.createElement(kind));
  label.scope = "row";
  label.dir = "auto";
  label.textContent = name;
  const meter = document.createElement("meter");
  meter.value = probability;
  meter.setAttribute("aria-label", `Probability of ${name}`);
  bar.append(meter);
  share.textContent = `${(100 * probability).toFixed(1)} %`;
  made.append(label, bar, share);
  return made;
}

async function classify(model, given) {
  say("state", "Looking …");
  try {
    const start = performance.now();
    const answer = await model.classify(given);
    show(answer, performance.now() - start);
  } catch (error) {
    at("answer").hidden = true;
    say("state", error.message);
  }
}

async function look(model, file) {
  if (!file) return;
  URL.revokeObjectURL(at("shown").src);
  at("shown").src = URL.createObjectURL(file);
  at("shown").hidden = false;
  await classify(model, file);
}

function listen(model) {
  const drop = at("drop");
  for (const input of [at("file"), at("camera")]) {
    input.addEventListener("change", () => look(model, input.files[0]));
  }
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => look(model, event.dataTransfer.files[0]));
  at("shown").addEventListener("error", () => (at("shown").hidden = true));
  at("texts").addEventListener("submit", (event) => {
    event.preventDefault();
    classify(model, at("text").value);
  });
  at("check").addEventListener("click", () => checkDevice(model));
}

async function checkDevice(model) {
  at("check").disabled = true;
  at("wrong").replaceChildren();
  try {
    const tell = (done, total) => say("checked", `${done} of ${total} cases`);
    const found = await check(model, { tell });
    const wrong = found.wrong.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    });
    at("wrong").replaceChildren(...wrong);
    const [p50, p90] = [0.5, 0.9].map((share) => quantile(found.milliseconds, share).toFixed(1));
    const threads = found.isolated ? "threads" : "one thread";
    say(
      "checked",
      `${found.cases.length} cases, ${found.wrong.length} wrong; logits off by ${found.worst.toPrecision(2)} at most; ` +
        `half of the runs within ${p50} ms, 90 % within ${p90} ms (${threads}).`,
    );
    const content = new Blob([JSON.stringify(found)], { type: "application/json" });
    at("save").href = URL.createObjectURL(content);
    at("save").hidden = false;
  } catch (error) {
    say("checked", error.message);
  }
  at("check").disabled = false;
}

async function begin() {
  try {
    const read = "caches" in globalThis ? await newest() : undefined;
    const model = await EdgeModel.load(read ? { read } : {});
    at(model.takesTexts ? "texts" : "pictures").hidden = false;
    at("check").disabled = false;
    listen(model);
    say("state", model.takesTexts ? "Ready: type a text." : "Ready: choose a picture.");
    globalThis.model = model;
  } catch (error) {
    say("state", error.message);
  }
  document.documentElement.dataset.ready = "";
  await keepForLater().catch(() => {}); // a page without a service worker needs the network, that is all
}

await begin();
