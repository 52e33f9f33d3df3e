"use strict";
// Elements, numbers and dates. Text reaches the page only as text nodes, never as markup.
const R = JSON.parse(document.getElementById("payload").textContent);
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const errors = [];
function recordError(message) { errors.push(String(message)); document.documentElement.dataset.errors = errors.join(" | "); }
window.addEventListener("error", (event) => recordError(event.message));
window.addEventListener("unhandledrejection", (event) => recordError(event.reason));

const SVG = "http://www.w3.org/2000/svg";
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

function num(value, digits) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const most = digits !== undefined ? digits : size >= 100 || Number.isInteger(value) ? 0 : size >= 1 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: most, minimumFractionDigits: digits !== undefined ? digits : 0 });
}
const money = (value) => (value === null || value === undefined ? "–" : R.currency + num(value, Math.abs(value) >= 1000 ? 0 : 2));
const percent = (share, digits = 0) => (share === null || share === undefined ? "–" : num(100 * share, digits) + "%");
function change(relative) {
  if (relative === null || relative === undefined) return "–";
  const points = 100 * (relative - 1);
  return (points > 0 ? "+" : points < 0 ? "−" : "±") + num(Math.abs(points), 1) + "%";
}
const levelText = (level) => num(100 * level, Number.isInteger(+(100 * level).toFixed(6)) ? 0 : 1) + "%";
function dateText(iso, long = true) {
  const [date, time] = iso.split("T");
  const [year, month, day] = date.split("-");
  const name = MONTHS[month - 1];
  if (R.view.unit === "month") return long ? name + " " + year : name;
  const text = +day + " " + name + (long ? " " + year : "");
  return time ? text + " " + time.slice(0, 5) : text;
}
const sumOf = (values) => values.reduce((sum, value) => sum + (value || 0), 0);

function heading(section, title, note) {
  byId(section).append(el("h2", { id: section + "-h" }, title), note ? el("p", { class: "note" }, note) : null || "");
}
function empty(section, title, sentence) {
  byId(section).append(el("h2", { id: section + "-h" }, title), el("p", { class: "card quiet" }, sentence));
}
function niceTicks(top, most = 4) {
  if (!(top > 0)) return [0, 1];
  const rough = top / most, power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let i = 0; ticks.length === 0 || ticks[ticks.length - 1] < top * 0.999; i += 1) ticks.push(+(i * step).toPrecision(12));
  return ticks;
}
// Draws again whenever the width changes, so that text in charts keeps its size.
function drawn(host, draw) {
  let width = 0;
  const again = () => {
    const now = Math.floor(host.clientWidth);
    if (now > 0 && now !== width) { width = now; draw(width); }
  };
  if (window.ResizeObserver) new ResizeObserver(again).observe(host);
  waiting.push(again);
  return host;
}
// Draws what was made since the last call, once it stands on the page and has a width.
const waiting = [];
function drawWaiting() { for (const draw of waiting.splice(0)) draw(); }
