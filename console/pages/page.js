// What every page shares: elements made without markup in strings, numbers in plain words, requests.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function fill(id, ...children) {
  byId(id).replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// Changes text only when it differs, so that screen readers are told once.
export function say(id, text) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text;
}

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const count = (number) => whole.format(number);
const hour = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

// Of today the time alone.
export function when(ms) {
  const then = new Date(ms);
  return (then.toDateString() === new Date().toDateString() ? hour : clock).format(then);
}

export function points(number) {
  if (number === null || number === undefined) return "–";
  if (number === 0) return "0";
  return number.toFixed(Math.abs(number) < 0.095 ? 3 : 2);
}

export function percent(share) {
  const value = 100 * share;
  const digits = Math.abs(value) < 1 ? 1 : 0;
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "+") + text + "%";
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 120) return value.toFixed(value < 10 ? 1 : 0) + " s";
  return value < 7200 ? (value / 60).toFixed(0) + " min" : (value / 3600).toFixed(1) + " h";
}

export function amount(value) {
  if (Number.isInteger(value)) return count(value);
  return Math.abs(value) >= 100 ? count(value) : String(Number(value.toPrecision(3)));
}

export const money = (cents) => (cents === null || cents === undefined ? "" : (cents / 100).toFixed(2));

// Ids without a secure context too: a shop on a local network has no crypto.randomUUID.
export function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The key lives as long as the tab does.
export const key = {
  get: () => sessionStorage.getItem("quintet-key") || "",
  set: (text) => sessionStorage.setItem("quintet-key", text.trim()),
};

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function ask(url, options = {}) {
  const headers = { Accept: "application/json", ...(options.headers || {}) };
  if (key.get()) headers.Authorization = "Bearer " + key.get();
  if (options.json !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(url, {
      method: options.method || "GET",
      headers,
      body: options.json === undefined ? undefined : JSON.stringify(options.json),
      keepalive: options.keepalive || false,
    });
  } catch {
    throw new Refused(0, "nobody answers at " + new URL(url, location.href).origin);
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.detail || body.title || "refused");
  return body;
}

let shared = null;
export function settings() {
  shared = shared || ask("/page-settings");
  return shared;
}

// Shows the key's field where callers need one.
export async function offerKey(changed) {
  if (!(await settings()).needs_key) return;
  byId("key-row").hidden = false;
  byId("key").value = key.get();
  byId("key").addEventListener("change", () => {
    key.set(byId("key").value);
    changed();
  });
}

// Calls `work` again and again, one after the other, less often while the page is hidden.
export function every(ms, work) {
  const turn = async () => {
    await work();
    setTimeout(turn, document.hidden ? 10 * ms : ms);
  };
  turn();
}
