// Images and how they are drawn: exact pixels, no smoothing from 100 % on, whole positions.
"use strict";

// An image stands one below the other in the strip of its pane. Strips that were used last are
// kept; the browser drops decoded pixels by itself.
const strips = new Map();
const MOST_STRIPS = 600;
const tileListeners = new Set();

function strip(name) {
  let entry = strips.get(name);
  if (entry) {
    strips.delete(name);
    strips.set(name, entry);
    return entry;
  }
  entry = { image: new Image(), ready: false, failed: false };
  strips.set(name, entry);
  const done = (ready) => {
    entry.ready = ready;
    entry.failed = !ready;
    for (const listener of tileListeners) listener();
  };
  entry.image.src = `tiles/${name}.png`;
  entry.image.decode().then(() => done(true), () => done(false));
  if (strips.size > MOST_STRIPS) strips.delete(strips.keys().next().value);
  return entry;
}

// One tile of a run: its strip, its number in it and its side; null where the run has no such one.
function source(run, row, pane, mark = state.mark) {
  const frame = frameOf(run, mark);
  const number = frame.rows.indexOf(row);
  const name = own(frame.panes, pane);
  if (number < 0 || name === undefined) return null;
  return { strip: strip(name), number, side: frame.side, frame };
}

// What the tile of a run is compared against; null where there is nothing.
function against(run, row) {
  if (state.against === "run") return state.pinned === null ? null : source(data.runs[state.pinned], row, state.pane);
  return source(run, row, state.against);
}

// Screen pixels per image pixel, and the left top of the image: whole numbers, so that each pixel of
// the image covers whole pixels of the screen.
function placed(side, width, height) {
  const room = Math.min(width, height) / side;
  const zoom = state.zoom === "fit" ? (room >= 1 ? Math.floor(room) : room) : state.zoom;
  const size = Math.round(side * zoom);
  const at = (length, centre) =>
    size <= length
      ? Math.floor((length - size) / 2)
      : Math.round(Math.min(0, Math.max(length - size, length / 2 - centre * size)));
  return { zoom, size, left: at(width, state.centre.x), top: at(height, state.centre.y) };
}

function put(context, tile, where) {
  context.imageSmoothingEnabled = where.size < tile.side;
  context.imageSmoothingQuality = "high";
  const { side, number } = tile;
  context.drawImage(tile.strip.image, 0, number * side, side, side, where.left, where.top, where.size, where.size);
}

// Draw a tile as the mode says, or the other one. False while an image is on its way: what was there
// stays.
function paint(canvas, tile, other, mode = state.mode, swapped = state.other) {
  const needed = mode === "image" && !swapped ? [tile] : [tile, other];
  const known = needed.filter(Boolean);
  if (!tile || known.some((one) => !one.strip.ready)) return !tile || known.some((one) => one.strip.failed);
  const context = canvas.getContext("2d", { alpha: false });
  const { width, height } = canvas;
  const where = placed(tile.side, width, height);
  context.globalCompositeOperation = "source-over";
  context.fillStyle = "#1b1d21";
  context.fillRect(0, 0, width, height);
  if (swapped && other) {
    put(context, other, where);
    return true;
  }
  put(context, tile, where);
  if (mode === "wipe" && other) {
    const edge = Math.round(width * state.wipe);
    context.save();
    context.beginPath();
    context.rect(0, 0, edge, height);
    context.clip();
    put(context, other, where);
    context.restore();
    context.fillStyle = "#ffd166";
    context.fillRect(edge, 0, 1, height);
  }
  if (mode === "difference" && other) {
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    put(context, tile, where);
    context.globalCompositeOperation = "difference";
    put(context, other, where);
    // |a - b| doubled: sums of whole levels that stop at 255
    context.globalCompositeOperation = "lighter";
    for (let gain = 1; gain < state.gain; gain *= 2) context.drawImage(canvas, 0, 0);
    context.globalCompositeOperation = "source-over";
  }
  return true;
}

// A canvas of so many CSS pixels, each of its pixels one of the screen.
function fitted(canvas, width, height = width) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${w / ratio}px`;
    canvas.style.height = `${h / ratio}px`;
  }
  return canvas;
}

// The zoom that a tile of a side is shown at.
function zoomOf(side) {
  const ratio = window.devicePixelRatio || 1;
  return placed(side, Math.round(state.tile * ratio), Math.round(state.tile * ratio)).zoom;
}

function step(zoom, direction) {
  if (direction > 0) return ZOOMS.find((one) => one > zoom + 1e-6) ?? ZOOMS.at(-1);
  return ZOOMS.findLast((one) => one < zoom - 1e-6) ?? ZOOMS[0];
}

// Move all images by screen pixels.
function pan(dx, dy, side, width, height) {
  const { size } = placed(side, width, height);
  for (const [axis, by, length] of [["x", dx, width], ["y", dy, height]]) {
    const half = Math.min(0.5, length / 2 / size);
    state.centre[axis] = Math.min(1 - half, Math.max(half, state.centre[axis] - by / size));
  }
}
