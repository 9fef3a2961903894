// The sheet: rows are images, columns are runs. Only what is on the screen has elements.
"use strict";

const GAP = 8; // between tiles
const LINES = 36; // height of the text above a tile

const $ = (id) => document.getElementById(id);
const cells = new Map(); // "run:row" -> element
const heads = new Map(); // run -> element
const givens = new Map(); // row -> element
const searched = searchedSettings();
const HEAD_LINES = 6; // of settings in the head of a run
let allMarks = marks();
let asked = false;

function element(kind, parent, className = "", text = "") {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text) made.textContent = text;
  parent?.append(made);
  return made;
}

function say(text) {
  $("message").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("message").textContent = ""), 5000);
}

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    render();
  });
}

const pitch = () => ({ x: state.tile + GAP, y: state.tile + LINES + GAP });

// The numbers of the columns or rows that a part of a length shows.
function visible(scroll, length, size, count) {
  const first = Math.max(0, Math.floor(scroll / size));
  return [first, Math.min(count, Math.ceil((scroll + length) / size))];
}

// Keep the elements of these keys, make those that are missing, and remove the others.
function keep(pool, wanted, make) {
  for (const [key, found] of pool) {
    if (wanted.has(key)) continue;
    found.remove();
    pool.delete(key);
  }
  for (const key of wanted.keys()) if (!pool.has(key)) pool.set(key, make());
}

function tileElement(parent) {
  const made = element("div", parent, "tile");
  const text = element("div", made, "text");
  made.values = element("div", text, "values");
  made.settings = element("div", text, "settings");
  made.canvas = element("canvas", made);
  made.none = element("div", made, "none", "not an image of this run");
  return made;
}

function render() {
  const scroller = $("scroller");
  const { x, y } = pitch();
  $("sheet").style.width = `${state.order.length * x}px`;
  $("sheet").style.height = `${state.rows.length * y}px`;
  const [left, right] = visible(scroller.scrollLeft, scroller.clientWidth, x, state.order.length);
  const [top, bottom] = visible(scroller.scrollTop, scroller.clientHeight, y, state.rows.length);
  const columns = new Map(state.order.slice(left, right).map((run, n) => [run, left + n]));
  const rows = new Map(state.rows.slice(top, bottom).map((row, n) => [row, top + n]));
  const wanted = new Map();
  for (const [run, column] of columns) for (const [row, line] of rows) wanted.set(`${run}:${row}`, { run, row, column, line });
  keep(cells, wanted, () => tileElement($("sheet")));
  for (const [key, at] of wanted) drawCell(cells.get(key), at, x, y);
  keep(heads, columns, () => headElement());
  for (const [run, column] of columns) drawHead(heads.get(run), run, column, x);
  keep(givens, rows, () => tileElement($("given").firstElementChild));
  for (const [row, line] of rows) drawGiven(givens.get(row), row, line, y);
  $("heads").firstElementChild.style.transform = `translateX(${-scroller.scrollLeft}px)`;
  $("given").firstElementChild.style.transform = `translateY(${-scroller.scrollTop}px)`;
  document.body.dataset.ready = String([...cells.values(), ...givens.values()].every((one) => one.drawn));
  if ($("large").open) drawLarge();
}

function drawCell(cell, { run: index, row, column, line }, x, y) {
  const run = data.runs[index];
  cell.style.transform = `translate(${column * x}px, ${line * y}px)`;
  cell.style.width = `${state.tile}px`;
  cell.dataset.run = index;
  cell.dataset.row = row;
  cell.classList.toggle("focus", index === state.focus.run && row === state.focus.row);
  cell.classList.toggle("pinned", index === state.pinned && state.against === "run");
  const tile = source(run, row, state.pane);
  cell.classList.toggle("absent", !tile);
  cell.values.textContent = tileText(run, row);
  writeSettings(cell.settings, run);
  cell.drawn = paint(fitted(cell.canvas, state.tile), tile, against(run, row));
}

function writeSettings(line, run) {
  const found = settingsOf(run, searched);
  line.textContent = found.map(([key, value]) => `${abbreviated(key)} ${value}`).join("  ·  ");
  line.title = found.map((pair) => pair.join(" = ")).join("\n");
}

// A tile's own values, and where it is in the training.
function tileText(run, row) {
  const [psnr, difference] = [tileValue(run, "psnr", row), tileValue(run, "difference", row)];
  const parts = [];
  if (state.other && state.against) parts.push(againstName());
  if (psnr !== undefined) parts.push(`${psnr.toFixed(2)} dB`);
  if (difference !== undefined) parts.push(`Δ bicubic ${difference.toFixed(2)}`);
  return parts.join("  ·  ") || positionText(frameOf(run));
}

function positionText(frame) {
  const size = frame.shrunk ? `${frame.side} of ${frame.shrunk} px` : `${frame.side} px`;
  return `stage ${frame.stage}  ·  ${size}`;
}

function againstName() {
  return state.against === "run" ? (state.pinned === null ? "no run" : nameOf(data.runs[state.pinned])) : state.against;
}

// What runs of a page are of, where that differs: the experiment, else the search.
function originKey() {
  return ["experiment", "search"].find((key) => new Set(data.runs.map((run) => run[key])).size > 1);
}

function headElement() {
  const made = element("div", $("heads").firstElementChild, "head");
  made.top = element("div", made, "top");
  made.name = element("a", made.top, "name");
  made.pin = element("button", made.top, "pin", "⊙");
  made.pin.title = "Compare all others against this run (P)";
  made.pin.addEventListener("click", () => pin(Number(made.dataset.run)));
  made.from = element("div", made, "quiet");
  made.score = element("div", made, "score");
  made.taste = element("div", made, "taste");
  made.settings = element("div", made, "settings");
  return made;
}

function drawHead(head, index, column, x) {
  const run = data.runs[index];
  head.style.transform = `translateX(${column * x}px)`;
  head.style.width = `${state.tile}px`;
  head.dataset.run = index;
  head.classList.toggle("pinned", index === state.pinned && state.against === "run");
  head.name.textContent = `${column + 1}. ${run.name}`;
  head.name.title = `run ${run.id}`;
  // an address of another kind is not one of a tracking server
  if (/^https?:\/\//.test(run.page)) {
    head.name.href = run.page;
    head.name.target = "_blank";
    head.name.rel = "noopener noreferrer";
  }
  const frame = frameOf(run);
  const parts = [positionText(frame), run.done ? "" : "running", run[originKey()]];
  head.from.textContent = parts.filter(Boolean).join("  ·  ");
  const key = own(run.metrics, state.sort) === undefined ? data.metric : state.sort;
  const value = own(run.metrics, key);
  head.score.textContent = value === undefined ? run.outcome : `${key} ${shortened(value)}`;
  const { won, lost, tied, share } = run.preference;
  head.taste.textContent = won + lost + tied ? `preferred ${share.toFixed(2)}: won ${won}, lost ${lost}, tied ${tied}` : "";
  head.settings.replaceChildren();
  for (const [key, value] of settingsOf(run, searched).slice(0, HEAD_LINES)) {
    const line = element("div", head.settings, "setting");
    element("span", line, "key", key.split(".").length > 2 ? key.split(".").slice(-2).join(".") : key);
    element("span", line, "", value);
  }
  head.title = Object.entries(run.settings).map((pair) => pair.join(" = ")).join("\n");
}

// The first column: what images are compared against, of a run that shows this image.
function drawGiven(cell, row, line, y) {
  cell.style.transform = `translateY(${line * y}px)`;
  cell.style.width = `${state.tile}px`;
  const pane = state.against === "run" || !state.against ? state.pane : state.against;
  const run = state.against === "run" ? state.pinned : state.order.find((index) => frameOf(data.runs[index]).rows.includes(row));
  const tile = run === null || run === undefined ? null : source(data.runs[run], row, pane);
  cell.classList.toggle("absent", !tile);
  cell.values.textContent = `image ${row + 1}`;
  cell.settings.textContent = againstName() || pane;
  cell.drawn = paint(fitted(cell.canvas, state.tile), tile, null, "image", false);
}
