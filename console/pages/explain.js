// One banner's whole life: what was known, how likely the draw was, what happened, what learned from it.
import { ask, byId, count, element, every, fill, offerKey, points, say, when } from "/assets/page.js";

const id = decodeURIComponent(location.pathname.split("/").pop());
let shown = "";
let turns = 0; // it is read from the log each time: after two minutes nobody watches any more

const named = (product) => product.title || product.product_id || `row ${product.row}`;
const list = (products) => (products.length ? products.map(named).join(", ") : "–");
const cell = (text, attributes = {}) => element("td", attributes, text);

function share(value) {
  if (value === null) return "not drawn";
  return value >= 0.001 ? (100 * value).toFixed(value < 0.1 ? 2 : 1) + "%" : value.toExponential(1);
}

// The chance of a blind draw at this position, given the positions before it.
function odds(position, candidates) {
  if (position.propensity === null || candidates <= position.position) return "–";
  const times = position.propensity * (candidates - position.position);
  return (times >= 10 ? times.toFixed(0) : times.toFixed(1)) + " ×";
}

function sentence(life) {
  if (life.reward === null) return `A banner of ${life.banner.length}, not rewarded yet`;
  const earned = life.banner.filter((position) => position.points > 0);
  if (!earned.length) return `A banner of ${life.banner.length} that earned nothing`;
  return `A banner that earned ${points(life.reward)} points, with ${earned.map((position) => named(position)).join(" and ")}`;
}

const ARMS = { policy: "the policy arm", control: "the control arm (the foundation's greedy five)" };

function drawnBy(life) {
  const source = { policy: "drawn by", popular: "a popular list instead of", static: "a fixed list instead of" }[life.source];
  const reason = life.reason ? ` (${life.reason})` : "";
  return `${when(life.recommended_at_ms)}: ${source} version ${life.policy_version}${reason}, in ${ARMS[life.arm]}${life.deferred ? ", to be confirmed by an impression" : ""}. ${life.recommendation_id}`;
}

function learned(life) {
  if (!life.trainable) return "It is rewarded but never trained on: control, fallback and test banners are kept out.";
  if (!life.revisions.length) return "It has no reward yet: that comes with the first click or purchase, or at zero a few seconds after it was seen.";
  const versions = life.revisions.map((revision) => revision.learned_by).filter((version) => version !== null);
  if (!versions.length) return "No version has learned from it yet.";
  return `Version ${Math.min(...versions)} is the oldest one kept whose weights hold its reward.`;
}

function card(title, ...values) {
  return element("div", { class: "card panel" }, element("dt", {}, title), ...values.map((value) => element("dd", {}, value)));
}

function show(life) {
  const { context } = life;
  say("sentence", sentence(life));
  say("drawn", drawnBy(life));
  say("chosen", context.candidates ? `Chosen among ${count(context.candidates)} candidates, one position after the other; each propensity is given the positions before it.` : "No policy drew this banner, so there are no propensities.");
  fill("positions", ...life.banner.map((position) => element("tr", {}, cell(String(position.position + 1), { class: "number" }),
    element("th", { scope: "row" }, named(position)), cell(share(position.propensity), { class: "number" }),
    cell(odds(position, context.candidates), { class: "number roomy" }), cell(points(position.points), { class: "number" }))));
  fill("context",
    card("Product viewed", context.viewed ? "one" : "none", context.viewed ? named(context.viewed) : "The shopper was not on a product's page."),
    card("Last purchases", String(context.purchased.length), context.purchased.length ? "oldest first: " + list(context.purchased) : "Nothing was known of earlier purchases."),
    card("Orders so far", String(context.orders), context.repeats.length ? "most often: " + context.repeats.slice(0, 5).map((repeat) => `${named(repeat.product)} (${repeat.orders} ×)`).join(", ") : "No product bought again."),
    card("Placement", context.placement || "–", ""));
  fill("events", ...life.events.map((event) => element("tr", {}, cell(when(event.appended_at_ms)),
    element("th", { scope: "row" }, event.type.replaceAll("_", " "), event.named ? null : element("span", { class: "badge" }, "same shopper"), event.source ? ` by ${event.source}` : "", event.copies > 1 ? ` (in the log ${event.copies} times)` : ""),
    cell(list(event.products)))));
  say("learned", learned(life));
  byId("revisions-table").hidden = !life.revisions.length;
  fill("revisions", ...life.revisions.map((revision) => element("tr", {}, cell(when(revision.settled_at_ms)),
    element("th", { scope: "row" }, revision.revision === 0 ? "settlement" : `correction ${revision.revision}`),
    cell(points(revision.reward), { class: "number" }), cell(points(revision.delta.reduce((sum, one) => sum + one, 0)), { class: "number" }),
    cell(revision.learned_by === null ? "–" : String(revision.learned_by), { class: "number" }))));
  byId("life").hidden = false;
}

async function refresh() {
  turns += 1;
  if (turns > 24) return;
  try {
    const life = await ask("/explain/" + encodeURIComponent(id));
    fill("trouble");
    if (JSON.stringify(life) !== shown) show(life);
    shown = JSON.stringify(life);
  } catch (problem) {
    if (!shown) say("sentence", "This banner cannot be shown");
    fill("trouble", element("div", { class: "notice watch" }, element("p", {}, problem.message + ".")));
  }
}

offerKey(refresh);
every(5000, refresh);
