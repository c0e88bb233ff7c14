// Keeps the files of the page, whose names and digests come first, so that it opens without a
// network; another export is another version, and the old one goes once no page uses it.
const PREFIX = `${registration.scope} `;
const VERSION = PREFIX + Object.values(FILES).join("");

addEventListener("install", (event) => {
  const names = ["./", ...Object.keys(FILES)];
  // Not from the browser's own cache, which may hold files of another version.
  const fresh = names.map((name) => new Request(name, { cache: "no-cache" }));
  event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(fresh)));
});

addEventListener("activate", (event) => {
  const clean = async () => {
    const old = (await caches.keys()).filter((key) => key.startsWith(PREFIX) && key !== VERSION);
    await Promise.all(old.map((key) => caches.delete(key)));
    await clients.claim();
  };
  event.waitUntil(clean());
});

addEventListener("fetch", (event) => {
  const find = async () => {
    const cache = await caches.open(VERSION);
    return (await cache.match(event.request, { ignoreSearch: true })) || fetch(event.request);
  };
  if (event.request.method === "GET") event.respondWith(find());
});
