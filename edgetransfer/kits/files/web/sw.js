// Keeps the kit in the browser: after the first load the page works without a network.
//
// It is registered as sw.js?DIGEST, with the digest of `kit.tsv`: a new kit is a new worker.

const CACHE = `edge-kit-${self.location.search.slice(1)}`;
const LIST = "./kit.tsv";
const NOT_SHIPPED = /^(golden\/|transformers\/|README|serve\.py|package\.json|.*\.d\.ts$)/;

async function keep() {
  const cache = await caches.open(CACHE);
  const list = await (await fetch(LIST, { cache: "no-store" })).text();
  const names = list.trimEnd().split("\n").map((line) => line.split("\t")[1]);
  const files = names.filter((name) => !NOT_SHIPPED.test(name) && name !== "sw.js");
  await cache.addAll(["./", LIST, ...files].map((name) => new Request(name, { cache: "no-cache" })));
  await self.skipWaiting();
}

async function take() {
  const old = (await caches.keys()).filter((name) => name.startsWith("edge-kit-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

async function answer(request) {
  const fresh = new URL(request.url).pathname.endsWith("/kit.tsv");
  const kept = await caches.match(request, { ignoreSearch: true, cacheName: CACHE });
  if (kept && !fresh) return kept;
  try {
    const found = await fetch(request);
    if (found.ok && found.type === "basic") await (await caches.open(CACHE)).put(request, found.clone());
    return found;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(take()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const ours = request.url.startsWith(self.registration.scope);
  if (request.method === "GET" && ours) event.respondWith(answer(request));
});
