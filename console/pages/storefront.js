// A small shop on the real products. It speaks only the public contract: /recommend and /events.
import { ask, byId, count, element, fill, freshId, key, money, offerKey, Refused, say, settings } from "/assets/page.js";

const HISTORY_SECONDS = 1.2; // a purchase is in the shopper's history within a second

const shop = {
  service: "",
  viewed: null, // the product on show: context of the next banner
  banner: null, // the last answer of /recommend
  drawn: 0, // requests so far: only the newest answer is shown
  basket: [], // {product, recommendation}
  bought: [], // what an unknown shopper bought in this tab: their history travels with the request
  next: "",
};

const shopper = () => byId("shopper").value.trim() || null;

// ---- talking to the service

async function send(events) {
  const stamped = events.map((event) => ({ event_id: freshId(), occurred_at: new Date().toISOString(), ...event }));
  const { results } = await ask(shop.service + "/events", { method: "POST", json: stamped, keepalive: true });
  const refused = results.find((result) => result.outcome !== "accepted");
  if (refused) throw new Refused(422, `${refused.outcome}${refused.reason ? ": " + refused.reason : ""}`);
}

function report(events) {
  return send(events).catch((problem) => complain("An event was not accepted: ", problem));
}

const naming = (banner) => ({ recommendation_id: banner.recommendation_id, attribution_token: banner.attribution_token, user_id: shopper() });

async function recommend() {
  const turn = ++shop.drawn;
  byId("banner").setAttribute("aria-busy", "true");
  const request = { user_id: shopper(), viewed_product_id: shop.viewed?.product_id ?? null, placement: "storefront", deferred: true };
  if (!shopper()) request.purchased_product_ids = shop.bought.slice(-10);
  try {
    const banner = await ask(shop.service + "/recommend", { method: "POST", json: request });
    if (turn === shop.drawn) showBanner(banner);
    fill("trouble");
  } catch (problem) {
    complain("No banner: ", problem);
  }
}

function complain(what, problem) {
  const advice = problem.status === 0
    ? ". Is the service running, and does QUINTET_CORS_ORIGINS allow this page's origin?"
    : problem.status === 401 || problem.status === 403 ? ". Enter an API key above." : "";
  fill("trouble", element("div", { class: "notice bad" }, element("p", {}, what + problem.message + advice)));
}

// ---- tiles

function hash(text) {
  let value = 2166136261;
  for (const letter of text) value = Math.imul(value ^ letter.codePointAt(0), 16777619);
  return value >>> 0;
}

function initials(title) {
  const words = title.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return ((words[0] || "?")[0] + (words[1] ? words[1][0] : "")).toUpperCase();
}

function face(product, attributes) {
  const made = element(attributes.onclick ? "button" : "div", { class: "face", ...attributes }, initials(product.title));
  made.style.setProperty("--hue", hash((product.category || product.brand || "").split("/").slice(0, 2).join("/")) % 360);
  return made;
}

const about = (product) => [product.brand, (product.category || "").split("/").pop()].filter(Boolean).join(" · ").toLowerCase();

function tile(product, banner, position) {
  return element("li", { class: "tile fresh", "data-product": product.product_id },
    face(product, { type: "button", "aria-label": "Look at " + product.title, onclick: () => view(product, banner) }),
    element("div", { class: "words" }, element("div", { class: "title", title: product.title }, product.title), element("div", { class: "about" }, about(product))),
    element("div", { class: "buy" }, element("span", { class: "price" }, money(product.price_cents)),
      element("button", { type: "button", "aria-label": `Put ${product.title} into the basket`, onclick: () => put(product, banner, position) }, "Add")),
  );
}

// ---- the banner

const onScreen = new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting) || !shop.banner || shop.banner.seen) return;
  shop.banner.seen = true;
  report([{ type: "impression", ...naming(shop.banner) }]);
}, { threshold: 0.5 });

function showBanner(banner) {
  shop.banner = banner;
  fill("banner", ...banner.products.map((product, position) => tile(product, banner, position)));
  byId("banner").setAttribute("aria-busy", "false");
  const viewed = shop.viewed ? `With ${shop.viewed.title}` : shopper() ? `For shopper ${shopper()}` : "For you";
  say("banner-title", viewed);
  const missing = banner.products.length ? "" : " · nothing may be shown";
  const drawn = banner.source === "policy" ? `${banner.arm === "policy" ? "policy" : "foundation, as control,"} version ${banner.policy_version}` : `${banner.source} list`;
  say("about", `${drawn}${banner.reason ? ": " + banner.reason : ""}${missing}`);
  byId("why").href = "/explain/" + encodeURIComponent(banner.recommendation_id);
  byId("why").hidden = false;
  onScreen.disconnect();
  if (banner.products.length) onScreen.observe(byId("banner"));
}

// ---- looking, putting into the basket, buying

function view(product, banner) {
  if (banner) report([{ type: "click", product_id: product.product_id, ...naming(banner) }]);
  shop.viewed = product;
  showViewed(banner);
  recommend();
}

function showViewed(banner) {
  const product = shop.viewed;
  byId("viewing").hidden = !product;
  if (!product) return;
  fill("viewing", element("div", { class: "viewing panel" }, face(product, { "aria-hidden": "true" }),
    element("div", {}, element("h2", { id: "viewed-title", tabindex: "-1" }, product.title),
      element("div", { class: "quiet" }, about(product)), element("div", { class: "price" }, money(product.price_cents)),
      element("div", { class: "actions" },
        element("button", { type: "button", class: "primary", id: "buy-now", onclick: () => buy([{ product, banner }]) }, "Buy now"),
        element("button", { type: "button", onclick: () => put(product, banner) }, "Add to basket"),
        element("button", { type: "button", onclick: leave }, "Back to all")))));
  byId("viewed-title").focus({ preventScroll: true });
  byId("viewing").scrollIntoView({ block: "nearest" });
}

function leave() {
  shop.viewed = null;
  showViewed(null);
  recommend();
}

function put(product, banner) {
  if (shop.basket.every((line) => line.product.product_id !== product.product_id)) shop.basket.push({ product, banner: banner || null });
  if (banner) report([{ type: "add_to_cart", product_id: product.product_id, ...naming(banner) }]);
  showBasket();
}

function showBasket() {
  const total = shop.basket.reduce((sum, line) => sum + (line.product.price_cents || 0), 0);
  byId("basket").hidden = !shop.basket.length;
  const several = shop.basket.length === 1 ? "product" : "products";
  say("basket-words", `${shop.basket.length} ${several} in the basket${total ? ", " + money(total) : ""}`);
}

// One order. Without a known shopper each line has to name the banner it came from, so that it finds its way.
function purchases(lines) {
  const order = { type: "purchase", order_id: "storefront-" + freshId(), user_id: shopper() };
  const item = ({ product }) => ({ product_id: product.product_id, quantity: 1, ...(product.price_cents == null ? {} : { price_cents: product.price_cents }) });
  const named = new Map();
  for (const line of lines) {
    const banner = line.banner || (shopper() ? null : shop.banner);
    const name = banner ? banner.recommendation_id : "";
    if (!named.has(name)) named.set(name, { banner, items: [] });
    named.get(name).items.push(item(line));
  }
  const groups = [...named.values()];
  if (shopper() && groups.length > 1) return [{ ...order, items: lines.map(item) }];
  return groups.map(({ banner, items }) => ({ ...order, ...(banner ? naming(banner) : {}), items }));
}

async function buy(lines) {
  try {
    await send(purchases(lines));
  } catch (problem) {
    const { needs_key } = await settings();
    if (needs_key) {
      return fill("trouble", element("div", { class: "notice watch" }, element("p", {},
        `The purchase was not accepted (${problem.message}). With API keys only a server may report purchases: your order service sends them with a key that has the scope events:server. A browser's key can show banners and report impressions and clicks.`)));
    }
    return complain("The purchase was not accepted: ", problem);
  }
  shop.bought.push(...lines.map((line) => line.product.product_id));
  shop.basket = shop.basket.filter((line) => !lines.includes(line) && lines.every((one) => one.product !== line.product));
  showBasket();
  say("told", `Bought: ${lines.map((line) => line.product.title).join(", ")}. The banner follows.`);
  setTimeout(recommend, shopper() ? 1000 * HISTORY_SECONDS : 0);
}

// ---- all products

async function search(more) {
  const query = new URLSearchParams({ query: byId("query").value, page_size: "24", page_token: more ? shop.next : "" });
  try {
    const page = await ask("/catalogue?" + query);
    const tiles = page.products.map((product) => tile(product, null));
    if (more) byId("shelf").append(...tiles);
    else fill("shelf", ...tiles);
    shop.next = page.next_page_token;
    byId("more").hidden = !shop.next;
    say("found", `${count(page.total)} ${page.total === 1 ? "product" : "products"}`);
  } catch (problem) {
    complain("The catalogue did not answer: ", problem);
  }
}

function become(user) {
  byId("shopper").value = user;
  shop.bought = [];
  shop.basket = [];
  showBasket();
  leave();
}

async function start() {
  const { service_url, shoppers } = await settings();
  shop.service = service_url;
  fill("shoppers", ...shoppers.slice(0, 200).map((user) => element("option", { value: user })));
  byId("someone").hidden = !shoppers.length;
  byId("someone").addEventListener("click", () => become(shoppers[Math.floor(Math.random() * shoppers.length)]));
  byId("nobody").addEventListener("click", () => become(""));
  byId("shopper").addEventListener("change", () => become(byId("shopper").value));
  byId("empty").addEventListener("click", () => { shop.basket = []; showBasket(); });
  byId("buy").addEventListener("click", () => buy([...shop.basket]));
  byId("more").addEventListener("click", () => search(true));
  byId("search").addEventListener("submit", (event) => { event.preventDefault(); search(false); });
  let typed;
  byId("query").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => search(false), 200); });
  await offerKey(recommend);
  if ((await settings()).needs_key && !key.get()) say("told", "This shop needs an API key: enter one above.");
  await Promise.all([recommend(), search(false)]);
}

start();
