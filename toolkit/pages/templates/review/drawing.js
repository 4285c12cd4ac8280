// A box in hand: drawn or pulled by the mouse or by keys, until it is kept or put back.

import { pulled, rounded } from "./boxes.js";
import { currentClass } from "./classes.js";
import { shown } from "./elements.js";
import { moveCross, pen, readOut } from "./hands.js";
import { interrupt, interrupted } from "./keys.js";
import { tell } from "./news.js";
import { draw, scene, view } from "./stage.js";
import { say } from "./telling.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let keep = () => {}; // what is done with a box that is kept: (box, fresh, label or null)
let before = null, repeated = 0;

export function startDrawing(does) { keep = does; }

// A held key goes faster; one press moves by one pixel.
function stepOf(event) {
  repeated = event.repeat ? repeated + 1 : 0;
  return Math.min(16, 1 + Math.floor(repeated / 5));
}

function arrows(prefix, name, does) {
  return { keys: Object.keys(ARROWS).map(key => prefix + key), name, does: event => does(...ARROWS[event.key], stepOf(event)) };
}

function grow(dx, dy, step) { // the side that the arrow points to goes that way
  scene.editing = pulled(scene.editing, dx < 0 ? "l" : dx > 0 ? "r" : dy < 0 ? "t" : "b", dx * step, dy * step, scene.size);
}

function shrink(dx, dy, step) { // the opposite side follows
  scene.editing = pulled(scene.editing, dx < 0 ? "r" : dx > 0 ? "l" : dy < 0 ? "b" : "t", dx * step, dy * step, scene.size);
}

const told = does => (...facts) => {
  does(...facts);
  draw();
  const [x, y, w, h] = rounded(scene.editing);
  say(`Box at ${x}, ${y}: ${w} wide, ${h} high`);
};

export const boxKeys = () => [
  arrows("", "Move the box by a pixel, faster while held", told((dx, dy, step) => {
    scene.editing = pulled(scene.editing, "all", dx * step, dy * step, scene.size);
  })),
  arrows("Shift+", "Push that side outwards", told(grow)),
  arrows("Alt+", "Pull the other side after it", told(shrink)),
  { keys: ["Enter"], name: "Keep the box", once: true, does: () => finish(null) },
  { keys: ["Escape"], name: "Put it back", does: cancel },
];

export function begin(box, fresh) {
  if (!scene.editing) before = document.activeElement;
  Object.assign(scene, { editing: box, fresh });
  draw();
}

export function pulledTo(box) {
  scene.editing = box;
  draw();
}

export function ended() {
  pen.ready = false;
  interrupt(boxKeys());
  tell("hand");
  const name = shown(currentClass(scene.current?.label)) || "box";
  say(scene.fresh ? `New ${name}: Enter keeps it, 1-9 or / give it a class, arrows move it, Esc lets it go.`
    : "Enter keeps the box, arrows move it, Shift and arrows widen it, Alt and arrows narrow it, Esc puts it back.");
  draw();
}

export function edit() { // by keys
  if (!scene.current || scene.current.kind !== "region") return say("There is no box in hand. N draws one.");
  begin([...scene.current.box], false);
  return ended();
}

// One press: the next drag draws; Enter puts a box in the middle of what is seen, for those without a mouse.
export function drawNew() {
  pen.ready = true;
  interrupt([
    { keys: ["Enter", "n"], name: "Put a box in the middle", does: placeInMiddle },
    { keys: ["Escape"], name: "Draw nothing", does: cancel },
  ]);
  tell("hand");
  say("Drag a box, or press Enter for one in the middle that arrows move. Esc: none.");
  draw();
}

export function placeInMiddle() {
  const side = Math.max(4, Math.min(scene.size[0], scene.size[1]) / 6), [x, y] = scene.cross || [view.x, view.y];
  begin(rounded([Math.max(0, x - side / 2), Math.max(0, y - side / 2), side, side]), true);
  ended();
}

// Keeps what is in hand; label: another class than the box has. False where nothing is in hand.
export function finish(label) {
  if (!scene.editing) return false;
  const box = rounded(scene.editing), { fresh } = scene;
  stop();
  keep(box, fresh, label);
  return true;
}

export function cancel() {
  stop();
  say("Put back.");
}

export function stop() {
  Object.assign(scene, { editing: null, fresh: false, cross: null });
  pen.ready = false;
  if (interrupted()) interrupt(null);
  if (before?.isConnected) before.focus({ preventScroll: true });
  before = null;
  readOut(null);
  tell("hand");
  draw();
}

// The read-out without a mouse: arrows move a cross from pixel to pixel.
export function readByKeys() {
  if (scene.cross) return stop();
  if (scene.editing) return null;
  interrupt([
    arrows("", "Move the cross by a pixel", (dx, dy, step) => say(moveCross(dx * step, dy * step))),
    arrows("Shift+", "Move it by ten", (dx, dy) => say(moveCross(10 * dx, 10 * dy))),
    { keys: ["Escape", "k"], name: "Leave", does: stop },
    { keys: ["n"], name: "", does: () => { pen.ready = false; placeInMiddle(); } },
  ]);
  if (scene.current?.kind === "region") {
    const [x, y, w, h] = scene.current.box;
    scene.cross = [Math.floor(x + w / 2), Math.floor(y + h / 2)];
  }
  return say(moveCross(0, 0));
}
