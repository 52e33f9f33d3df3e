// Every section but the products.
function drawTiles() {
  for (const tile of R.tiles) byId("tiles").append(el("div", { class: "card tile" }, el("span", { class: "label" }, tile.label), el("span", { class: "value" }, tile.value), el("span", { class: "hint" }, tile.note)));
}
function drawTotal() {
  const total = R.total, name = "Total demand";
  if (!total.history.some((v) => v !== null)) return empty("total", name, "No demand was observed in the periods shown.");
  const past = R.past.map((p) => ({ origin: p.origin, fan: null, line: p.total }));
  const series = { history: total.history, q: total.q, mean: total.mean, past, meanFirst: true };
  heading("total", name, total.caption || "History only: no forecast was given.");
  byId("total").append(el("div", { class: "card" }, fanLegend(series), fanChart(series, "Total demand by " + R.view.unit + (total.mean ? ", and its forecast of " + num(sumOf(total.mean)) : ""), 320)));
}
function modelTable(part) {
  const { chosen, baseline } = R.accuracy, { models } = part, most = Math.max(1, ...models.map((m) => m.relative || 0)) * 1.02;
  const some = (key) => models.some((m) => m[key] !== null), relative = some("relative");
  const head = el("tr", {}, el("th", { scope: "col" }, "Model"), el("th", { scope: "col", class: "n" }, "WQL"), relative ? el("th", { scope: "col", class: "n" }, "to baseline") : null, relative ? el("th", { scope: "col", class: "opt2", "aria-label": "bar" }) : null, some("wape") ? el("th", { scope: "col", class: "n opt2" }, "WAPE") : null, some("bias") ? el("th", { scope: "col", class: "n" }, "bias") : null, some("sfpc") ? el("th", { scope: "col", class: "n opt2" }, "revision") : null, some("excess") ? el("th", { scope: "col", class: "n opt2" }, "excess volatility") : null);
  const rows = models.map((m) => {
    const bar = el("div", { class: "rel", "aria-hidden": "true" }, el("i", { class: m.name === chosen ? "own" : null, style: `width:${(100 * (m.relative || 0)) / most}%` }), el("b", { style: `left:${100 / most}%` }));
    return el("tr", {}, el("th", { scope: "row", class: "item model" }, m.name, el("span", { class: "sub" }, m.name === chosen ? "drawn on this page" : m.name === baseline ? "baseline" : "")),
      el("td", { class: "n strong" }, num(m.wql, 3)), relative ? el("td", { class: "n " + (m.relative < 0.9995 ? "good" : m.relative > 1.0005 ? "bad" : "") }, m.name === baseline ? "–" : change(m.relative)) : null,
      relative ? el("td", { class: "opt2", style: "width:24%" }, bar) : null, some("wape") ? el("td", { class: "n opt2" }, percent(m.wape, 1)) : null, some("bias") ? el("td", { class: "n" }, m.bias === null ? "–" : change(1 + m.bias)) : null,
      some("sfpc") ? el("td", { class: "n opt2" }, m.sfpc === null ? "–" : num(m.sfpc, 1) + "%") : null, some("excess") ? el("td", { class: "n opt2" }, num(m.excess, 4)) : null);
  });
  return el("table", {}, el("caption", { hidden: true }, "Scores by model"), el("thead", {}, head), el("tbody", {}, rows));
}
function segmentTable(part, kind) {
  const { chosen, baseline } = R.accuracy, cells = part.segments[kind], total = sumOf(cells.map((c) => c.weight));
  const based = cells.some((c) => c.wql[baseline]), scale = (cell, name) => (based ? cell.wql[name] / cell.wql[baseline] : cell.wql[name]);
  const all = cells.flatMap((c) => Object.keys(c.wql).map((name) => scale(c, name))).filter(Number.isFinite);
  let low = Math.min(...all, based ? 1 : Infinity), high = Math.max(...all, based ? 1 : 0);
  const pad = 0.08 * (high - low || 1); low -= pad; high += pad;
  const left = (v) => `left:${(100 * (v - low)) / (high - low)}%`;
  const own = (c) => c.units ? (c.units[chosen] !== undefined ? chosen : Object.keys(c.units)[0]) : (c.wql[chosen] !== undefined ? chosen : Object.keys(c.wql).sort((a, b) => c.wql[a] - c.wql[b])[0]);
  const unsold = (c) => el("tr", {}, el("th", { scope: "row", class: "item" }, c.segment), total ? el("td", { class: "n opt2" }, percent(0)) : null, el("td", { colspan: 3, class: "quiet" }, `nothing was sold; ${own(c)} is ${num(c.units[own(c)], 4)} units off a period (pinball)`));
  const rows = cells.map((c) => c.units ? unsold(c) : el("tr", {}, el("th", { scope: "row", class: "item" }, c.segment), total ? el("td", { class: "n opt2" }, percent(c.weight / total)) : null,
    el("td", { style: "width:38%" }, el("div", { class: "dots", role: "img", "aria-label": Object.keys(c.wql).map((n) => n + " " + num(scale(c, n), 2)).join(", ") }, based ? el("b", { style: left(1) }) : null, Object.keys(c.wql).sort((a, b) => (a === own(c)) - (b === own(c))).map((n) => (Number.isFinite(scale(c, n)) && n !== baseline ? el("i", { class: n === own(c) ? "own" : null, style: left(scale(c, n)), title: n + ": " + num(c.wql[n], 3) }) : null)))),
    el("td", { class: "n strong" }, num(c.wql[own(c)], 3)), el("td", { class: "n " + (scale(c, own(c)) < 1 ? "good" : "bad") }, based && own(c) !== baseline ? change(scale(c, own(c))) : "–")));
  return el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, kind), total ? el("th", { scope: "col", class: "n opt2" }, "share") : null, el("th", { scope: "col" }, based ? "each model; dashed: baseline" : "each model"), el("th", { scope: "col", class: "n" }, "WQL"), el("th", { scope: "col", class: "n" }, based ? "change" : ""))), el("tbody", {}, rows));
}
// A select where there is a choice; nothing where there is none.
function choice(label, names, show, selected = names[0]) {
  if (names.length < 2) return null;
  const select = el("select", { "aria-label": label, onchange: () => show(select.value) }, names.map((n) => el("option", { value: n, selected: n === selected }, n)));
  return select;
}
function drawAccuracy() {
  const { by_span: parts, baseline } = R.accuracy;
  if (!parts.length) return empty("accuracy", "Accuracy", "No scores were given: run a backtest to see how far to trust the forecast.");
  heading("accuracy", "Accuracy", `Weighted quantile loss (WQL) in the backtest, lower is better${parts[0].models.some((m) => m.name === baseline) ? `, set against ${baseline}` : ""}.`);
  const host = el("div", {}), show = (label) => { host.replaceChildren(...accuracyCards(parts.find((p) => p.label === label))); drawWaiting(); };
  const select = choice("Horizon scored", parts.map((p) => p.label), show);
  if (select) byId("accuracy").append(el("div", { class: "bar" }, el("span", { class: "quiet" }, "Scored on"), select));
  byId("accuracy").append(host);
  show(parts[0].label);
}
function accuracyCards(part) {
  const { chosen, baseline } = R.accuracy, { models, lead, segments } = part, cards = [], kinds = Object.keys(segments);
  if (models.length) cards.push(el("div", { class: "card" }, el("h3", {}, "By model"), el("div", { class: "scroll" }, modelTable(part))));
  if (lead.length) {
    const line = (m) => svg("path", { d: "M0 6H20", stroke: `var(${m === chosen ? "--accent" : m === baseline ? "--ink" : "--other"})`, "stroke-width": m === chosen ? 2.4 : 1.5, "stroke-dasharray": m === baseline ? "5 4" : null });
    const others = lead.filter((l) => l.name !== chosen && l.name !== baseline);
    const names = [...lead.filter((l) => l.name === chosen), ...lead.filter((l) => l.name === baseline && l.name !== chosen)].map((l) => l.name);
    cards.push(el("div", { class: "card" }, el("h3", {}, "By lead"), el("ul", { class: "legend" }, names.map((n) => swatch(n, line(n))), others.length ? swatch(others.length === 1 ? others[0].name : others.length + " other models", line(others[0].name)) : null), leadChart(lead, chosen, baseline)));
  }
  const made = [el("div", { class: cards.length > 1 ? "two wider" : null }, cards)];
  if (kinds.length) {
    const place = el("div", {}, segmentTable(part, kinds[0]));
    made.push(el("div", { class: "card", style: "margin-top:18px" }, el("div", { class: "bar", style: "margin-top:0" }, el("h3", { style: "margin:0" }, "By segment"), el("span", { class: "grow" }), choice("Kind of segment", kinds, (kind) => place.replaceChildren(segmentTable(part, kind)))), place));
  }
  return made;
}
function drawImportance() {
  if (!R.importance) return;
  const most = R.importance[0][1];
  heading("importance", "What the model learned from", `Share of what ${R.accuracy?.chosen || "the model"} gained by each feature, over all products and horizons.`);
  byId("importance").append(el("div", { class: "card" }, el("table", { class: "shares" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Feature"), el("th", { scope: "col", class: "n" }, "share"), el("th", { scope: "col", "aria-label": "Bar" }))), el("tbody", {}, R.importance.map(([name, share]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "n" }, percent(share, 1)), el("td", { style: "width:55%" }, share > most ? null : el("div", { class: "share", style: `width:${(100 * share) / most}%` }))))))));
}
function drawCalibration() {
  const made = R.calibration;
  if (!made) return empty("calibration", "Calibration", "No calibration was given: it needs a backtest.");
  heading("calibration", "Calibration", "How often demand stayed under each quantile, against what was promised. On the diagonal is right; each mark spans the share strictly under the quantile to the share at most it.");
  const chart = el("div", {}), words = el("div", {}), labels = made.by_span.map((p) => p.label), names = Object.keys(made.by_span[0].models);
  let label = labels[0], name = made.shown;
  const show = () => {
    const part = made.by_span.find((p) => p.label === label), points = part.models[name] || [];
    chart.replaceChildren(calibrationChart(points));
    const table = el("table", {}, el("thead", {}, el("tr", {}, ["level", "under", "at most"].map((t) => el("th", { scope: "col", class: "n" }, t)))), el("tbody", {}, points.map((p) => el("tr", {}, el("td", { class: "n" }, levelText(p[0])), el("td", { class: "n" }, percent(p[1], 1)), el("td", { class: "n" }, percent(p[2], 1))))));
    words.replaceChildren(el("p", { class: "strong", style: "font-size:1.05rem", role: "status" }, part.reading[name] || "Not scored."), el("p", { class: "quiet" }, "Orange marks are off by more than two points."), el("details", { open: window.innerWidth > 860 }, el("summary", {}, "Numbers"), table));
    drawWaiting();
  };
  const bar = [choice("Model", names, (n) => { name = n; show(); }, name), choice("Horizon scored", labels, (l) => { label = l; show(); })].filter(Boolean);
  byId("calibration").append(el("div", { class: "card two" }, chart, el("div", {}, bar.length ? el("div", { class: "bar", style: "margin-top:0" }, bar) : null, words)));
  show();
}
const KIND_CLASS = { "money at risk": "risk", "stock-out risk": "risk", "biggest miss": "miss", new: "new", ended: "ended" };
const KIND_TITLE = { "money at risk": "Money at risk", "stock-out risk": "Stock-out risk", "biggest miss": "Biggest misses", new: "New", ended: "No longer selling" };
function drawLook() {
  // What is ranked by money is not told again under its reason.
  const told = new Set(R.attention.filter((g) => g.kind === "money at risk").flatMap((g) => g.rows.map((r) => r.row)).filter((row) => row >= 0));
  const again = (g) => (g.kind === "biggest miss" || g.kind === "stock-out risk" ? g.rows.filter((r) => told.has(r.row)).length : 0);
  const groups = R.attention.map((g) => (again(g) ? { ...g, n: g.n - again(g), rows: g.rows.filter((r) => !told.has(r.row)) } : g)).filter((g) => g.n && g.rows.length);
  if (!groups.length) return empty("look", "Worth a look", "Nothing stands out in what was given.");
  heading("look", "Worth a look");
  byId("look").append(el("div", { class: "looks" }, groups.map(lookCard)));
}
function lookCard(group) {
  const FEW = 5, entry = (r) => el("li", {}, r.row >= 0 ? [el("button", { class: "link", type: "button", onclick: () => openProduct(r.row) }, productName(r.row)), el("span", { class: "quiet" }, " " + productCode(r.row))] : el("strong", {}, r.item), el("p", {}, r.text));
  const list = el("ul", {}, group.rows.slice(0, FEW).map(entry));
  const left = group.rows.length - FEW;
  const more = left > 0 ? el("button", { class: "chip", type: "button", onclick: () => { list.append(...group.rows.slice(FEW).map(entry)); list.children[FEW].querySelector("button")?.focus(); more.remove(); } }, `Show ${left} more`) : null;
  return el("div", { class: "card" }, el("h3", {}, el("span", { class: "flag " + KIND_CLASS[group.kind] }, KIND_TITLE[group.kind] || group.kind), el("span", { class: "quiet" }, group.n > group.rows.length ? ` ${group.rows.length} shown of ${num(group.n)}` : " " + num(group.n))), list, more);
}
// What the cycle did; nothing where the page is not of a cycle.
function drawCycle() {
  const made = R.cycle;
  if (!made) return byId("cycle").remove();
  heading("cycle", "Since last time", "What the cycle found, did and decided.");
  const topics = [...new Set(made.news.map(([topic]) => topic))];
  const told = topics.map((topic) => el("div", {}, el("dt", {}, topic), made.news.filter(([t]) => t === topic).map(([, text]) => el("dd", {}, text))));
  byId("cycle").append(el("div", { class: "card" }, el("dl", { class: "glossary" }, told)));
  const words = made.alarms.length ? el("ul", {}, made.alarms.map((text) => el("li", {}, text))) : el("p", { class: "quiet" }, "No alarms: the latest week is within what the weeks before it show.");
  byId("cycle").append(el("div", { class: "card", style: "margin-top:18px" }, el("h3", {}, made.n_alarms > made.alarms.length ? `Alarms (${made.alarms.length} of ${made.n_alarms})` : "Alarms"), words));
  for (const table of made.tables) {
    const body = table.rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))));
    const whole = el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, table.columns.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, body)));
    const shown = body.length > 6 ? el("details", {}, el("summary", {}, `${body.length} rows`), whole) : whole;
    byId("cycle").append(el("div", { class: "card", style: "margin-top:18px" }, el("h3", {}, table.title), el("p", { class: "quiet" }, table.note), shown));
  }
}
function drawNavigation() {
  const names = { total: "Total", ...(R.cycle ? { cycle: "Since last time" } : {}), look: "Worth a look", orders: "Orders", savings: "Savings", products: "Products", accuracy: "Accuracy", calibration: "Calibration", ...(R.importance ? { importance: "Learned from" } : {}), glossary: "How to read" };
  const links = Object.entries(names).map(([id, text]) => [byId(id), el("a", { href: "#" + id }, text)]);
  byId("nav").append(...links.map(([, link]) => link));
  for (const [name, value] of R.header.facts) byId("facts").append(el("dt", {}, name), el("dd", {}, value));
  if (!window.IntersectionObserver) return;
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) for (const [section, link] of links) if (section === entry.target) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const [section] of links) watcher.observe(section);
}
