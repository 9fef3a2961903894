// The page: rows are images, columns are runs. Only what is on the screen has elements.
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
  return state.against === "run" ? (state.pinned === null ? "no run" : data.runs[state.pinned].name) : state.against;
}

const severalExperiments = () => new Set(data.runs.map((run) => run.experiment)).size > 1;

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
  const parts = [positionText(frame), ...(run.done ? [] : ["running"]), ...(severalExperiments() ? [run.experiment] : [])];
  head.from.textContent = parts.join("  ·  ");
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

// --- the controls

function options(select, values, chosen) {
  select.replaceChildren();
  for (const [value, text] of values) {
    const made = element("option", select, "", text);
    made.value = value;
    made.selected = value === chosen;
  }
}

function panesOf() {
  const made = data.panes.filter((pane) => !GIVEN.includes(pane));
  const given = GIVEN.filter((pane) => data.panes.includes(pane));
  return { made, given };
}

function fillControls() {
  const { made, given } = panesOf();
  state.pane ||= made[0] ?? data.panes[0];
  state.against ||= given.find((pane) => pane === "bicubic") ?? given[0] ?? "";
  options($("pane"), [...made, ...given].map((pane) => [pane, pane]), state.pane);
  const others = [...given, ...made.filter((pane) => pane !== state.pane)].map((pane) => [pane, pane]);
  options($("against"), [...others, ["run", "a run (P)"]], state.against);
  const names = (pick) => [...new Set(data.runs.flatMap((run) => Object.keys(pick(run))))].sort();
  const sorts = [["", "as begun"], ["name", "name"], ["preference", "preference"]];
  if (data.runs.some((run) => run.frames[0].difference.length)) {
    sorts.push(["difference", "difference to bicubic"], ["difference:image", "… of the selected image"]);
  }
  if (data.runs.some((run) => run.frames[0].psnr.length)) {
    sorts.push(["psnr", "PSNR of the tiles"], ["psnr:image", "… of the selected image"]);
  }
  sorts.push(...searched.map((key) => [key, `setting ${key}`]));
  sorts.push(...names((run) => run.metrics).filter((key) => key !== "preference").map((key) => [key, `metric ${key}`]));
  options($("sort"), sorts, state.sort);
  options($("zoom"), [["fit", "fit"], ...ZOOMS.map((zoom) => [String(zoom), `${zoom * 100} %`])], String(state.zoom));
}

function showState() {
  const where = allMarks.indexOf(state.mark);
  $("mark").max = Math.max(0, allMarks.length - 1);
  $("mark").value = where;
  const index = Math.max(0, Math.ceil(state.mark / 100) - 1);
  $("where").textContent = `stage ${index}, ${state.mark - 100 * index} %`;
  $("direction").textContent = state.descending ? "↓" : "↑";
  $("zoom").value = String(state.zoom);
  $("against").value = state.against;
  for (const button of $("modes").children) button.classList.toggle("on", button.dataset.mode === state.mode);
  $("gain-label").hidden = state.mode !== "difference";
  $("count").textContent = `${state.order.length} of ${data.runs.length} runs, ${state.rows.length} images`;
  const corner = $("corner");
  corner.replaceChildren();
  element("div", corner, "name", againstName() || "images");
  element("div", corner, "quiet", state.mode === "image" ? "hold Space to see it" : state.mode);
  const kept = picks.kept().length;
  $("save").hidden = data.served || !kept;
  $("save").textContent = `Save ${kept} choice${kept === 1 ? "" : "s"}`;
  const style = document.documentElement.style;
  style.setProperty("--tile", `${state.tile}px`);
  style.setProperty("--lines", Math.min(HEAD_LINES, searched.length));
  redraw();
}

function rearrange() {
  arrange();
  showState();
}

function setMode(mode) {
  state.mode = mode;
  clearInterval(setMode.timer);
  state.other = false;
  if (mode === "flicker") {
    setMode.timer = setInterval(() => {
      state.other = !state.other;
      redraw();
    }, 500);
  }
  showState();
}

function setZoom(zoom) {
  state.zoom = zoom;
  if (zoom === "fit") state.centre = { x: 0.5, y: 0.5 };
  showState();
}

function focusedSide() {
  const run = data.runs[state.focus.run ?? 0];
  return run ? frameOf(run).side : 1;
}

function setMark(mark) {
  state.mark = mark;
  if (/^(psnr|difference)/.test(state.sort)) arrange();
  showState();
}

function play() {
  const playing = play.timer;
  clearInterval(play.timer);
  play.timer = null;
  $("play").textContent = "▶";
  if (playing || allMarks.length < 2) return;
  $("play").textContent = "❚❚";
  let at = allMarks.indexOf(state.mark) === allMarks.length - 1 ? -1 : allMarks.indexOf(state.mark);
  play.timer = setInterval(() => {
    at = (at + 1) % allMarks.length;
    state.mark = allMarks[at];
    showState();
  }, 600);
}

function pin(index) {
  const again = state.pinned === index && state.against === "run";
  state.pinned = again ? null : index;
  state.against = again ? panesOf().given.find((pane) => pane === "bicubic") ?? panesOf().given[0] ?? "" : "run";
  showState();
}

function moveFocus(columns, rows) {
  const { order } = state;
  const column = Math.min(order.length - 1, Math.max(0, order.indexOf(state.focus.run) + columns));
  const line = Math.min(state.rows.length - 1, Math.max(0, state.rows.indexOf(state.focus.row) + rows));
  state.focus = { run: order[column] ?? null, row: state.rows[line] ?? null };
  const [scroller, { x, y }] = [$("scroller"), pitch()];
  const into = (at, size, scroll, length) => Math.min(at, Math.max(scroll, at + size - length));
  scroller.scrollLeft = into(column * x, x, scroller.scrollLeft, scroller.clientWidth);
  scroller.scrollTop = into(line * y, y, scroller.scrollTop, scroller.clientHeight);
  if (state.sort.endsWith(":image") && rows) arrange();
  showState();
}

async function better() {
  const [run, other] = [data.runs[state.focus.run], data.runs[state.pinned]];
  if (state.against !== "run" || !other || !run || run === other) {
    say("First compare against another run: select it, and press P");
    return;
  }
  await record(run, other, "first", state.focus.row);
}

async function record(first, second, outcome, row) {
  try {
    await choose(first, second, outcome, row);
    const names = outcome === "second" ? [second, first] : [first, second];
    say(outcome === "tied" ? "Recorded: equal" : `Recorded: ${names[0].name} is better than ${names[1].name}`);
    showState();
    return true;
  } catch (error) {
    say(`Not recorded: ${error.message}`);
    return false;
  }
}

// --- one image, large

function openLarge() {
  if (state.focus.run === null) return;
  $("large").showModal();
  drawLarge();
}

function drawLarge() {
  const frame = $("large").firstElementChild;
  const run = data.runs[state.focus.run];
  if (!frame.tile) {
    frame.tile = tileElement(frame);
    listenToTile(frame.tile.canvas, () => focusedSide());
  }
  const size = Math.floor(Math.min(window.innerWidth * 0.92, window.innerHeight * 0.86));
  frame.tile.style.width = `${size}px`;
  const tile = source(run, state.focus.row, state.pane);
  frame.tile.classList.toggle("absent", !tile);
  frame.tile.values.textContent = `${run.name}  ·  image ${state.focus.row + 1}  ·  ${tileText(run, state.focus.row)}`;
  frame.tile.settings.textContent = settingsOf(run, searched).map((pair) => pair.join(" ")).join("  ·  ");
  frame.tile.drawn = paint(fitted(frame.tile.canvas, size), tile, against(run, state.focus.row));
}

// --- pick the better

function openPicking() {
  clearInterval(play.timer);
  setMode("image");
  if (!$("picking").open) $("picking").showModal();
  showPair();
}

function showPair() {
  const dialog = $("picking");
  dialog.replaceChildren();
  picks.pair = nextPair();
  element("h2", dialog, "", picks.pair ? "Which one is better?" : "Two runs that show the same image are needed");
  if (!picks.pair) return;
  const sides = element("div", dialog, "sides");
  const size = Math.floor(Math.min(window.innerWidth * 0.44, window.innerHeight * 0.68));
  const views = [picks.pair.first, picks.pair.second].map((run, number) => {
    const canvas = element("canvas", sides);
    canvas.dataset.run = run.id;
    canvas.addEventListener("click", () => picked(number ? "second" : "first"));
    return { run, canvas };
  });
  picks.draw = () => {
    const waiting = views.filter(({ run, canvas }) => {
      const tile = source(run, picks.pair.row, state.pane);
      return !paint(fitted(canvas, size), tile, state.against === "run" ? null : against(run, picks.pair.row));
    });
    dialog.dataset.ready = String(!waiting.length);
  };
  picks.draw();
  const buttons = element("div", dialog, "buttons");
  for (const [text, act] of [
    ["← this one", () => picked("first")],
    ["↓ equal", () => picked("tied")],
    ["S another pair", showPair],
    ["Esc end", () => dialog.close()],
    ["this one →", () => picked("second")],
  ]) {
    element("button", buttons, "", text).addEventListener("click", act);
  }
  const note = `image ${picks.pair.row + 1}  ·  ${picks.count} chosen now  ·  hold Space to see ${state.against === "run" ? "nothing else" : againstName()}`;
  element("p", dialog, "quiet", note);
}

async function picked(outcome) {
  if (!picks.pair || picks.busy) return;
  picks.busy = true;
  const { first, second, row } = picks.pair;
  if (await record(first, second, outcome, row)) {
    picks.count += 1;
    showPair();
  }
  picks.busy = false;
}

// --- the pointer and the keys

function listenToTile(canvas, side) {
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const ratio = window.devicePixelRatio || 1;
    if (drag) {
      pan((event.clientX - drag.x) * ratio, (event.clientY - drag.y) * ratio, side(), canvas.width, canvas.height);
      drag = { x: event.clientX, y: event.clientY };
      redraw();
    }
    if (state.mode === "wipe") {
      const box = canvas.getBoundingClientRect();
      state.wipe = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      redraw();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (drag = null));
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !$("large").open) return; // the sheet scrolls
      event.preventDefault();
      setZoom(step(placed(side(), canvas.width, canvas.height).zoom, -event.deltaY));
    },
    { passive: false },
  );
}

// Elements come and go: one listener for all tiles of the sheet.
function listenToSheet() {
  const sheet = $("sheet");
  sheet.addEventListener("pointerover", (event) => {
    const canvas = event.target;
    if (!(canvas instanceof HTMLCanvasElement) || canvas.heard) return;
    canvas.heard = true;
    listenToTile(canvas, () => frameOf(data.runs[Number(canvas.parentElement.dataset.run)]).side);
  });
  const select = (event) => {
    const cell = event.target.closest?.(".tile");
    if (!cell) return;
    const row = state.focus.row;
    state.focus = { run: Number(cell.dataset.run), row: Number(cell.dataset.row) };
    if (state.sort.endsWith(":image") && row !== state.focus.row) arrange();
    showState();
  };
  sheet.addEventListener("click", select);
  sheet.addEventListener("dblclick", openLarge);
}

const KEYS = {
  ArrowLeft: () => moveFocus(-1, 0),
  ArrowRight: () => moveFocus(1, 0),
  ArrowUp: () => moveFocus(0, -1),
  ArrowDown: () => moveFocus(0, 1),
  Enter: openLarge,
  "+": () => setZoom(step(zoomOf(focusedSide()), 1)),
  "=": () => setZoom(step(zoomOf(focusedSide()), 1)),
  "-": () => setZoom(step(zoomOf(focusedSide()), -1)),
  0: () => setZoom("fit"),
  1: () => setZoom(1),
  ",": () => setMark(allMarks[Math.max(0, allMarks.indexOf(state.mark) - 1)]),
  ".": () => setMark(allMarks[Math.min(allMarks.length - 1, allMarks.indexOf(state.mark) + 1)]),
  a: play,
  i: () => setMode("image"),
  f: () => setMode(state.mode === "flicker" ? "image" : "flicker"),
  w: () => setMode(state.mode === "wipe" ? "image" : "wipe"),
  d: () => setMode(state.mode === "difference" ? "image" : "difference"),
  p: () => state.focus.run !== null && pin(state.focus.run),
  b: better,
  c: openPicking,
  "/": () => $("filter").focus(),
  "?": () => $("keys").showModal(),
};
const PICKING = { ArrowLeft: () => picked("first"), ArrowRight: () => picked("second"), ArrowDown: () => picked("tied"), s: showPair };

function hold(shown) {
  state.other = shown;
  redraw();
  if ($("picking").open) picks.draw?.();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=search], select")) {
    if (event.key === "Escape" || event.key === "Enter") $("scroller").focus();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === " ") {
    event.preventDefault();
    if (!event.repeat) hold(true);
    return;
  }
  if ($("keys").open) return;
  const act = $("picking").open ? PICKING[key] : KEYS[key];
  // a button has its own Enter
  if (!act || (key === "Enter" && event.target.matches("button, a"))) return;
  event.preventDefault();
  act();
}

function listen() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("keyup", (event) => event.key === " " && hold(false));
  $("scroller").addEventListener("scroll", redraw, { passive: true });
  new ResizeObserver(redraw).observe($("scroller"));
  tileListeners.add(() => {
    redraw();
    if ($("picking").open) picks.draw?.();
  });
  const on = (id, act, kind = "change") => $(id).addEventListener(kind, (event) => act(event.target));
  on("sort", ({ value }) => { state.sort = value; state.descending = value !== "name"; rearrange(); $("scroller").scrollLeft = 0; });
  on("direction", () => { state.descending = !state.descending; rearrange(); }, "click");
  on("filter", ({ value }) => { state.filter = value; rearrange(); }, "input");
  on("pane", ({ value }) => { state.pane = value; fillControls(); showState(); });
  on("against", ({ value }) => { state.against = value; if (value === "run") state.pinned ??= state.focus.run; showState(); });
  on("gain", ({ value }) => { state.gain = Number(value); redraw(); });
  on("zoom", ({ value }) => setZoom(value === "fit" ? value : Number(value)));
  on("tile", ({ value }) => { state.tile = Number(value); showState(); });
  on("mark", ({ value }) => setMark(allMarks[Number(value)]), "input");
  on("play", play, "click");
  on("pick", openPicking, "click");
  on("save", saveChoices, "click");
  on("help", () => $("keys").showModal(), "click");
  for (const button of $("modes").children) button.addEventListener("click", () => setMode(button.dataset.mode));
  for (const select of document.querySelectorAll("select")) select.addEventListener("change", () => select.blur());
  $("picking").addEventListener("close", () => { picks.pair = null; showState(); });
  listenToSheet();
}

// While a search runs: what is new, without losing what is being looked at.
async function follow() {
  try {
    const answer = await fetch("data.json");
    if (!answer.ok) throw new Error(await answer.text());
    const found = await answer.json();
    const chosen = (index) => data.runs[index]?.id;
    const [focus, pinned, newest] = [chosen(state.focus.run), chosen(state.pinned), state.mark === allMarks.at(-1)];
    Object.assign(data, found);
    const again = (id) => { const at = data.runs.findIndex((run) => run.id === id); return at < 0 ? null : at; };
    state.focus.run = again(focus);
    state.pinned = again(pinned);
    allMarks = marks();
    if (newest || !allMarks.includes(state.mark)) state.mark = allMarks.at(-1);
    fillControls();
    rearrange();
  } catch (error) {
    say(`The newest images are not shown: ${error.message}`);
  }
}

function start() {
  state.mark = allMarks.at(-1) ?? 0;
  $("title").textContent = data.title;
  document.title = data.title;
  if (!data.served) picks.kept().forEach(count);
  // a tile that its image fills by a whole factor
  const side = data.runs.length ? frameOf(data.runs[0]).side : 1;
  const sizes = [...$("tile").options].map((option) => Number(option.value)).filter((size) => size >= 192);
  state.tile = sizes.find((size) => size % side === 0 && size <= 256) ?? state.tile;
  $("tile").value = String(state.tile);
  fillControls();
  arrange();
  listen();
  showState();
  if (data.served) setInterval(() => { if (!$("picking").open && !document.hidden) follow(); }, 15000);
}

start();
