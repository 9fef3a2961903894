// What stands above the sheet: one image large, and two of which the better one is picked.
"use strict";

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
  frame.tile.values.textContent = `${nameOf(run)}  ·  image ${state.focus.row + 1}  ·  ${tileText(run, state.focus.row)}`;
  frame.tile.settings.textContent = settingsOf(run, searched).map((pair) => pair.join(" ")).join("  ·  ");
  frame.tile.drawn = paint(fitted(frame.tile.canvas, size), tile, against(run, state.focus.row));
}

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
