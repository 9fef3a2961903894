// The start of the page, and how it follows a running search.
"use strict";

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
  if (!data.served) {
    picks.dropRecorded();
    countKept();
  }
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
