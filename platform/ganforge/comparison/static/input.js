// The pointer and the keys.
"use strict";

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
  x: clearChoices,
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
  on("clear", clearChoices, "click");
  on("help", () => $("keys").showModal(), "click");
  for (const button of $("modes").children) button.addEventListener("click", () => setMode(button.dataset.mode));
  for (const select of document.querySelectorAll("select")) select.addEventListener("change", () => select.blur());
  $("picking").addEventListener("close", () => { picks.pair = null; showState(); });
  listenToSheet();
}
