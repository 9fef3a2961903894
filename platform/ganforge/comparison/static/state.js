// What is shown: the runs in their order, the position in the training, zoom, and how two images
// are compared. Nothing here touches the page.
"use strict";

const ZOOMS = [0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16];
const GIVEN = ["high resolution", "target", "source", "bicubic", "low resolution", "real"];

const data = COMPARISON;
const state = {
  order: [], // indices of runs
  rows: [], // rows that at least one of them has
  filter: "",
  sort: "",
  descending: true,
  mark: 0,
  zoom: "fit", // or screen pixels per image pixel
  centre: { x: 0.5, y: 0.5 }, // of the view, in parts of the image: equal in all tiles
  tile: 192,
  pane: "",
  against: "", // a pane, or "run"
  mode: "image",
  gain: 8,
  wipe: 0.5,
  other: false, // whether flicker, or the space bar, shows what is compared against
  pinned: null, // index of a run
  focus: { run: null, row: null },
};

// The newest frame of a run that is not after a mark; its first one where there is none.
function frameOf(run, mark = state.mark) {
  let found = run.frames[0];
  for (const frame of run.frames) if (frame.mark <= mark) found = frame;
  return found;
}

// Every position at which any run has a frame.
function marks() {
  const found = new Set();
  for (const run of data.runs) for (const frame of run.frames) found.add(frame.mark);
  return [...found].sort((a, b) => a - b);
}

function mean(values) {
  const known = values.filter((value) => value !== undefined && value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : undefined;
}

// A value of a tile by its row, or the mean over a run's tiles.
function tileValue(run, name, row = null) {
  const frame = frameOf(run);
  const values = frame[name];
  if (!values.length) return undefined;
  return row === null ? mean(values) : values[frame.rows.indexOf(row)];
}

function asNumber(text) {
  return text !== "" && text !== null && Number.isFinite(Number(text)) ? Number(text) : text;
}

const TEXTS = ["name", "experiment", "search", "outcome", "id"];
const MEASURED = ["psnr", "difference", "psnr:image", "difference:image", "preference"];
const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined);

// The value of a run that is called so: of a tile, a metric, a setting or a name.
function valueOf(run, key) {
  if (key === "psnr" || key === "difference") return tileValue(run, key);
  if (key === "psnr:image" || key === "difference:image")
    return state.focus.row === null ? undefined : tileValue(run, key.split(":")[0], state.focus.row);
  if (key === "preference")
    return run.preference.won + run.preference.lost + run.preference.tied ? run.preference.share : undefined;
  if (TEXTS.includes(key)) return run[key];
  const metric = own(run.metrics, key);
  if (metric !== undefined) return metric;
  const setting = own(run.settings, key);
  return setting === undefined ? undefined : asNumber(setting);
}

const isNumber = (text) => text.trim() !== "" && Number.isFinite(Number(text));

function isKnown(key) {
  if (TEXTS.includes(key) || MEASURED.includes(key)) return true;
  return data.runs.some((run) => own(run.metrics, key) !== undefined || own(run.settings, key) !== undefined);
}

const SIGNS = /<=|>=|!=|=|<|>|~/y;
const unquoted = (text) => text.replaceAll('"', "");

// A term of the filter as a condition: { key, sign, text }; as { text } where it is none. Names may
// have < and = in them, so a sign is one only after the name of a value, and outside of quotes; < and
// > only before a number, or before nothing: it is being typed.
function readTerm(term) {
  let quoted = false;
  for (let at = 0; at < term.length; at += 1) {
    if (term[at] === '"') quoted = !quoted;
    SIGNS.lastIndex = at;
    const sign = quoted ? undefined : SIGNS.exec(term)?.[0];
    if (!sign) continue;
    const [key, text] = [unquoted(term.slice(0, at)), unquoted(term.slice(at + sign.length))];
    if (isKnown(key) && (!/[<>]/.test(sign) || !text || isNumber(text))) return { key, sign, text };
    at += sign.length - 1;
  }
  return { text: unquoted(term) };
}

// The terms of a filter, apart by spaces outside of quotes: trial experiment="a b" psnr>28
function readFilter(filter) {
  return (filter.match(/(?:[^\s"]|"[^"]*(?:"|$))+/g) ?? []).map(readTerm);
}

function holds(run, { key, sign, text }) {
  if (!sign) {
    const texts = [run.name, run.experiment, run.id, ...Object.entries(run.settings).map((pair) => pair.join("="))];
    return texts.some((one) => one.toLowerCase().includes(text.toLowerCase()));
  }
  const value = valueOf(run, key);
  if (!text && /[<>]/.test(sign)) return true;
  if (value === undefined) return false;
  if (sign === "~") return String(value).toLowerCase().includes(text.toLowerCase());
  const other = typeof value === "number" ? Number(text) : text;
  if (sign === "=") return value === other;
  if (sign === "!=") return value !== other;
  if (sign === "<") return value < other;
  if (sign === ">") return value > other;
  return sign === "<=" ? value <= other : value >= other;
}

// A run by its name, and by what it is of where another one on the page has the same name.
function nameOf(run) {
  const same = data.runs.filter((other) => other !== run && other.name === run.name);
  if (!same.length) return run.name;
  for (const key of ["experiment", "search"])
    if (run[key] && same.every((other) => other[key] !== run[key])) return `${run.name} of ${run[key]}`;
  return `${run.name} (${run.id.slice(0, 8)})`;
}

function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

// Runs that the filter leaves, in order; those without the value come last.
function arrange() {
  const terms = readFilter(state.filter);
  const kept = data.runs.map((_, index) => index).filter((index) => terms.every((term) => holds(data.runs[index], term)));
  const values = new Map(kept.map((index) => [index, state.sort ? valueOf(data.runs[index], state.sort) : index]));
  const sign = state.sort && state.descending ? -1 : 1;
  kept.sort((a, b) => {
    const [first, second] = [values.get(a), values.get(b)];
    if ((first === undefined) !== (second === undefined)) return first === undefined ? 1 : -1;
    return (first === undefined ? 0 : sign * compareValues(first, second)) || a - b;
  });
  state.order = kept;
  const seen = new Set();
  for (const index of kept) for (const frame of data.runs[index].frames) for (const row of frame.rows) seen.add(row);
  state.rows = [...seen].sort((a, b) => a - b);
  if (!state.order.includes(state.focus.run)) state.focus.run = state.order[0] ?? null;
  if (!state.rows.includes(state.focus.row)) state.focus.row = state.rows[0] ?? null;
}

// The settings that differ between the runs: the others say nothing about them.
function searchedSettings() {
  const keys = new Set(data.runs.flatMap((run) => Object.keys(run.settings)));
  return [...keys].filter((key) => new Set(data.runs.map((run) => own(run.settings, key))).size > 1 || data.runs.length === 1);
}

function shortened(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 0.001 && size < 1e5) return String(Number(value.toPrecision(4)));
  return Number(value.toPrecision(3)).toExponential();
}

// generator.learning_rate -> g.lr: a tile is narrow. The whole names stand in the head of its run.
function abbreviated(key) {
  const parts = key.split(".");
  const last = /^\d+$/.test(parts.at(-1)) && parts.length > 1 ? parts.splice(-2).join("") : parts.pop();
  const words = last.split("_");
  return [...parts.map((part) => part[0]), words.length > 1 ? words.map((word) => word[0]).join("") : last].join(".");
}

// The settings of a run that differ between the runs, as [name, value].
function settingsOf(run, searched) {
  return searched
    .filter((key) => own(run.settings, key) !== undefined)
    .map((key) => [key, shortened(asNumber(run.settings[key]))]);
}
