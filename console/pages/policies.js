// The registry for people: what serves, what it was made of, and moving the live pointer.
import { amount, ask, byId, count, element, every, fill, offerKey, say, when } from "/assets/page.js";

const PAGE = 50;
let pages = 1;
let shown = "";

function signs(entry) {
  if (entry.parent === null) return element("span", { class: "quiet" }, "foundation");
  const odd = entry.health.filter((sign) => sign.verdict === "watch");
  if (!odd.length) return element("span", { class: "badge fine", title: entry.health.map((sign) => `${sign.title}: ${amount(sign.value)}`).join("\n") }, "fine");
  return element("span", {}, ...odd.map((sign) => element("span", { class: "badge watch", title: sign.meaning }, `${sign.title}: ${amount(sign.value)}`)));
}

function row(entry, hold) {
  const promote = entry.live
    ? element("span", { class: "badge good" }, "serves")
    : element("button", { type: "button", disabled: hold, "aria-label": `Promote version ${entry.version}`, title: hold ? "Resume first" : null, onclick: () => promoted(entry.version) }, "Promote");
  return element("tr", { class: entry.live ? "live" : null },
    element("th", { scope: "row", class: "number" }, String(entry.version)), element("td", {}, when(entry.created_at_ms)),
    element("td", { class: "number roomy" }, count(entry.updates)), element("td", { class: "number" }, count(entry.banners)),
    element("td", {}, signs(entry)), element("td", {}, promote));
}

function tell(kind, text) {
  fill("told", element("div", { class: `notice ${kind}` }, element("p", {}, text)));
}

async function operate(path, done) {
  try {
    const live = await ask(path, { method: "POST", json: {} });
    tell("good", done(live));
  } catch (problem) {
    tell("bad", `Nothing was changed: ${problem.message}.`);
  }
  await refresh();
}

function promoted(version) {
  if (confirm(`Promote version ${version}? Every server swaps to it within seconds, and the trainer goes on from what is live.`)) {
    operate(`/policies/${version}/promote`, (live) => `Version ${live.version} is live.`);
  }
}

function rolledBack() {
  if (confirm("Roll back to the version that was live before? Nothing new is promoted until somebody resumes.")) {
    operate("/policies/rollback", (live) => `Rolled back: version ${live.version} is live, and promotion is held.`);
  }
}

async function versions() {
  const all = [];
  let token = "", page;
  for (let turn = 0; turn < pages; turn += 1) {
    page = await ask(`/policies?page_size=${PAGE}&page_token=${token}`);
    all.push(...page.policies);
    token = page.next_page_token;
    if (!token) break;
  }
  return { ...page, policies: all };
}

async function refresh() {
  try {
    const page = await versions();
    if (JSON.stringify(page) === shown) return;
    shown = JSON.stringify(page);
    const { live, hold } = page;
    say("sentence", live ? `Version ${live.version} serves${hold ? ", and promotion is held" : ""}.` : "No policy serves yet.");
    say("state", live
      ? `Since ${when(live.changed_at_ms)}: ${live.reason}. ${hold ? "New versions wait until you resume." : "New versions are promoted as the trainer makes them."}`
      : "Run quintet pretrain to make the foundation.");
    byId("rollback").disabled = !live || !live.previous.length;
    byId("resume").hidden = !hold;
    byId("more").hidden = !page.next_page_token;
    fill("versions", ...page.policies.map((entry) => row(entry, hold)));
  } catch (problem) {
    shown = "";
    tell("bad", `The console does not answer: ${problem.message}. What is below may be old.`);
  }
}

byId("rollback").addEventListener("click", rolledBack);
byId("resume").addEventListener("click", () => operate("/policies/resume", () => "Promotion goes on."));
byId("more").addEventListener("click", () => { pages += 1; refresh(); });
offerKey(refresh);
every(3000, refresh);
