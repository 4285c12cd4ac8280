// Boxes as x, y, width, height in pixels of the image: which is hit, what a pull does to one, how they are painted.

import { clamp } from "./elements.js";
import { OPEN, REJECTED } from "./state.js";

const NEAR = 7; // pixels of the screen

// Which sides the pointer holds: "", "l", "rt"..., or "all" inside; near is in pixels of the image.
export function grip([x, y, w, h], px, py, near) {
  if (px < x - near || py < y - near || px > x + w + near || py > y + h + near) return "";
  const inner = Math.min(near, w / 3), low = Math.min(near, h / 3);
  const across = px <= x + inner ? "l" : px >= x + w - inner ? "r" : "";
  const down = py <= y + low ? "t" : py >= y + h - low ? "b" : "";
  return across + down || "all";
}

export const nearOf = scale => NEAR / scale;

export const CURSORS = { l: "ew-resize", r: "ew-resize", t: "ns-resize", b: "ns-resize", lt: "nwse-resize", rb: "nwse-resize",
  rt: "nesw-resize", lb: "nesw-resize", all: "move", "": "" };

// The box with the held sides moved; it stays in the image and at least a pixel wide and high.
export function pulled([x, y, w, h], sides, dx, dy, [width, height]) {
  if (sides === "all") return [clamp(x + dx, 0, width - w), clamp(y + dy, 0, height - h), w, h];
  let left = x, top = y, right = x + w, bottom = y + h;
  if (sides.includes("l")) left = clamp(left + dx, 0, right - 1);
  if (sides.includes("r")) right = clamp(right + dx, left + 1, width);
  if (sides.includes("t")) top = clamp(top + dy, 0, bottom - 1);
  if (sides.includes("b")) bottom = clamp(bottom + dy, top + 1, height);
  return [left, top, right - left, bottom - top];
}

export function between(ax, ay, bx, by, [width, height]) {
  const [left, right] = [ax, bx].map(x => clamp(x, 0, width)).sort((one, other) => one - other);
  const [top, bottom] = [ay, by].map(y => clamp(y, 0, height)).sort((one, other) => one - other);
  return [left, top, right - left, bottom - top];
}

export const rounded = box => {
  const [x, y] = [Math.round(box[0]), Math.round(box[1])];
  return [x, y, Math.max(1, Math.round(box[0] + box[2]) - x), Math.max(1, Math.round(box[1] + box[3]) - y)];
};

// The smallest box under the pointer: a large one must not hide those inside it.
export function smallestAt(labels, px, py) {
  let best = null;
  for (const label of labels) {
    const [x, y, w, h] = label.box;
    if (px < x || py < y || px > x + w || py > y + h) continue;
    if (!best || w * h < best.box[2] * best.box[3]) best = label;
  }
  return best;
}

const SHADE = "rgb(10 12 14 / .7)";
const INKS = { open: "#ffffff", stands: "#5fe3a1", rejected: "#ff7a66", now: "#ffb000", fresh: "#59d0ff" };
const FEW = 60; // boxes up to which each carries its name
const SMALL = 14; // pixels of the screen below which a name would hide more than it says
const MANY = 400; // boxes from which on they are thin and pale
const inkOf = label => label.status === OPEN ? "open" : label.status === REJECTED ? "rejected" : "stands";

// All boxes but the one in hand: one path for each colour, so that thousands cost no more than a few.
export function paintOthers(pen, labels, at) {
  for (const ink of ["open", "stands", "rejected"]) {
    const own = labels.filter(label => inkOf(label) === ink);
    if (!own.length) continue;
    pen.beginPath();
    for (const { box } of own) pen.rect(...at(box));
    if (ink === "rejected") pen.setLineDash([4, 4]);
    pen.globalAlpha = own.length > MANY ? 0.35 : 1; // the picture under them is what matters
    stroke(pen, INKS[ink], ink === "open" ? 1 : 1.5, own.length > MANY ? 0 : 2);
    pen.globalAlpha = 1;
    pen.setLineDash([]);
  }
}

// Their names, each where no other name is yet; taken: places of names, by which this is known.
export function nameOthers(pen, labels, at, taken) {
  if (labels.length > FEW) return;
  for (const label of labels.filter(each => each.label && each.status !== REJECTED)) {
    const place = at(label.box);
    if (Math.max(place[2], place[3]) >= SMALL) name(pen, label.label, place, INKS[inkOf(label)], 11, taken);
  }
}

function stroke(pen, ink, width, shade) {
  if (shade) {
    pen.strokeStyle = SHADE;
    pen.lineWidth = width + shade;
    pen.stroke();
  }
  pen.strokeStyle = ink;
  pen.lineWidth = width;
  pen.stroke();
}

function name(pen, text, [left, y, , h], ink, size, taken) {
  pen.font = `600 ${size}px system-ui, "Noto Sans", "DejaVu Sans", sans-serif`;
  const wide = pen.measureText(text).width + 8, tall = size + 6, top = y - tall - 2 < 0 ? y + h + 3 : y - tall - 2;
  const x = Math.max(1, Math.min(left, pen.canvas.clientWidth - wide));
  const meets = other => x < other.x + other.wide && other.x < x + wide && top < other.top + other.tall && other.top < top + tall;
  if (taken.some(meets)) return;
  taken.push({ x, top, wide, tall });
  pen.fillStyle = SHADE;
  pen.fillRect(x - 1, top, wide, tall);
  pen.fillStyle = ink;
  pen.fillText(text, x + 3, top + size + 1);
}

// The box in hand, with the middles and corners that can be pulled while it is edited.
export function paintCurrent(pen, place, text, taken, { fresh = false, editing = false, status = OPEN } = {}) {
  const ink = fresh ? INKS.fresh : status === OPEN ? INKS.now : INKS[inkOf({ status })], [x, y, w, h] = place;
  pen.beginPath();
  pen.rect(x, y, w, h);
  if (status === REJECTED && !editing) pen.setLineDash([7, 5]);
  stroke(pen, ink, 2.5, 3);
  pen.setLineDash([]);
  if (text) name(pen, text, place, ink, 13, taken);
  if (!editing) return;
  for (const px of [x, x + w / 2, x + w]) for (const py of [y, y + h / 2, y + h]) {
    if (px === x + w / 2 && py === y + h / 2) continue;
    pen.fillStyle = SHADE;
    pen.fillRect(px - 4.5, py - 4.5, 9, 9);
    pen.fillStyle = ink;
    pen.fillRect(px - 3, py - 3, 6, 6);
  }
}
