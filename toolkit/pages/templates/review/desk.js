// One label at a time: the list in hand, where one is in it, the picture that goes with it. Single and audit.

import { at, clamp, count, shown } from "./elements.js";
import { readByKeys, stop } from "./drawing.js";
import { List } from "./list.js";
import { on, tell } from "./news.js";
import { expect } from "./pictures.js";
import { waitingActs } from "./queue.js";
import { OPEN, REJECTED, STANDS, imageOf, isDrawn, list, look, onImage, rows } from "./state.js";
import { draw, frame, scene, showLabel, toggleTwin, view, zoom, pan } from "./stage.js";
import { say } from "./telling.js";
import { valuesIn } from "./thermal.js";
import { change, fitTo, reset, toggleLock } from "./window.js";

const AHEAD = 6; // pictures that are asked for early
const OTHERS = ["classed", "all", "none"];
const OTHER_WORDS = { classed: "Boxes with a class", all: "All boxes of the image", none: "Only the box in hand" };
export const desk = { places: [], index: -1, place: -1, image: -1, bare: false, others: "classed", open: false, see: look };
let lines = null;

export function startDesk() {
  lines = new List(at("list"), index => go(index));
  on("labels", changed => {
    const here = changed.some(each => imageOf(each.place) === desk.image);
    if (desk.open) soon(here);
  });
}

// Once before the next picture of the screen, however much changed: an act is followed by its answer and by news.
let asked = false, also = false;
function soon(here) {
  also ||= here;
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    lines.draw();
    if (also) refresh();
    asked = also = false;
  });
}

// see: what a label is taken for, where it is not what people said last
export function lay(places, index, { bare = false, see = look } = {}) {
  Object.assign(desk, { places, bare, see, open: true });
  at("list-empty").hidden = places.length > 0;
  lines.show(places, -1, { bare, see });
  if (places.length) return go(clamp(index, 0, places.length - 1));
  return showImage(Math.max(0, desk.image), -1);
}

export function go(index) {
  if (!desk.places.length) return null;
  desk.index = clamp(index, 0, desk.places.length - 1);
  const place = desk.places[desk.index];
  lines.go(desk.index);
  return showImage(imageOf(place), place);
}

// A label of any place, in the list or not.
export function goTo(place) {
  const index = desk.places.indexOf(place);
  return index >= 0 ? go(index) : showImage(imageOf(place), place);
}

export function goImage(step) {
  const image = clamp(desk.image + step, 0, list.images.name.length - 1);
  const index = desk.places.findIndex(place => imageOf(place) === image);
  return index >= 0 ? go(index) : showImage(image, -1);
}

export async function showImage(image, place) {
  if (!list.images.name.length) return;
  if (scene.editing || scene.cross) stop();
  Object.assign(desk, { image, place });
  const current = place >= 0 ? desk.see(place) : null;
  tell("desk");
  const done = await showLabel(image, current, others());
  if (!done || desk.place !== place || desk.image !== image) return;
  document.documentElement.dataset.shown = place >= 0 ? current.id : `image ${image}`;
  performance.mark("shown");
  tell("pixels");
  ahead();
}

function others() {
  if (desk.others === "none" || desk.bare) return [];
  const labels = onImage(desk.image).filter(place => place !== desk.place).map(look).filter(label => label.kind === "region");
  const seen = desk.others === "all" ? label => !(isDrawn(label.place) && label.status === REJECTED)
    : label => label.status !== REJECTED && label.label;
  return [...labels.filter(seen), ...unwritten()];
}

// Boxes that were drawn and wait to be written: they have no name yet by which they could be taken in hand.
function unwritten() {
  const drawn = waitingActs().flatMap(act => act.changes || []).filter(each => each.do === "drawn" && each.image === desk.image);
  return drawn.map(({ box, label }) => ({ place: -1, box, label, kind: "region", status: STANDS }));
}

// The same image and place after something changed: no other picture, no other view.
export function refresh() {
  if (scene.image !== desk.image) return;
  Object.assign(scene, { current: desk.place >= 0 ? desk.see(desk.place) : null, others: others() });
  draw();
  tell("desk");
}

export function nextOpen() {
  const { places, index } = desk, find = from => places.findIndex((place, i) => i >= from && desk.see(place).status === OPEN);
  let to = find(index + 1);
  if (to < 0) to = find(0);
  if (to >= 0) return go(to);
  say("Nothing is open in this list any more.");
  return refresh();
}

function ahead() {
  const wanted = new Set();
  for (let i = desk.index + 1; i < desk.places.length && wanted.size < AHEAD && i < desk.index + 400; i++) {
    const image = imageOf(desk.places[i]);
    if (image !== desk.image) wanted.add(image);
  }
  expect(wanted);
}

function cycleOthers() {
  desk.others = OTHERS[(OTHERS.indexOf(desk.others) + 1) % OTHERS.length];
  say(OTHER_WORDS[desk.others]);
  refresh();
}

function closeUp() {
  view.close = !view.close;
  frame();
  draw();
  say(view.close ? "Close to the box" : "The whole image");
}

const panBy = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

export const walkKeys = () => [
  { keys: ["ArrowRight", "ArrowDown"], name: "Next", does: () => go(desk.index + 1) },
  { keys: ["ArrowLeft", "ArrowUp"], name: "Before", does: () => go(desk.index - 1) },
  { keys: ["Home"], name: "First", does: () => go(0) },
  { keys: ["End"], name: "Last", does: () => go(desk.places.length - 1) },
];

const LOOK = "The picture";
export const lookKeys = () => [
  { keys: ["z"], name: "Close to the box, or the whole image", does: closeUp },
  { keys: ["+", "="], name: "Zoom in (or the wheel)", does: () => zoom(1.4) },
  { keys: ["-"], name: "Zoom out", does: () => zoom(1 / 1.4) },
  { keys: Object.keys(panBy).map(key => `Shift+${key}`), name: "Move the picture", does: event => pan(...panBy[event.key]) },
  { keys: ["[", "code:BracketLeft"], name: "Level down: brighter", does: () => change(0, -0.04) },
  { keys: ["]", "code:BracketRight"], name: "Level up: darker (or right button and drag)", does: () => change(0, 0.04) },
  { keys: ["{", "Shift+code:BracketLeft"], name: "Narrower window: more contrast", does: () => change(-0.12, 0) },
  { keys: ["}", "Shift+code:BracketRight"], name: "Wider window (or hold W and move)", does: () => change(0.12, 0) },
  { keys: ["0"], name: "Automatic window (or double click)", does: reset },
  { keys: ["v"], name: "Window from the values in the box", does: windowFromBox },
  { keys: ["l"], name: "Lock the window for the recording", does: toggleLock },
  { keys: ["k"], name: "Read values by keys: a cross that arrows move", does: readByKeys },
  { keys: ["m"], name: "Mask on or off", does: () => { scene.maskOn = !scene.maskOn; showImage(desk.image, desk.place); } },
  { keys: ["o"], name: "Other boxes: with a class, all, none", does: cycleOthers },
  { keys: ["t"], name: "Colour twin on or off", does: twin },
  { keys: [" "], name: "Hide all boxes while it is held", does: hideBoxes },
].map(entry => ({ ...entry, group: LOOK, during: true }));

function hideBoxes() {
  scene.bare = true;
  draw();
  addEventListener("keyup", () => { scene.bare = false; draw(); }, { once: true });
}

function twin() {
  if (!list.images.twin[desk.image]) return say("No colour twin is known for this image. `dinotool inspect` finds them.");
  return say(toggleTwin() ? "With its colour twin" : "Without its colour twin");
}

function windowFromBox() {
  if (!scene.picture?.values) return say("A colour picture has no window.");
  return fitTo(valuesIn(scene.picture, scene.current?.kind === "region" ? scene.current.box : [0, 0, ...scene.size]));
}

export function place() { // where one is, in words
  const name = shown(list.images.name[desk.image] ?? "");
  return desk.place < 0 ? name : `${count(desk.index + 1)} of ${count(desk.places.length)} · ${name}`;
}

export const isProposal = () => desk.place >= 0 && desk.place < rows.id.length;
