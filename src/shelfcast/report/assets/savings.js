// What rules and forecasts are worth in money.
function intervalBar(versus, low, high) {
  const at = (v) => (100 * (Math.max(low, Math.min(high, v)) - low)) / (high - low || 1);
  if (!versus || versus[1] === null || versus[2] === null) return null;
  const from = at(versus[1]), to = at(versus[2]);
  return el("div", { class: "span", role: "img", "aria-label": change(1 + versus[1]) + " to " + change(1 + versus[2]) },
    el("b", { style: `left:${at(0)}%` }), el("i", { class: versus[2] < 0 ? "good" : versus[1] > 0 ? "bad" : "", style: `left:${from}%;width:${Math.max(to - from, 0.8)}%` }), el("u", { style: `left:${at(versus[0])}%` }));
}
const versusText = (v) => (v ? change(1 + v[0]) : "–");
const versusClass = (v) => "n " + (!v || v[2] === null ? "" : v[2] < 0 ? "good" : v[1] > 0 ? "bad" : "");
function ladderTable(model) {
  const rows = R.savings.rows.filter((r) => r.model === model), first = R.savings.models[0];
  const all = R.savings.rows.flatMap((r) => (r.versus.base ? [r.versus.base[1], r.versus.base[2]] : [])).filter((v) => v !== null);
  const low = Math.min(0, ...all), high = Math.min(Math.max(0, ...all), 1);
  const heads = ["Rule", "cost", "against the base", "", "rung before", model === first ? null : "forecast alone", "fill rate", "stock at the base's fill rate", "turns", "of the oracle's saving"];
  const head = el("tr", {}, heads.map((t, i) => (t === null ? null : el("th", { scope: "col", class: i === 0 || i === 3 ? (i === 3 ? "opt2" : null) : i > 5 ? "n opt2" : "n", "aria-label": i === 3 ? "interval" : null }, t))));
  const body = rows.map((r) => el("tr", {}, el("th", { scope: "row", class: "item" }, r.policy, model === R.savings.base[0] && r.policy === R.savings.base[1] ? el("span", { class: "sub" }, "the base") : null),
    el("td", { class: "n" }, money(r.cost)), el("td", { class: versusClass(r.versus.base) + " strong" }, versusText(r.versus.base)), el("td", { class: "opt2", style: "width:20%" }, intervalBar(r.versus.base, low, high)),
    el("td", { class: versusClass(r.versus["rung before"]) }, versusText(r.versus["rung before"])), model === first ? null : el("td", { class: versusClass(r.versus.forecast) }, versusText(r.versus.forecast)),
    el("td", { class: "n opt2" }, percent(r.fill_rate, 1)), el("td", { class: "n opt2" }, r.equal_fill === null ? "–" : change(1 + r.equal_fill)), el("td", { class: "n opt2" }, num(r.turns, 1)), el("td", { class: "n opt2" }, percent(r.captured))));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
}
function factorialTable() {
  const S = R.savings, of = (m, p) => S.rows.find((r) => r.model === m && r.policy === p);
  const best = Math.min(...S.rows.map((r) => r.cost));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Rule"), S.models.map((m) => el("th", { scope: "col", class: "n" }, m)))),
    el("tbody", {}, S.policies.map((p) => el("tr", {}, el("th", { scope: "row" }, p), S.models.map((m) => { const r = of(m, p); return el("td", { class: "n" + (r && r.cost === best ? " strong good" : "") }, r ? money(r.cost) : "–"); }))))));
}
function frontierChart(lines) {
  const host = el("div", { class: "chart" }), height = 280, COLOURS = ["--accent", "--past", "--new", "--ink", "--other", "--miss"];
  const fills = lines.flatMap((l) => l.fill), ticks = niceTicks(Math.max(...lines.flatMap((l) => l.stock))), top = ticks[ticks.length - 1];
  const low = Math.floor(20 * Math.min(...fills)) / 20, high = 1;
  const chart = drawn(host, (width) => {
    const left = 60, right = 14, up = 10, down = 40;
    const x = (v) => left + ((width - left - right) * (v - low)) / (high - low || 1), y = (v) => up + (height - up - down) * (1 - v / top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "Mean stock against fill rate: " + lines.map((l) => l.policy + " " + percent(l.fill[0]) + " to " + percent(l.fill[l.fill.length - 1])).join("; ") });
    for (const t of ticks) root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }), svg("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, num(t)));
    for (let i = 0; i <= 5; i += 1) { const v = low + ((high - low) * i) / 5; root.append(svg("text", { x: x(v), y: height - 22, "text-anchor": "middle" }, percent(v))); }
    root.append(svg("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "share of demand sold at once; upwards: units in stock"));
    lines.forEach((l, i) => root.append(svg("path", { d: path(l.fill.map((v, k) => [x(v), y(l.stock[k])])), fill: "none", stroke: `var(${COLOURS[i % COLOURS.length]})`, "stroke-width": i ? 1.6 : 2.4 }, svg("title", {}, l.policy))));
    host.replaceChildren(root);
  });
  const legend = el("ul", { class: "legend" }, lines.map((l, i) => swatch(l.policy, svg("path", { d: "M0 6H20", stroke: `var(${COLOURS[i % COLOURS.length]})`, "stroke-width": i ? 1.6 : 2.4 }))));
  return el("div", {}, legend, chart);
}
function sensitivityTable(rows, model, key, title) {
  const own = rows.filter((r) => r.model === model), columns = [...new Set(own.map((r) => r[key]))], rules = [...new Set(own.map((r) => r.policy))];
  const cell = (p, c) => own.find((r) => r.policy === p && r[key] === c);
  return el("div", { class: "scroll" }, el("table", {}, el("caption", { hidden: true }, title), el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Rule"), columns.map((c) => el("th", { scope: "col", class: "n" }, c)))),
    el("tbody", {}, rules.map((p) => el("tr", {}, el("th", { scope: "row" }, p), columns.map((c) => { const r = cell(p, c); return el("td", { class: versusClass(r && r.versus) }, versusText(r && r.versus)); }))))));
}
function drawSavings() {
  const S = R.savings;
  if (!S) return empty("savings", "Savings", "Nothing was replayed: shelfcast simulate shows what rules and forecasts are worth in money.");
  heading("savings", "Savings", `${S.reading} Every rule met the same demand, start and lead times; the base is ${S.base[1]} with ${S.base[0]}. Coloured numbers have an interval that excludes zero.`);
  const host = el("div", {}), last = S.models[S.models.length - 1];
  const show = (model) => {
    const order = (l) => (l.policy.startsWith("projected") ? 0 : 1), lines = S.frontier.filter((l) => l.model === model && (l.policy.includes("tuned") || l.policy === "projected")).sort((a, b) => order(a) - order(b));
    host.replaceChildren(el("div", { class: "card" }, el("h3", {}, "The ladder of rules"), ladderTable(model), S.acceptance.map((text) => el("p", {}, text))),
      el("div", { class: "two", style: "margin-top:18px" }, el("div", { class: "card" }, el("h3", {}, "Cost of every rule under every forecast"), factorialTable()), lines.length ? el("div", { class: "card" }, el("h3", {}, "Stock that service costs"), frontierChart(lines)) : null),
      S.sensitivity.length ? el("div", { class: "card", style: "margin-top:18px" }, el("h3", {}, "If costs or lead times are wrong: against the base under the same error"), sensitivityTable(S.sensitivity, model, "error", "Sensitivity")) : "",
      S.grid.length ? el("div", { class: "card", style: "margin-top:18px" }, el("h3", {}, "Under other terms: against the base under the same terms"), sensitivityTable(S.grid, model, "cell", "Other terms")) : "");
    drawWaiting();
  };
  const select = choice("Forecaster", S.models, show, last);
  if (select) byId("savings").append(el("div", { class: "bar" }, el("span", { class: "quiet" }, "Forecaster"), select));
  byId("savings").append(host);
  show(last);
}
