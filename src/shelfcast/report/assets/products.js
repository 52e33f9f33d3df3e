// The tables of products and orders, and the panel of one product.
const P = R.products, N = R.header.n_products;
const productName = (row) => (P.name && P.name[row] ? P.name[row] : P.item[row]) + (P.location && !(P.name && P.name[row]) ? " · " + P.location[row] : "");
const productCode = (row) => [P.name && P.name[row] ? P.item[row] : null, P.name && P.name[row] && P.location ? P.location[row] : null, ...P.static.map((s) => s.values[row])].filter((t) => t !== null && t !== undefined && t !== "").join(" · ");
const orderOf = new Map((R.orders ? R.orders.row : []).map((row, i) => [row, i]));
const ordered = (row) => (orderOf.has(row) ? R.orders.quantity[orderOf.get(row)] : null);
const flagsOf = (row) => P.flags[row] || [];
const flags = (row) => flagsOf(row).map((f) => el("span", { class: "flag " + KIND_CLASS[f] }, f));
const searchText = Array.from({ length: N }, (_, i) => [P.item[i], P.location ? P.location[i] : "", P.name ? P.name[i] : "", ...P.static.map((s) => s.values[i])].join(" ").toLowerCase());

/* A table with search, sorting and pages. columns: {title, value(row), cell(row), kind, first} */
function browser(host, { rows, columns, words, label, sort, chips, open, stack, size = 50 }) {
  let order = { ...sort }, page = 0, text = "", chip = null;
  const count = el("span", { class: "quiet", role: "status" }), body = el("tbody", {}), pager = el("div", { class: "pager" });
  const heads = columns.map((c, i) => el("th", { scope: "col", class: c.kind }, c.value ? el("button", { type: "button", onclick: () => { order = { by: i, down: order.by === i ? !order.down : !c.words }; page = 0; show(); } }, c.title) : c.title));
  const input = el("input", { type: "search", placeholder: "Search " + label, "aria-label": "Search " + label, oninput: () => { text = input.value.trim().toLowerCase(); page = 0; show(); } });
  const buttons = (chips || []).map((c) => el("button", { class: "chip", type: "button", "aria-pressed": "false", onclick: () => { chip = chip === c ? null : c; page = 0; show(); } }, c.title));
  const turn = (by) => () => { page += by; show(); host.scrollIntoView({ block: "start" }); };
  function compare(a, b) {
    const value = columns[order.by].value, x = value(a), y = value(b);
    if (x === y) return a - b;
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return (x < y ? -1 : 1) * (order.down ? -1 : 1);
  }
  function show() {
    const parts = text.split(/\s+/), found = rows.filter((r) => (!chip || chip.keep(r)) && parts.every((p) => words(r).includes(p))).sort(compare);
    const pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(page, pages - 1);
    body.replaceChildren(...found.slice(page * size, (page + 1) * size).map((r) => el("tr", open ? { class: "open", onclick: (event) => { if (!event.target.closest("button, a")) open(r); } } : {}, columns.map((c) => el("td", { class: c.kind }, c.cell(r))))));
    if (!found.length) body.append(el("tr", {}, el("td", { colspan: columns.length, class: "quiet full" }, "Nothing matches.")));
    heads.forEach((h, i) => (order.by === i ? h.setAttribute("aria-sort", order.down ? "descending" : "ascending") : h.removeAttribute("aria-sort")));
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(chips[i] === chip)));
    count.textContent = found.length === rows.length ? num(rows.length) + " " + (rows.length === 1 ? label.slice(0, -1) : label) : num(found.length) + " of " + num(rows.length) + " " + label;
    pager.replaceChildren(...(pages > 1 ? [el("button", { type: "button", disabled: page === 0, onclick: turn(-1) }, "Previous"), el("span", {}, `page ${num(page + 1)} of ${num(pages)}`), el("button", { type: "button", disabled: page === pages - 1, onclick: turn(1) }, "Next")] : []));
  }
  host.append(el("div", { class: "bar" }, input, buttons, el("span", { class: "grow" }), count), el("div", { class: "card long" }, el("div", { class: "scroll" }, el("table", { class: stack ? "stack" : null }, el("thead", {}, el("tr", {}, heads)), body)), pager));
  show();
}
const itemCell = (row) => [el("button", { class: "link", type: "button", onclick: () => openProduct(row) }, productName(row)), el("span", { class: "sub" }, productCode(row))];

function drawProducts() {
  const note = R.header.n_charts < N ? ` Charts are kept for the ${num(R.header.n_charts)} largest of ${num(N)}.` : "";
  heading("products", "Products", (R.view.headline ? `Expected, median and upper quantile are for the ${R.view.headline}.` : "History only: no forecast was given.") + note + " Choose a product to see its chart.");
  const columns = [{ title: "Product", kind: "item", words: true, value: (r) => productName(r).toLowerCase(), cell: (r) => [...itemCell(r), ...flags(r)] }];
  const add = (title, values, kind = "n") => { if (values) columns.push({ title, kind, value: (r) => values[r], cell: (r) => num(values[r]) }); };
  columns.push({ title: "History" + (P.fan_mean ? " and forecast" : ""), kind: "opt2", cell: (r) => (r < R.header.n_charts ? spark(P.history[r], P.fan_mean && R.view.tiles.every((t) => t[1] === 1) ? P.fan_mean[r] : null) : "") });
  add("Sold, last " + R.view.recent, P.recent, "n opt2");
  add("Expected", P.mean);
  add("Median", P.middle, "n opt");
  if (P.upper) add(levelText(R.view.levels[R.view.upper]) + " quantile", P.upper, "n opt");
  if (R.orders) columns.push({ title: "Order", kind: "n", value: ordered, cell: (r) => (ordered(r) ? el("span", { class: "strong" }, num(ordered(r))) : "–") });
  const kinds = [...new Set(Object.values(P.flags).flat())];
  const chips = Object.keys(KIND_CLASS).filter((k) => kinds.includes(k)).map((k) => ({ title: k, keep: (r) => flagsOf(r).includes(k) }));
  const by = columns.findIndex((c) => c.title.startsWith("Sold"));
  browser(byId("products"), { rows: Array.from({ length: N }, (_, i) => i), columns, words: (r) => searchText[r], label: "products", sort: { by, down: true }, chips, open: openProduct, size: window.innerWidth < 560 ? 20 : 50 });
}
function drawOrders() {
  const o = R.orders;
  if (!o) return empty("orders", "Orders", "No orders were made: they need stock levels, or a policy in the settings.");
  const rows = o.row.map((_, i) => i).filter((i) => o.quantity[i] > 0);
  const rest = o.n - o.n_ordered;
  heading("orders", "Orders", `${num(o.n_ordered)} ${o.n_ordered === 1 ? "product" : "products"} to order, ${num(o.units)} units${o.money !== null ? `, ${money(o.money)} in all` : ""}${rest ? `; ${num(rest)} ${rest === 1 ? "needs" : "need"} nothing now` : ""}. The reason stands beside each.`);
  if (!rows.length) return byId("orders").append(el("p", { class: "card quiet" }, "Nothing needs to be ordered now."));
  const columns = [{ title: "Product", kind: "item", words: true, value: (i) => productName(o.row[i]).toLowerCase(), cell: (i) => itemCell(o.row[i]) },
    { title: "Quantity", kind: "n", value: (i) => o.quantity[i], cell: (i) => el("span", { class: "strong" }, num(o.quantity[i])) }];
  if (o.cost) columns.push({ title: "Value", kind: "n opt2", value: (i) => o.cost[i], cell: (i) => money(o.cost[i]) });
  if (o.arrival || o.arrival_date) columns.push({ title: "On the shelf", kind: "n opt", value: (i) => (o.arrival ? o.arrival[i] : o.arrival_date[i]), cell: (i) => arrivalText(i) });
  if (o.why) columns.push({ title: "Why", kind: "full", cell: (i) => el("span", { class: "quiet" }, o.why[i]) });
  const by = columns.findIndex((c) => c.title === "Value");
  browser(byId("orders"), { rows, columns, words: (i) => searchText[o.row[i]] + " " + (o.why ? (o.why[i] || "").toLowerCase() : ""), label: "orders", sort: { by: by < 0 ? 1 : by, down: true }, open: (i) => openProduct(o.row[i]), stack: true, size: 15 });
}
function arrivalText(i) {
  const o = R.orders;
  if (o.arrival_date && o.arrival_date[i]) return dateText(o.arrival_date[i].replace(" ", "T"));
  return o.arrival && o.arrival[i] !== null ? `in ${num(o.arrival[i])} ${R.view.unit}${o.arrival[i] === 1 ? "" : "s"}` : "–";
}

const keyOf = (row) => P.item[row] + (P.location ? "|" + P.location[row] : "");
function openProduct(row) { location.hash = "product=" + encodeURIComponent(keyOf(row)); }
function followHash() {
  const dialog = byId("panel");
  let wanted = null;
  try { wanted = location.hash.startsWith("#product=") ? decodeURIComponent(location.hash.slice(9)) : null; } catch { /* a mistyped address opens nothing */ }
  const row = wanted === null ? -1 : P.item.findIndex((_, i) => keyOf(i) === wanted);
  if (row < 0) { if (dialog.open) dialog.close(); return; }
  dialog.replaceChildren(productPanel(row));
  if (!dialog.open) dialog.showModal();
  drawWaiting();
  dialog.scrollTop = 0;
}
function closePanel() { history.replaceState(null, "", location.pathname + location.search); byId("panel").close(); }
// A line that does not change travels as one number.
const unfold = (fan, n = R.view.tiles.length) => fan.map((line) => (Array.isArray(line) ? line : Array(n).fill(line)));
function pair(name, value) { return el("div", {}, el("dt", {}, name), el("dd", {}, value)); }
function productPanel(row) {
  const box = el("div", { class: "drawer" }, el("header", {}, el("div", {}, el("h2", { id: "panel-h", tabindex: -1, autofocus: true }, productName(row)), el("p", { class: "quiet" }, productCode(row)), flags(row)), el("button", { class: "close", type: "button", "aria-label": "Close", onclick: closePanel }, "×")));
  const looks = R.attention.flatMap((g) => g.rows.filter((r) => r.row === row));
  if (looks.length) box.append(el("div", {}, looks.map((l) => el("p", { class: "why" }, l.text))));
  if (row >= R.header.n_charts) box.append(el("p", { class: "why" }, `Charts are kept for the ${num(R.header.n_charts)} largest products; this one is not among them.`));
  else {
    const series = { history: P.history[row], q: P.fan && P.middle ? unfold(P.fan[row]) : null, mean: P.fan_mean ? P.fan_mean[row] : null, past: R.past.map((p) => ({ origin: p.origin, fan: unfold(p.fan[row]) })) };
    if (series.q && series.q.some((r) => r.some((v) => v === null))) series.q = null;
    if (series.mean && series.mean.some((v) => v === null)) series.mean = null;
    series.past = series.past.filter((p) => p.fan.every((r) => r.every((v) => v !== null)));
    const long = R.view.tiles.some((t) => t[1] > 1);
    box.append(el("section", { "aria-label": "Chart" }, fanLegend(series), fanChart(series, "Demand of " + productName(row) + " by " + R.view.unit), long ? el("p", { class: "quiet" }, `Forecasts of several ${R.view.unit}s are drawn as their mean per ${R.view.unit}.`) : null));
    box.append(...[evolutionPanel(row), alignmentPanel(row), casesPanel(row)].filter(Boolean), ...panelTables(row));
  }
  const i = orderOf.get(row);
  if (i !== undefined) box.append(orderPanel(i));
  return box;
}
function evolutionPanel(row) {
  const e = R.evolution;
  if (!e) return null;
  const lines = unfold(e.lines[row], e.origins.length), came = e.came[row];
  if (lines.some((line) => line.some((v) => v === null))) return null;
  const window = dateText(e.first) + (e.span > 1 ? " to " + dateText(e.last) : "");
  return el("section", {}, el("h3", {}, "How the forecast of " + window + " evolved"), evolutionLegend(e, came), evolutionChart(e, lines, came, "Forecasts of " + productName(row) + " for " + window));
}
function alignmentPanel(row) {
  const a = R.alignment, found = a ? a.rows[row] : null;
  if (!found || !found.some((cell) => cell.length)) return null;
  const name = (lead) => R.view.unit + " " + (lead + 1), place = el("div", {}), shown = a.leads.filter((_, k) => found[k].length);
  const show = (label) => { const lead = shown.find((l) => name(l) === label); place.replaceChildren(alignmentChart(P.history[row], found[a.leads.indexOf(lead)], lead, `Past ${R.view.unit}s aligned with ${label}`)); drawWaiting(); };
  const select = choice("Horizon", shown.map(name), show);
  show(name(shown[0]));
  return el("section", {}, el("div", { class: "bar" }, el("h3", { style: "margin:0" }, `Past ${R.view.unit}s it looked at`), el("span", { class: "grow" }), select), el("p", { class: "quiet" }, "Bars: how much of the attention each got for the forecast of the chosen " + R.view.unit + "; line: what was sold."), place);
}
function casesPanel(row) {
  const c = R.cases, found = c ? c.rows[row] : null;
  if (!found) return null;
  const place = el("div", { class: "scroll" }), shown = c.horizons.filter((_, k) => found[k].length);
  const show = (name) => place.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Product"), el("th", { scope: "col", class: "n" }, "weight"), el("th", { scope: "col" }, `Its ${R.view.unit}s that weigh most: units at this product's size`))),
    el("tbody", {}, found[c.horizons.indexOf(name)].map(([who, weight, dated]) => el("tr", {}, el("th", { scope: "row" }, who), el("td", { class: "n" }, percent(weight, 1)), el("td", {}, dated.map(([date, , units]) => dateText(date) + ": " + num(units)).join(", ")))))));
  show(shown[0]);
  return el("section", {}, el("div", { class: "bar" }, el("h3", { style: "margin:0" }, "What this forecast leans on"), el("span", { class: "grow" }), choice("Horizon", shown, show)), el("p", { class: "quiet" }, "Past demand of products that were like this one then; the quantiles are those of hundreds of such cases, of which the heaviest are shown."), place);
}
function panelTables(row) {
  const view = R.view, made = [];
  if (P.span && view.spans.length && P.span[row].some((q) => q.some((v) => v !== null))) {
    made.push(el("section", {}, el("h3", {}, "Several " + R.view.unit + "s together"), el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Horizon"), el("th", { scope: "col", class: "n" }, "mean"), view.levels.map((l, q) => el("th", { scope: "col", class: "n" + (q === view.median || q === view.upper ? "" : " opt2") }, levelText(l))))),
      el("tbody", {}, view.spans.map((name, k) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "n" }, num(P.span_mean[row][k])), P.span[row][k].map((v, q) => el("td", { class: "n" + (q === view.median || q === view.upper ? " strong" : " opt2") }, num(v))))))))));
  }
  const scored = R.scores.filter((s) => s.wql[row] !== null || s.inside[row] !== null);
  if (scored.length) made.push(el("section", {}, el("h3", {}, "In the backtest"), el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Model"), el("th", { scope: "col", class: "n" }, "WQL"), el("th", { scope: "col", class: "n" }, `within ${levelText(scored[0].outer[0])} to ${levelText(scored[0].outer[1])}`))), el("tbody", {}, scored.map((s) => el("tr", {}, el("th", { scope: "row" }, s.model), el("td", { class: "n" }, num(s.wql[row], 2)), el("td", { class: "n" }, percent(s.inside[row]))))))));
  return made;
}
function orderPanel(i) {
  const o = R.orders, get = (name) => (o[name] ? o[name][i] : null);
  return el("section", {}, el("h3", {}, "Order"), el("dl", { class: "plain" }, pair("quantity", num(get("quantity"))), o.cost ? pair("value", money(get("cost"))) : null, o.position ? pair("position", num(get("position"))) : null, o.target ? pair("target", num(get("target"))) : null, get("horizon") ? pair("protects (lead+span)", get("horizon")) : null, o.critical_ratio ? pair("critical ratio", num(get("critical_ratio"), 3)) : null, o.arrival || o.arrival_date ? pair("on the shelf", arrivalText(i)) : null), get("why") ? el("p", { class: "why" }, get("why")) : null);
}

for (const part of [drawTiles, drawTotal, drawCycle, drawLook, drawOrders, drawSavings, drawProducts, drawAccuracy, drawCalibration, drawImportance, drawNavigation]) {
  try { part(); } catch (error) { recordError(part.name + ": " + error.message); }
}
drawWaiting();
byId("panel").addEventListener("close", () => { if (location.hash.startsWith("#product=")) history.replaceState(null, "", location.pathname + location.search); });
byId("panel").addEventListener("click", (event) => { if (event.target === byId("panel")) closePanel(); });
window.addEventListener("hashchange", followHash);
followHash();
if (location.hash.length > 1 && byId(location.hash.slice(1))) byId(location.hash.slice(1)).scrollIntoView({ behavior: "instant" });
document.documentElement.dataset.ready = "yes";
