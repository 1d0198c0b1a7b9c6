// Sortable tables, filters by verdict, and charts of single runs. No library and no network.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
// matplotlib's names of marks: corners, first angle in degrees, and how far inner corners are
const MARKS = { s: [4, 45], D: [4, 0], "^": [3, -90], v: [3, 90], "<": [3, 180], ">": [3, 0], p: [5, -90], h: [6, -90], "*": [5, -90, 0.45], P: [4, 0, 0.45], X: [4, 45, 0.45] };
const hidden = new Set(); // verdicts that the reader switched off
const off = new Set(); // variants whose learning curves the reader switched off

// ---- tables ----
function numberIn(text) {
  const found = text.replace(/[\u202f\u00a0]/g, "").replace(/−/g, "-").match(/^[<>]? ?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)( ?[kMGT]\b)?/);
  if (!found) return null;
  return Number(found[1]) * ({ k: 1e3, M: 1e6, G: 1e9, T: 1e12 }[(found[2] || "").trim()] || 1);
}
function sortTable(table, column, descending) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [row.cells[column].textContent.trim(), row]);
  const numeric = keyed.some(([text]) => numberIn(text) !== null) && keyed.every(([text]) => numberIn(text) !== null || /^[–-]?$/.test(text));
  keyed.sort(([a], [b]) => {
    if (!numeric) return (descending ? -1 : 1) * a.localeCompare(b, "en", { numeric: true });
    const [x, y] = [numberIn(a), numberIn(b)];
    if (x === null || y === null) return (x === null) - (y === null); // missing values stay last
    return descending ? y - x : x - y;
  });
  body.append(...keyed.map(([, row]) => row));
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
}
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortTable(table, column, head.getAttribute("aria-sort") === "ascending"));
    head.append(button);
  });
}

// ---- tooltips ----
const tooltip = document.getElementById("tooltip");
function describe(element, text) {
  element.setAttribute("tabindex", "0");
  element.setAttribute("aria-label", text);
  const show = (event) => {
    const box = element.getBoundingClientRect();
    tooltip.textContent = text;
    tooltip.hidden = false;
    tooltip.style.left = Math.min((event.clientX || box.x) + 12, innerWidth - tooltip.offsetWidth - 8) + "px";
    tooltip.style.top = (event.clientY || box.y) + 14 + "px";
  };
  for (const kind of ["mouseenter", "mousemove", "focus"]) element.addEventListener(kind, show);
  for (const kind of ["mouseleave", "blur"]) element.addEventListener(kind, () => { tooltip.hidden = true; });
}
function runText(variant, run) {
  const fold = run.fold === null ? "" : `, fold ${run.fold}`;
  const seed = run.seed === null ? "" : `\nseed ${run.seed}`;
  return `${variant.name}\nrepetition ${run.repetition}${fold}${seed}\nrun ${run.run}`;
}

// ---- drawing ----
function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9 * step; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}
function range(values, least) {
  const finite = values.filter((value) => value !== null);
  if (!finite.length) return [0, 1];
  let low = finite.reduce((a, b) => Math.min(a, b)), high = finite.reduce((a, b) => Math.max(a, b));
  if (least) [low, high] = [Math.min(low, -least), Math.max(high, least)];
  const margin = 0.05 * (high - low) || 1;
  return [low - margin, high + margin];
}
function mark(parent, kind, x, y, size, attributes) {
  if (kind === "o") return element(parent, "circle", { cx: x, cy: y, r: size, ...attributes });
  const [corners, first, inner] = MARKS[kind];
  const places = inner ? 2 * corners : corners;
  const points = [...Array(places).keys()].map((at) => {
    const angle = ((first + (360 * at) / places) * Math.PI) / 180, far = 1.35 * size * (inner && at % 2 ? inner : 1);
    return `${x + far * Math.cos(angle)},${y + far * Math.sin(angle)}`;
  });
  return element(parent, "polygon", { points: points.join(" "), ...attributes });
}
const shown = () => data.variants.filter((variant) => !hidden.has(variant.verdict));

function rows(figure, variants, values, label, draw, band) {
  const width = 900, left = 250, right = 120, row = 34, top = 8;
  const height = top + row * variants.length + 46;
  const svg = element(figure, "svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const [low, high] = range(values, band);
  const across = (value) => left + ((value - low) / (high - low)) * (width - left - right);
  if (band) element(svg, "rect", { x: across(-band), y: top, width: across(band) - across(-band), height: row * variants.length, fill: "#f0e442", opacity: 0.35 });
  for (const tick of ticks(low, high, 8)) {
    element(svg, "line", { x1: across(tick), x2: across(tick), y1: top, y2: height - 40, class: tick === 0 && band ? "axis" : "grid" });
    element(svg, "text", { x: across(tick), y: height - 26, "text-anchor": "middle" }, String(tick).replace("-", "−"));
  }
  element(svg, "text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, label);
  variants.forEach((variant, index) => {
    const y = top + row * (index + 0.42);
    const name = element(svg, "text", { x: left - 8, y: y + 4, "text-anchor": "end" }, variant.name.length > 36 ? variant.name.slice(0, 35) + "…" : variant.name);
    element(name, "title", {}, variant.name);
    element(svg, "text", { x: width - right + 8, y: y + 4 }, variant.verdict);
    draw(svg, variant, across, y);
  });
}
function interval(svg, across, y, [mean, low, high], colour, text, width) {
  if (low !== null) element(svg, "line", { x1: across(low), x2: across(high), y1: y, y2: y, stroke: colour, "stroke-width": width });
  if (text) describe(mark(svg, "D", across(mean), y, 4.5, { fill: colour, stroke: "#fff" }), text);
}
const pairKey = (run) => `${run.repetition}/${run.fold}`;
function scores(figure) {
  const variants = shown();
  let above = new Map(); // places of the row above, by repetition and fold
  rows(figure, variants, variants.flatMap((v) => [...v.runs.map((r) => r.score), ...(v.score || [])]), data.score_label, (svg, variant, across, y) => {
    const places = new Map(variant.runs.map((run) => [pairKey(run), [across(run.score), y - 4]]));
    for (const [key, [x2, y2]] of places)
      if (above.has(key)) element(svg, "line", { x1: above.get(key)[0], y1: above.get(key)[1], x2, y2, stroke: "#b4b4b4", "stroke-width": 0.7 });
    above = places;
    for (const run of variant.runs)
      describe(mark(svg, variant.mark, across(run.score), y - 4, 4, { fill: variant.colour, opacity: 0.65, class: "dot" }), `${runText(variant, run)}\n${run.text}`);
    if (variant.score) interval(svg, across, y + 8, variant.score, variant.colour, `${variant.name}\nmean ${variant.score_text}`, 3);
  });
}
const differences = (figure) => {
  const compared = shown().filter((variant) => variant.difference);
  const values = compared.flatMap((v) => [...v.difference, ...v.deciding, ...v.pairs.map((pair) => pair.value)]);
  rows(figure, compared, values, data.difference_label, (svg, variant, across, y) => {
    for (const pair of variant.pairs)
      describe(mark(svg, variant.mark, across(pair.value), y - 4, 4, { fill: variant.colour, opacity: 0.65, class: "dot" }), `${runText(variant, pair)}\n${pair.text}`);
    interval(svg, across, y + 8, variant.deciding, variant.colour, "", 1);
    interval(svg, across, y + 8, variant.difference, variant.colour, `${variant.name}\n${variant.difference_text}\n${variant.verdict}`, 3);
  }, data.rope);
};
function learning(figure) {
  const drawn = shown().filter((variant) => variant.runs.some((run) => run.validation || run.loss));
  const legend = document.createElement("div");
  legend.className = "legend";
  for (const variant of drawn) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !off.has(variant.name);
    box.dataset.curve = variant.name;
    box.addEventListener("change", () => { box.checked ? off.delete(variant.name) : off.add(variant.name); draw(); });
    const line = element(label, "svg", { width: 26, height: 10 });
    element(line, "line", { x1: 0, x2: 26, y1: 5, y2: 5, stroke: variant.colour, "stroke-width": 2.5, "stroke-dasharray": variant.dash });
    label.prepend(box);
    label.append(" " + variant.name);
    legend.append(label);
  }
  figure.append(legend);
  for (const [kind, title] of [["loss", "train loss"], ["validation", data.validation_label]]) {
    const runs = drawn.filter((variant) => !off.has(variant.name)).flatMap((variant) => variant.runs.filter((run) => run[kind]).map((run) => [variant, run]));
    if (!drawn.some((variant) => variant.runs.some((run) => run[kind]))) continue;
    const width = 900, height = 260, left = 60, bottom = 42, top = 10;
    const svg = element(figure, "svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });
    const epochs = runs.flatMap(([, run]) => [run[kind][0][0], run[kind][0].at(-1)]);
    const [first, last] = epochs.length ? [Math.min(...epochs), Math.max(...epochs)] : [0, 1];
    const [low, high] = range(runs.flatMap(([, run]) => run[kind][1]));
    const x = (epoch) => left + ((epoch - first) / (last - first || 1)) * (width - left - 12);
    const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
    for (const tick of ticks(low, high, 5)) {
      element(svg, "line", { x1: left, x2: width - 12, y1: y(tick), y2: y(tick), class: "grid" });
      element(svg, "text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick).replace("-", "−"));
    }
    for (const tick of ticks(first, last, 10).filter(Number.isInteger)) element(svg, "text", { x: x(tick), y: height - bottom + 16, "text-anchor": "middle" }, tick);
    element(svg, "text", { x: width / 2, y: height - 6, "text-anchor": "middle" }, `epoch · ${title}`);
    for (const [variant, run] of runs) {
      const [at, values] = run[kind];
      const line = element(svg, "polyline", { points: at.map((epoch, index) => `${x(epoch)},${y(values[index])}`).join(" "), fill: "none", stroke: variant.colour, "stroke-width": 1.4, "stroke-dasharray": variant.dash, opacity: 0.7, class: "curve" });
      describe(line, runText(variant, run));
      if (kind === "validation" && run.best && at.includes(run.best))
        describe(mark(svg, variant.mark, x(run.best), y(values[at.indexOf(run.best)]), 3.2, { fill: variant.colour, class: "dot" }), `${runText(variant, run)}\ntested epoch ${run.best}`);
    }
  }
}
const CHARTS = { repetitions: scores, differences, learning };
function draw() {
  for (const figure of document.querySelectorAll("[data-chart]")) {
    figure.replaceChildren();
    CHARTS[figure.dataset.chart](figure);
  }
  for (const row of document.querySelectorAll("tr[data-variant]"))
    row.hidden = hidden.has(data.variants[Number(row.dataset.variant)].verdict);
}

// ---- start ----
const verdicts = [...new Set(data.variants.map((variant) => variant.verdict))];
if (verdicts.length > 1) {
  const bar = document.getElementById("filters");
  bar.hidden = false;
  for (const verdict of verdicts) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.dataset.verdict = verdict;
    box.addEventListener("change", () => { box.checked ? hidden.delete(verdict) : hidden.add(verdict); draw(); });
    label.append(box, " " + verdict);
    bar.append(label);
  }
}
draw();
document.documentElement.dataset.ready = "yes";
