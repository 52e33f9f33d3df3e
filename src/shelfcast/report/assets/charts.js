// Fan charts, lines and calibration, as inline SVG.
const path = (points) => {
  let text = "", pen = false;
  for (const [x, y] of points) {
    if (y === null || y === undefined || Number.isNaN(y)) { pen = false; continue; }
    text += (pen ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1);
    pen = true;
  }
  return text;
};
const area = (upper, lower) => path(upper.concat(lower.slice().reverse())) + "Z";

// Points of one fan line: middle of each tile for tiles of one period, both ends of it for longer ones (mean per period).
function fanPoints(origin, values, x, y, tiles = R.view.tiles) {
  const points = [];
  tiles.forEach(([lead, span], k) => {
    const value = values[k];
    if (value === null) return;
    if (span === 1) points.push([x(origin + lead + 1), y(value)]);
    else points.push([x(origin + lead + 0.5), y(value / span)], [x(origin + lead + span + 0.5), y(value / span)]);
  });
  return points;
}
function dateTicks(first, last, most) {
  const n = last - first + 1, starts = [];
  for (let i = first; i <= last; i += 1) {
    const [, month, day] = R.dates[i].split(/[-T]/), before = i ? R.dates[i - 1].split(/[-T]/)[1] : "";
    if (R.view.unit === "month" ? month === "01" || month === "07" : month !== before && (i > 0 || +day <= 3)) starts.push(i);
  }
  if (starts.length >= 2 && R.view.unit !== "hour") {
    const step = Math.ceil(starts.length / most);
    return starts.filter((_, i) => i % step === 0);
  }
  const step = Math.max(1, Math.ceil(n / most)), ticks = [];
  for (let i = first; i <= last; i += step) ticks.push(i);
  return ticks;
}
function tickText(i, first) {
  const [year, month, day] = R.dates[i].split("T")[0].split("-");
  const name = MONTHS[month - 1];
  if (R.view.unit === "month") return name + " " + year;
  if (R.view.unit === "week") return name + " " + year.slice(2);
  return +day <= 7 && R.view.unit === "day" ? name + (month === "01" || i === first ? " " + year : "") : +day + " " + name;
}

/* A fan chart. series: {history, q (Q x K) or null, mean (K) or null, past: [{origin, fan (3 x K) or null, line (K) or null}]} */
function fanChart(series, label, height = 300) {
  const host = el("div", { class: "chart" }), view = R.view, n = R.dates.length;
  const tip = el("div", { class: "tip", hidden: true, "aria-live": "polite" });
  const perPeriod = view.tiles.map(([, span]) => span);
  let at = null, move = () => {};
  function draw(width) {
    // A narrow chart shows less history; one far outlier is cut off and labelled rather than flattening the rest.
    const begin = width < 480 ? Math.max(0, Math.min(view.origin - 55, n - 8)) : 0;
    const sold = series.history.slice(begin).filter((v) => v !== null).sort((a, b) => a - b);
    const shown = [...(series.q || []), series.mean || [], ...series.past.filter((p) => p.origin >= begin).flatMap((p) => p.fan || [p.line])];
    const ahead = shown.flatMap((row) => row.map((v, k) => v / view.tiles[k][1]));
    const usual = Math.max(sold[Math.floor(0.97 * (sold.length - 1))] || 0, ...ahead.filter((v) => Number.isFinite(v)));
    const highest = sold[sold.length - 1] || 0, cut = usual > 0 && highest > 1.7 * usual;
    const ticks = niceTicks(cut ? 1.05 * usual : Math.max(highest, usual));
    const top = ticks[ticks.length - 1];
    const left = 12 + 7.2 * Math.max(...ticks.map((t) => num(t).length)), right = 12, up = 20, down = 26;
    const x = (i) => left + ((width - left - right) * (i - begin)) / Math.max(n - 1 - begin, 1);
    const y = (v) => up + (height - up - down) * (1 - Math.min(v, top) / top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", tabindex: 0, "aria-label": label + ". Use the arrow keys to read values." });
    for (const t of ticks) root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }), svg("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, num(t)));
    const marks = dateTicks(begin, n - 1, Math.max(2, Math.floor((width - left) / 95)));
    for (const i of marks) root.append(svg("text", { x: Math.min(Math.max(x(i), left + 4), width - 28), y: height - 6, "text-anchor": "middle" }, tickText(i, marks[0])), svg("line", { class: "axis", x1: x(i), x2: x(i), y1: y(0), y2: y(0) + 4 }));
    for (const past of series.past) {
      if (past.origin < begin) continue;
      if (past.fan) root.append(svg("path", { class: "pb", d: area(fanPoints(past.origin, past.fan[2], x, y), fanPoints(past.origin, past.fan[0], x, y)) }));
      root.append(svg("path", { class: "pm", d: path(fanPoints(past.origin, past.fan ? past.fan[1] : past.line, x, y)) }));
    }
    if (series.q) view.bands.forEach(([low, high], b) => root.append(svg("path", { class: "b" + b, d: area(fanPoints(view.origin, series.q[high], x, y), fanPoints(view.origin, series.q[low], x, y)) })));
    root.append(svg("path", { class: "hist", d: path(series.history.map((v, i) => [x(i), v === null || i < begin ? null : y(v)])) }));
    if (cut) series.history.forEach((v, i) => { if (i >= begin && v > 1.02 * top) root.append(svg("path", { class: "over", d: `M${x(i) - 4} ${up + 1}h8l-4 -7z` }), svg("text", { class: "over", x: x(i) + 7, y: up + 2 }, num(v))); });
    if (series.q && !series.meanFirst) root.append(svg("path", { class: "mid", d: path(fanPoints(view.origin, series.q[view.median], x, y)) }));
    if (series.mean) root.append(svg("path", { class: series.q && !series.meanFirst ? "mean" : "mid", d: path(fanPoints(view.origin, series.mean, x, y)) }));
    if (view.tiles.length && view.origin < n - 1) root.append(svg("line", { class: "now", x1: x(view.origin + 0.5), x2: x(view.origin + 0.5), y1: up - 6, y2: y(0) }), svg("text", { x: x(view.origin + 0.5) + 5, y: up - 7 }, "forecast"));
    const cursor = svg("line", { class: "cursor", y1: up, y2: y(0), visibility: "hidden" }), dot = svg("circle", { class: "dot", r: 3.5, visibility: "hidden" });
    root.append(cursor, dot);
    move = (i) => {
      at = i === null ? null : Math.min(Math.max(i, begin), n - 1);
      const on = at !== null;
      cursor.setAttribute("visibility", on ? "visible" : "hidden");
      tip.hidden = !on;
      const value = on && at <= view.last ? series.history[at] : null;
      dot.setAttribute("visibility", value !== null && value !== undefined ? "visible" : "hidden");
      if (!on) return;
      cursor.setAttribute("x1", x(at)); cursor.setAttribute("x2", x(at));
      if (value !== null && value !== undefined) { dot.setAttribute("cx", x(at)); dot.setAttribute("cy", y(value)); }
      tip.replaceChildren(...tipLines(series, at));
      const wide = tip.offsetWidth;
      tip.style.left = Math.max(0, x(at) + 14 + wide > width ? x(at) - wide - 14 : x(at) + 14) + "px";
      tip.style.top = up + "px";
    };
    const place = (event) => move(Math.round(((event.clientX - root.getBoundingClientRect().left - left) / (width - left - right)) * (n - 1 - begin)) + begin);
    root.addEventListener("pointermove", place);
    root.addEventListener("pointerdown", place);
    root.addEventListener("pointerleave", () => move(null));
    root.addEventListener("blur", () => move(null));
    root.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 7, PageUp: -7 }[event.key];
      if (event.key === "Home") move(begin);
      else if (event.key === "End") move(n - 1);
      else if (step) move(at === null ? view.last : at + step);
      else return;
      event.preventDefault();
    });
    host.replaceChildren(root, tip);
  }
  return drawn(host, draw);
}
function tipLines(series, i) {
  const view = R.view, lines = [el("strong", {}, dateText(R.dates[i]))];
  const row = (text) => lines.push(el("div", {}, text));
  if (i <= view.last) row(series.history[i] === null ? "not observed" : num(series.history[i]) + " sold");
  const tile = (origin) => view.tiles.findIndex(([lead, span]) => i > origin + lead && i <= origin + lead + span);
  const k = tile(view.origin);
  if (k >= 0) {
    const span = view.tiles[k][1], each = (v) => num(v === null ? null : v / span) + (span > 1 ? " a " + view.unit : "");
    if (series.mean && series.mean[k] !== null) row("mean " + each(series.mean[k]));
    if (series.q && !series.meanFirst) row("median " + each(series.q[view.median][k]));
    if (series.q) for (const [low, high] of view.bands) row(levelText(view.levels[low]) + " to " + levelText(view.levels[high]) + ": " + num(series.q[low][k] / span) + " to " + each(series.q[high][k]));
  }
  for (const past of series.past) {
    const j = tile(past.origin);
    if (j < 0) continue;
    const span = view.tiles[j][1];
    row("forecast then: " + num((past.fan ? past.fan[1] : past.line)[j] / span) + (past.fan ? " (" + num(past.fan[0][j] / span) + " to " + num(past.fan[2][j] / span) + ")" : ""));
  }
  return lines;
}
function swatch(text, ...shapes) { return el("li", {}, svg("svg", { viewBox: "0 0 20 12", "aria-hidden": "true" }, ...shapes), text); }
function fanLegend(series) {
  const view = R.view, line = (c) => svg("path", { class: c, d: "M0 6H20" }), box = (c) => svg("rect", { class: c, width: 20, height: 12, rx: 2 });
  const items = [swatch("sold", line("hist"))];
  if (series.q && !series.meanFirst) items.push(swatch("median", line("mid")));
  if (series.mean) items.push(swatch("mean", line(series.q && !series.meanFirst ? "mean" : "mid")));
  if (series.q) view.bands.forEach(([low, high], b) => items.push(swatch(levelText(view.levels[low]) + " to " + levelText(view.levels[high]), box("b0"), b ? box("b1") : null)));
  if (series.past.length) items.push(swatch("forecast made then (backtest)", series.past[0].fan ? box("pb") : null, line("pm")));
  return el("ul", { class: "legend" }, items);
}
function spark(values, to) {
  const kept = values.slice(-56), all = kept.concat(to || []), top = Math.max(1e-9, ...all.filter((v) => v !== null));
  const x = (i) => (110 * i) / Math.max(all.length - 1, 1), y = (v) => (v === null ? null : 24 - (22 * v) / top);
  return svg("svg", { class: "spark", viewBox: "0 0 110 26", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: path(kept.map((v, i) => [x(i), y(v)])), "vector-effect": "non-scaling-stroke" }),
    to ? svg("path", { class: "to", d: path(to.map((v, i) => [x(i + kept.length), y(v)])), "vector-effect": "non-scaling-stroke" }) : null);
}
/* Lines by lead; the chosen model is strong, the baseline dashed. */
function leadChart(lines, chosen, baseline) {
  const host = el("div", { class: "chart" }), height = 260;
  const values = lines.flatMap((line) => line.wql), leads = lines.flatMap((line) => line.lead);
  const ticks = niceTicks(Math.max(...values)), top = ticks[ticks.length - 1], far = Math.max(...leads), near = Math.min(...leads);
  return drawn(host, (width) => {
    const left = 44, right = 12, up = 10, down = 40;
    const x = (v) => left + ((width - left - right) * (v - near)) / Math.max(far - near, 1), y = (v) => up + (height - up - down) * (1 - v / top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "Error by lead: " + lines.map((l) => l.name + " from " + num(l.wql[0], 3) + " to " + num(l.wql[l.wql.length - 1], 3)).join("; ") });
    for (const t of ticks) root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }), svg("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, t === 0 ? "0" : num(t, t < 0.1 ? 3 : 2)));
    const step = Math.max(1, Math.ceil((far - near) / 7));
    for (let lead = near; lead <= far; lead += step) root.append(svg("text", { x: x(lead), y: height - 22, "text-anchor": "middle" }, lead + 1));
    root.append(svg("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, R.view.unit + "s ahead"));
    const strength = (name) => (name === chosen ? 2 : name === baseline ? 1 : 0);
    for (const line of lines.slice().sort((a, b) => strength(a.name) - strength(b.name)))
      root.append(svg("path", { d: path(line.lead.map((v, i) => [x(v), y(line.wql[i])])), fill: "none", stroke: `var(${line.name === chosen ? "--accent" : line.name === baseline ? "--ink" : "--other"})`, "stroke-width": line.name === chosen ? 2.4 : 1.5, "stroke-dasharray": line.name === baseline ? "5 4" : null }, svg("title", {}, line.name)));
    host.replaceChildren(root);
  });
}
/* Nominal level against the band from P(demand < quantile) to P(demand <= quantile). */
function calibrationChart(points) {
  const host = el("div", { class: "chart" });
  return drawn(host, (width) => {
    const size = Math.min(width, 420), left = 46, right = 14, up = 10, down = 42, x = (v) => left + (size - left - right) * v, y = (v) => up + (size - up - down) * (1 - v);
    const root = svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", style: `max-width:${size}px`, "aria-label": "Calibration: " + points.map(([l, b, m]) => `level ${l}: ${num(b, 2)} to ${num(m, 2)}`).join("; ") });
    for (const t of [0, 0.25, 0.5, 0.75, 1]) root.append(svg("line", { class: "grid", x1: x(0), x2: x(1), y1: y(t), y2: y(t) }), svg("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, percent(t)), svg("text", { x: x(t), y: size - 24, "text-anchor": "middle" }, percent(t)));
    root.append(svg("line", { class: "now", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }), svg("text", { x: (left + size) / 2, y: size - 4, "text-anchor": "middle" }, "level promised"));
    for (const [level, below, most] of points) {
      if (below === null || most === null) continue;
      const gap = Math.max(level - most, below - level, 0), good = gap <= 0.02, colour = good ? "var(--accent)" : "var(--past)";
      const high = Math.max(y(below) - y(most), 0);
      root.append(svg("rect", { x: x(level) - 4, y: y(most) - (high < 8 ? (8 - high) / 2 : 0), width: 8, height: Math.max(high, 8), rx: 4, fill: colour }, svg("title", {}, `level ${levelText(level)}: under it ${percent(below, 1)}, at most ${percent(most, 1)}`)));
    }
    host.replaceChildren(root);
  });
}
/* What each origin said of one window: band and middle from old to new, and what came. lines: (3 x M), low, middle, high. */
function evolutionLegend(e, came) {
  const line = (c) => svg("path", { class: c, d: "M0 6H20" });
  return el("ul", { class: "legend" }, swatch(levelText(e.levels[1]) + " quantile", line("mid")), swatch(levelText(e.levels[0]) + " to " + levelText(e.levels[2]), svg("rect", { class: "b0", width: 20, height: 12, rx: 2 })), came === null ? null : swatch("sold: " + num(came), line("now")));
}
function evolutionChart(e, lines, came, label) {
  const host = el("div", { class: "chart" }), height = 200, n = e.origins.length;
  const ticks = niceTicks(Math.max(...lines[2], came || 0)), top = ticks[ticks.length - 1];
  const words = e.origins.map((o, m) => `${dateText(o)}: ${num(lines[1][m])} (${num(lines[0][m])} to ${num(lines[2][m])})`).join("; ");
  return drawn(host, (width) => {
    const left = 12 + 7.2 * Math.max(...ticks.map((t) => num(t).length)), right = 22, up = 10, down = 40;
    const x = (m) => left + ((width - left - right) * m) / Math.max(n - 1, 1), y = (v) => up + (height - up - down) * (1 - v / top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${label}. ${words}` });
    for (const t of ticks) root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }), svg("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, num(t)));
    const points = (line) => line.map((v, m) => [x(m), y(v)]);
    root.append(svg("path", { class: "b0", d: area(points(lines[2]), points(lines[0])) }), svg("path", { class: "mid", d: path(points(lines[1])) }));
    points(lines[1]).forEach(([cx, cy], m) => root.append(svg("circle", { class: "dot", cx, cy, r: 3 }, svg("title", {}, `said after ${dateText(e.origins[m])}: ${num(lines[1][m])} (${num(lines[0][m])} to ${num(lines[2][m])})`))));
    if (came !== null) root.append(svg("line", { class: "now", x1: left, x2: width - right, y1: y(came), y2: y(came) }));
    const step = Math.ceil(n / Math.max(2, Math.floor((width - left) / 70)));
    e.origins.forEach((o, m) => { if ((n - 1 - m) % step === 0) root.append(svg("text", { x: x(m), y: height - 22, "text-anchor": m === n - 1 ? "end" : "middle" }, dateText(o, false))); });
    root.append(svg("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "made after"));
    host.replaceChildren(root);
  });
}
/* Weights of past periods as bars under the history that is drawn. cell: [places among the dates, weights]. */
function alignmentChart(history, [places, weights], lead, label) {
  const host = el("div", { class: "chart" }), height = 170, view = R.view, begin = Math.max(0, Math.min(...places) - 2), end = view.origin + lead + 1;
  const most = Math.max(...weights), kept = history.slice(begin, view.origin + 1), sold = Math.max(1e-9, ...kept.filter((v) => v !== null));
  const heaviest = places.map((p, i) => [weights[i], p]).sort((a, b) => b[0] - a[0]).slice(0, 3).map(([w, p]) => `${dateText(R.dates[p])} ${percent(w)}`).join(", ");
  return drawn(host, (width) => {
    const left = 12, right = 12, up = 8, down = 26, x = (i) => left + ((width - left - right) * (i - begin)) / Math.max(end - begin, 1), wide = Math.max(2, Math.min(10, (width / (end - begin)) * 0.7));
    const y = (share) => up + (height - up - down) * (1 - share);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label + ": most on " + heaviest });
    places.forEach((p, i) => root.append(svg("rect", { class: "b1", x: x(p) - wide / 2, y: y(weights[i] / most), width: wide, height: y(0) - y(weights[i] / most) }, svg("title", {}, `${dateText(R.dates[p])}: ${percent(weights[i], 1)}; sold ${num(history[p])}`))));
    root.append(svg("path", { class: "hist", d: path(kept.map((v, i) => [x(begin + i), v === null ? null : y(v / sold)])) }));
    root.append(svg("line", { class: "now", x1: x(end), x2: x(end), y1: up, y2: y(0) }), svg("line", { class: "axis", x1: left, x2: width - right, y1: y(0), y2: y(0) }));
    const marks = dateTicks(begin, view.origin, Math.max(2, Math.floor((width - left) / 95)));
    for (const i of marks) root.append(svg("text", { x: Math.min(Math.max(x(i), left + 14), width - 40), y: height - 6, "text-anchor": "middle" }, tickText(i, marks[0])));
    host.replaceChildren(root);
  });
}
