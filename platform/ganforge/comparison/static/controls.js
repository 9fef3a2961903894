// The bar: what it lists, and what its controls and their keys do.
"use strict";

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
  for (const id of ["save", "clear"]) $(id).hidden = data.served || !kept;
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
    say(outcome === "tied" ? "Recorded: equal" : `Recorded: ${nameOf(names[0])} is better than ${nameOf(names[1])}`);
    rearrange(); // the order and the filter may ask for preference
    return true;
  } catch (error) {
    say(`Not recorded: ${error.message}`);
    return false;
  }
}
