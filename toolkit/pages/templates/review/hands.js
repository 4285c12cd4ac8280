// What the mouse does on the big picture: pan, zoom, pull a box, draw one, window and level, and the read-out.

import { at, clamp } from "./elements.js";
import { CURSORS, between, grip, nearOf, pulled, smallestAt } from "./boxes.js";
import { on } from "./news.js";
import { pan, draw, scene, toImage, view, zoom } from "./stage.js";
import { valueAt, written } from "./thermal.js";
import { change, reset } from "./window.js";

const STEP = 4; // pixels that the mouse may tremble in a click
let drag = null, windowKey = false, hooks = {}, last = null; // last: where the pointer is, pixels of the screen
export const pen = { ready: false }; // the next drag draws a box

// hooks: {choose(label), begin(box, fresh), pulledTo(box), ended(), canEdit()}
export function startHands(given) {
  hooks = given;
  const stage = at("stage");
  stage.addEventListener("pointerdown", down);
  stage.addEventListener("pointermove", moved);
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", () => { drag = null; });
  stage.addEventListener("pointerleave", () => { if (!drag) { last = null; readOut(null); } });
  on("pixels", () => readOut(scene.cross || (last && toImage(...last)))); // another value lies under it now
  stage.addEventListener("wheel", wheel, { passive: false });
  stage.addEventListener("dblclick", () => reset());
  stage.addEventListener("contextmenu", event => event.preventDefault());
  document.addEventListener("keydown", event => {
    if (event.code === "KeyW" && !event.target.matches("input, select")) windowKey = true;
  });
  document.addEventListener("keyup", event => { if (event.code === "KeyW") windowKey = false; });
  addEventListener("blur", () => { windowKey = false; });
}

function place(event) {
  const pane = (event.target.closest(".pane") || at("pane-main")).getBoundingClientRect();
  const held = drag?.pane || pane;
  return [event.clientX - held.left, event.clientY - held.top, pane];
}

const editable = () => hooks.canEdit() && (scene.editing || (scene.current?.kind === "region" ? scene.current.box : null));
const sidesAt = (px, py) => {
  const box = editable();
  if (!box || pen.ready) return "";
  const sides = grip(box, px, py, nearOf(view.scale));
  return sides === "all" && !scene.editing ? "" : sides; // inside an untouched box one pans or chooses
};

// What a press begins: the right button the window, the middle one a pan, the left one what lies there.
function use(event, px, py) {
  if (event.button === 2 || (event.button === 0 && event.shiftKey && !pen.ready)) return "window";
  if (event.button === 1) return "pan";
  return pen.ready ? "draw" : sidesAt(px, py) || "pan";
}

function down(event) {
  if (event.target.closest("button")) return;
  const [x, y, pane] = place(event), [px, py] = toImage(x, y);
  at("stage").focus({ preventScroll: true });
  at("stage").setPointerCapture(event.pointerId);
  const what = use(event, px, py);
  drag = { what, x, y, px, py, lastX: x, lastY: y, pane, box: editable(), far: false };
  if (event.button === 1) event.preventDefault();
}

function moved(event) {
  const [x, y] = place(event), [px, py] = toImage(x, y);
  last = [x, y];
  if (windowKey && !drag) change(event.movementX / 200, event.movementY / 300);
  if (!drag) return hover(px, py);
  drag.far ||= Math.hypot(x - drag.x, y - drag.y) >= STEP;
  if (drag.far) act(x, y, px, py);
  Object.assign(drag, { lastX: x, lastY: y });
  return readOut([px, py]);
}

function act(x, y, px, py) {
  const dx = x - drag.lastX, dy = y - drag.lastY;
  if (drag.what === "window") change(dx / 200, dy / 300);
  else if (drag.what === "pan") pan(dx, dy);
  else if (drag.what === "draw") hooks.begin(between(drag.px, drag.py, px, py, scene.size), true);
  else {
    if (!scene.editing) hooks.begin(drag.box, false);
    hooks.pulledTo(pulled(drag.box, drag.what, px - drag.px, py - drag.py, scene.size));
  }
}

function up(event) {
  if (!drag) return;
  const { far, what, px, py } = drag;
  drag = null;
  if (far && what !== "window" && what !== "pan") hooks.ended();
  if (far || event.button !== 0 || pen.ready || scene.editing) return;
  const hit = smallestAt(scene.others, px, py);
  if (hit) hooks.choose(hit);
}

function wheel(event) {
  event.preventDefault();
  const [x, y] = place(event);
  zoom(Math.exp(clamp(-event.deltaY, -200, 200) / 400), x, y);
}

function hover(px, py) {
  const over = !sidesAt(px, py) && smallestAt(scene.others, px, py);
  const cursor = pen.ready ? "crosshair" : CURSORS[sidesAt(px, py)] || (over ? "pointer" : "");
  if (at("stage").style.cursor !== cursor) at("stage").style.cursor = cursor;
  readOut([px, py]);
}

// The value under the cursor, or under the cross that keys move.
export function readOut(point) {
  const out = at("readout");
  const inside = point && point[0] >= 0 && point[1] >= 0 && point[0] < scene.size[0] && point[1] < scene.size[1];
  if (!inside || !scene.picture) {
    out.textContent = "";
    return "";
  }
  const [x, y] = point.map(Math.floor);
  out.textContent = `${valueText(x, y)} · x ${x}, y ${y}`;
  return out.textContent;
}

function valueText(x, y) {
  const source = scene.picture, part = scene.detail;
  if (!source.values) return colourAt(source, x, y);
  const close = part && x >= part.part[0] && y >= part.part[1] && x < part.part[0] + part.part[2] && y < part.part[1] + part.part[3];
  return written(source, close ? valueAt(part, x - part.part[0], y - part.part[1]) : valueAt(source, x + 0.5, y + 0.5));
}

function colourAt(source, x, y) {
  const [column, row] = [x, y].map(value => Math.floor(value / source.scale));
  const [red, green, blue] = source.canvas.getContext("2d").getImageData(column, row, 1, 1).data;
  return `red ${red}, green ${green}, blue ${blue}`;
}

export function moveCross(dx, dy) {
  const [x, y] = scene.cross || [Math.floor(scene.size[0] / 2), Math.floor(scene.size[1] / 2)];
  scene.cross = [clamp(x + dx, 0, scene.size[0] - 1), clamp(y + dy, 0, scene.size[1] - 1)];
  draw();
  return readOut(scene.cross);
}
