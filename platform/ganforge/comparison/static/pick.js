// Pick the better of two: without names, on the same image, left and right by chance. A choice goes
// to the server that the page came from; a page from a folder keeps it until it is saved.
"use strict";

// Browsers share the storage of all pages that are opened as files.
const KEPT = `ganforge-choices-${data.id}`;

const picks = {
  pair: null,
  count: 0,
  memory: null, // the choices, in a browser without storage: they last as long as the page
  stored() {
    try {
      const found = this.memory ?? JSON.parse(localStorage.getItem(KEPT) ?? "[]");
      return Array.isArray(found) ? found : [];
    } catch {
      return [];
    }
  },
  // Those between runs of this page that their records do not hold yet.
  kept() {
    const runs = new Set(data.runs.map((run) => run.id));
    const recorded = new Set(data.recorded);
    return this.stored().filter((one) => runs.has(one?.first) && runs.has(one?.second) && !recorded.has(one.key));
  },
  keep(choices) {
    try {
      localStorage.setItem(KEPT, JSON.stringify(choices));
      this.memory = null;
    } catch {
      this.memory = choices;
    }
  },
  // Drop the choices that the records hold.
  dropRecorded() {
    const recorded = new Set(data.recorded);
    const [found, left] = [this.stored(), this.stored().filter((one) => !recorded.has(one?.key))];
    if (left.length < found.length) this.keep(left);
  },
};

function drawn(count) {
  return crypto.getRandomValues(new Uint32Array(1))[0] % count;
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const compared = (run) => run.preference.won + run.preference.lost + run.preference.tied;

// Two of the runs that the filter leaves: one of those that were compared least, and one of the
// three that are nearest to it by preference. They show one image, chosen by chance.
function nextPair() {
  const runs = state.order.map((index) => data.runs[index]);
  if (runs.length < 2) return null;
  const least = Math.min(...runs.map(compared));
  const seldom = runs.filter((run) => compared(run) === least);
  const one = seldom[drawn(seldom.length)];
  const rows = frameOf(one).rows;
  const near = runs
    .filter((run) => run !== one && frameOf(run).rows.some((row) => rows.includes(row)))
    .map((run) => [Math.abs(run.preference.share - one.preference.share), compared(run), drawn(1 << 16), run])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
    .slice(0, 3);
  if (!near.length) return null;
  const other = near[drawn(near.length)][3];
  const shared = rows.filter((row) => frameOf(other).rows.includes(row));
  const pair = drawn(2) ? [one, other] : [other, one];
  return { first: pair[0], second: pair[1], row: shared[drawn(shared.length)] };
}

// Record that of two runs `better` ("first", "second", "tied") is better on an image.
async function choose(first, second, better, row) {
  const choice = { key: newKey(), first: first.id, second: second.id, better, image: row, mark: state.mark };
  if (data.served) {
    const answer = await fetch("choices", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(choice),
    });
    if (!answer.ok) throw new Error(await answer.text());
    const found = await answer.json();
    for (const run of data.runs) if (Object.hasOwn(found, run.id)) run.preference = found[run.id];
    return;
  }
  picks.keep([...picks.stored(), choice]);
  countKept();
}

// Add the kept choices to what the records had when the folder was made.
function countKept() {
  for (const run of data.runs) {
    run.recorded ??= run.preference;
    run.preference = { ...run.recorded };
  }
  picks.kept().forEach(count);
}

function count({ first, second, better }) {
  for (const [id, won, lost] of [[first, "first", "second"], [second, "second", "first"]]) {
    const run = data.runs.find((one) => one.id === id);
    if (!run) continue;
    const found = run.preference;
    if (better === won) found.won += 1;
    else if (better === lost) found.lost += 1;
    else found.tied += 1;
    found.share = (found.won + found.tied / 2 + 1) / (compared(run) + 2);
  }
}

// Remove the kept choices, after a question: they are nowhere else.
function clearChoices() {
  const kept = picks.kept().length;
  if (!kept) {
    say(data.served ? "Choices are recorded at once: this page keeps none" : "This page keeps no choices");
    return;
  }
  const many = `${kept} choice${kept === 1 ? "" : "s"}`;
  if (!confirm(`Remove the ${many} that this page keeps? What is recorded with the runs stays.`)) return;
  picks.keep([]);
  countKept();
  rearrange();
  say(`Removed ${many}`);
}

function saveChoices() {
  const text = JSON.stringify({ format: 1, choices: picks.kept() }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "choices.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
