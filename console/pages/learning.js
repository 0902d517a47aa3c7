// The learning page: what the policy's banners earn beside the foundation's, live.
import { amount, ask, byId, count, element, every, fill, percent, points, say, seconds, when } from "/assets/page.js";

function headline(report) {
  const { policy, control } = report.arms;
  if (!policy.banners && !control.banners) return "No banner has been rewarded yet.";
  if (!policy.banners || !control.banners) {
    const [name, arm] = policy.banners ? ["policy", policy] : ["foundation", control];
    return `The ${name}'s banners earn ${points(arm.reward_per_banner)} per banner; the other arm has none yet.`;
  }
  const earned = `The policy's banners earn ${points(policy.reward_per_banner)} per banner, the foundation's ${points(control.reward_per_banner)}`;
  const { estimate, low, high } = report.lift;
  if (estimate === null) return earned + ".";
  if (low === null || high === null) return `${earned}: ${percent(estimate)}.`;
  return `${earned}: ${percent(estimate)} (between ${percent(low)} and ${percent(high)}).`;
}

function verdict(report) {
  const { policy, control } = report.arms;
  if (!policy.banners && !control.banners) {
    return "A banner is rewarded at its first click or purchase, or at zero a few seconds after it was seen. Open the storefront, or send shoppers.";
  }
  const { low, high } = report.lift;
  if (low === null || high === null) return "More shoppers are needed before the two arms can be compared.";
  if (low > 0) return "The policy earns more, and by more than chance explains.";
  if (high < 0) return "The policy earns less than the foundation, and by more than chance explains: consider a rollback on the policies page.";
  return "Which of the two is better is not decided yet: the interval still holds zero.";
}

function card(title, value, about) {
  return element("div", { class: "card panel" }, element("dt", {}, title), element("dd", {}, value), element("dd", {}, about));
}

function showCards(report) {
  const { policy, control } = report.arms;
  const { expected, lost, waiting, doubled } = report.rewards;
  const whole = lost === 0 && doubled === 0;
  fill(
    "cards",
    card("Version that serves", report.policy_version === null ? "–" : String(report.policy_version), `${count(report.versions_served)} versions have served so far`),
    card("From event to new weights", seconds(report.freshness_seconds.p50), `half are faster; 99 of 100 within ${seconds(report.freshness_seconds.p99)}`),
    card("Banners rewarded", count(policy.banners + control.banners), `policy ${count(policy.banners)}, control ${count(control.banners)}`),
    card("Rewards lost or doubled", whole ? "none" : `${count(lost)} / ${count(doubled)}`, `${whole ? "" : "lost / doubled, "}of ${count(expected)} that were due${waiting ? `; ${count(waiting)} wait` : ""}`),
  );
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function traces(curve, arm) {
  const seen = curve.filter((point) => point[arm].mean !== null);
  const banded = seen.filter((point) => point[arm].low !== null);
  const x = banded.map((point) => point.banners);
  const edge = { mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, type: "scatter" };
  return [
    { ...edge, x, y: banded.map((point) => point[arm].low) },
    { ...edge, x, y: banded.map((point) => point[arm].high), fill: "tonexty", fillcolor: style(`--${arm}-band`) },
    {
      type: "scatter", mode: seen.length === 1 ? "markers" : "lines", name: arm, showlegend: false,
      x: seen.map((point) => point.banners), y: seen.map((point) => point[arm].mean),
      line: { color: style(`--${arm}`), width: 2.5 }, marker: { color: style(`--${arm}`) },
      customdata: seen.map((point) => [point[arm].banners]),
      hovertemplate: `${arm}: %{y:.3f} per banner (of %{customdata[0]} banners)<extra></extra>`,
    },
  ];
}

let drawn = null;

function draw(curve) {
  drawn = curve;
  const missing = typeof Plotly === "undefined";
  const empty = !curve.length;
  byId("no-chart").hidden = !(missing || empty);
  byId("chart").hidden = missing || empty;
  if (empty) return say("no-chart", "The curve begins with the first rewarded banner.");
  if (missing) return say("no-chart", "Charts need the Python package plotly: install quintet[console].");
  const axis = { gridcolor: style("--line"), linecolor: style("--line"), zeroline: false, automargin: true };
  const layout = {
    margin: { t: 8, r: 12, b: 44, l: 52 }, hovermode: "x unified", dragmode: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: style("--quiet") },
    hoverlabel: { bgcolor: style("--surface"), bordercolor: style("--line"), font: { color: style("--text") } },
    xaxis: { ...axis, title: { text: "banners rewarded so far" }, rangemode: "tozero", fixedrange: true, separatethousands: true },
    yaxis: { ...axis, title: { text: "points per banner" }, fixedrange: true },
  };
  Plotly.react("chart", [...traces(curve, "control"), ...traces(curve, "policy")], layout, { displayModeBar: false, responsive: true });
}

const VERDICTS = { fine: "fine", watch: "worth a look" };

function showHealth(page) {
  const shown = page.policies.find((entry) => entry.live) || page.policies[0];
  if (!shown) {
    say("health-of", "There is no policy yet: run `quintet pretrain`.");
    return;
  }
  const made = `${shown.live ? "Live version" : "Version"} ${shown.version}, made ${when(shown.created_at_ms)} after ${count(shown.updates)} updates on ${count(shown.banners)} rewarded banners.`;
  say("health-of", shown.parent === null ? made + " It is the foundation: it has had no update yet." : made);
  const plain = shown.health.filter((sign) => sign.verdict === "plain");
  byId("plain").hidden = !plain.length;
  fill("plain-numbers", ...plain.map((sign) => element("tr", {}, element("th", { scope: "row" }, sign.title), element("td", { class: "number" }, amount(sign.value)))));
  fill("signs", ...shown.health.filter((sign) => sign.verdict !== "plain").map((sign) => element("li", {},
    element("div", { class: "head" }, element("h3", {}, sign.title), element("span", { class: `badge ${sign.verdict}` }, VERDICTS[sign.verdict])),
    element("div", { class: "value" }, amount(sign.value)),
    sign.meaning ? element("p", {}, sign.meaning) : null,
  )));
}

// Bars are as long as the lift in nats: twice as long, and the factor is squared.
function pairLine({ first, second, lift_nats }, longest) {
  const bar = element("i");
  bar.style.width = `${(100 * lift_nats) / longest}%`;
  return element("li", {},
    element("span", { class: "both" }, element("b", {}, first), " with ", element("b", {}, second)),
    element("span", { class: "bar", "aria-hidden": "true" }, bar),
    element("span", { class: "value" }, amount(Math.exp(lift_nats)) + " times"),
  );
}

function showPairs({ version, pairs }) {
  const shared = pairs.some(({ first, second }) => (first + second).includes(" or "));
  byId("pairs").hidden = !pairs.length;
  if (version === null) say("pairs-of", "There is no policy yet: run `quintet pretrain`.");
  else if (!pairs.length) say("pairs-of", `Version ${version} has learned of no two categories that earn more together; unless QUINTET_LEARN_PAIRS is on, it does not try to.`);
  else say("pairs-of", `Once a product of one category stands on a banner, version ${version} multiplies the odds of one of the other by so much.${shared ? " Categories with “or” between them share a place in the model." : ""}`);
  fill("pairs", ...pairs.map((pair) => pairLine(pair, pairs[0].lift_nats)));
}

async function refreshPairs() {
  try {
    showPairs(await ask("/pairs"));
  } catch (problem) {
    byId("pairs").hidden = true;
    say("pairs-of", `The pairs cannot be read: ${problem.message}.`);
  }
}

function trouble(page, report) {
  const notes = [];
  if (page.hold) {
    notes.push(element("div", { class: "notice watch" }, element("p", {},
      `Held since a rollback to version ${page.live.version}: training goes on from it, but nothing new is promoted. When the reason is found, resume on the `,
      element("a", { href: "/policies" }, "policies page"), ".")));
  }
  if (report.rewards.lost || report.rewards.doubled) {
    notes.push(element("div", { class: "notice bad" }, element("p", {},
      "Some impressions were not rewarded exactly once. Look at the aggregator's log: it reads another log, or has lost some.")));
  }
  if (report.rewards.waiting) {
    notes.push(element("div", { class: "notice watch" }, element("p", {},
      `${count(report.rewards.waiting)} impressions wait for their reward longer than they should: the aggregator is behind or stopped. None is lost; learning goes on when it catches up.`)));
  }
  return notes;
}

let shownNotes = "";

async function refresh() {
  try {
    const [report, curve, page] = await Promise.all([ask("/experiment"), ask("/experiment/curve"), ask("/policies?page_size=200")]);
    say("sentence", headline(report));
    say("verdict", verdict(report) + (curve.caught_up ? "" : " (Still reading the log.)"));
    showCards(report);
    showHealth(page);
    const notes = trouble(page, report);
    const text = notes.map((note) => note.textContent).join();
    if (text !== shownNotes) fill("trouble", ...notes);
    shownNotes = text;
    if (JSON.stringify(curve.points) !== JSON.stringify(drawn)) draw(curve.points);
  } catch (problem) {
    shownNotes = problem.message;
    fill("trouble", element("div", { class: "notice bad" }, element("p", {}, `The console does not answer: ${problem.message}. What is below may be old.`)));
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn && draw(drawn));
every(2000, refresh);
every(10000, refreshPairs);
