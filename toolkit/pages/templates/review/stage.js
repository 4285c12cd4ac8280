// The big picture: what is shown of an image and where, its colour twin beside it, and all boxes over both.

import { at, clamp, make, shown } from "./elements.js";
import { nameOthers, paintCurrent, paintOthers } from "./boxes.js";
import { mask } from "./masks.js";
import { on, tell } from "./news.js";
import { detail, picture, pictureNow, twin } from "./pictures.js";
import { list } from "./state.js";
import { paint } from "./thermal.js";
import { look as lookWith, paletteNow, windowOf } from "./window.js";

const MOST_ZOOM = 64; // pixels of the screen for one of the image
export const view = { scale: 1, x: 0, y: 0, close: false, free: false };
export const scene = { image: -1, current: null, others: [], editing: null, fresh: false, cross: null, size: [1, 1],
  picture: null, twin: null, maskOn: true, mask: null, bare: false, detail: null, wantsTwin: true };
const panes = () => [at("pane-main"), at("pane-twin")].filter(pane => !pane.hidden);

export const toImage = (x, y) => {
  const { width, height } = room();
  return [(x - width / 2) / view.scale + view.x, (y - height / 2) / view.scale + view.y];
};
const toScreen = ([x, y, w, h]) => {
  const { width, height } = room();
  return [(x - view.x) * view.scale + width / 2, (y - view.y) * view.scale + height / 2, w * view.scale, h * view.scale];
};
let held = { width: 1, height: 1 };
const room = () => held;

// The twin stands beside or below, whichever leaves both larger.
function measure() {
  const { width: across, height: down } = at("stage").getBoundingClientRect(), [wide, high] = scene.size;
  const beside = Math.min(across / 2 / wide, down / high), below = Math.min(across / wide, down / 2 / high);
  at("stage").classList.toggle("below", !at("pane-twin").hidden && below > beside);
  const { width, height } = at("pane-main").getBoundingClientRect();
  held = { width: Math.max(1, width), height: Math.max(1, height) };
}

// --- what is shown -------------------------------------------------------------------------------------

let wish = 0;
// current: the label in hand or null; others: the rest of the image. Resolves when its pixels are painted.
export async function showLabel(image, current, others) {
  const mine = ++wish, another = image !== scene.image;
  Object.assign(scene, { image, current, others, editing: null, fresh: false, cross: null, mask: null,
    size: [list.images.width[image], list.images.height[image]] });
  if (another) Object.assign(scene, { picture: pictureNow(image), twin: null, detail: null });
  if (another || view.close) frame();
  showTwin(mine);
  if (current?.masked && scene.maskOn) mask(current.id).then(found => { if (mine === wish) { scene.mask = found; draw(); } });
  if (!scene.picture) {
    drawNow(); // the boxes of the last image go at once
    setTimeout(() => { if (mine === wish && !scene.picture) complain("Reading the picture ..."); }, 500);
    try {
      const found = await picture(image);
      if (mine !== wish) return false;
      scene.picture = found;
    } catch (error) {
      if (mine === wish) complain(error.message);
      return false;
    }
  }
  lookWith(scene.picture);
  complain("");
  drawNow();
  tell("view");
  return true;
}

function complain(text) {
  at("pane-word").textContent = text;
  at("pane-word").hidden = !text;
}

async function showTwin(mine) {
  const has = list.images.twin[scene.image] && scene.wantsTwin;
  if (at("pane-twin").hidden === has) {
    at("pane-twin").hidden = !has;
    measure();
    if (!view.free) frame();
  }
  if (!has || scene.twin) return;
  try {
    const found = await twin(scene.image);
    if (mine === wish) {
      scene.twin = found;
      at("twin-word").textContent = found.note;
      drawNow();
      document.documentElement.dataset.twin = scene.image;
    }
  } catch (error) {
    if (mine === wish) at("twin-word").textContent = error.message;
  }
  draw();
}

export function toggleTwin() {
  scene.wantsTwin = !scene.wantsTwin;
  showTwin(wish);
  draw();
  return scene.wantsTwin;
}

// --- where one looks -----------------------------------------------------------------------------------

export function frame() {
  if (held.width === 1 || !at("pane-twin").hidden) measure(); // else it is known: to ask costs a layout at each key
  const [width, height] = scene.size, box = scene.current?.kind === "region" ? scene.current.box : null;
  view.free = false;
  const whole = Math.min(held.width / width, held.height / height);
  Object.assign(view, { scale: whole, x: width / 2, y: height / 2 });
  if (view.close && box) {
    const near = Math.min(held.width / (box[2] * 3 + 16), held.height / (box[3] * 3 + 16));
    Object.assign(view, { scale: clamp(near, whole, 24), x: box[0] + box[2] / 2, y: box[1] + box[3] / 2 });
    keepInside();
  }
}

function keepInside() {
  for (const [axis, side, length] of [["x", "width", scene.size[0]], ["y", "height", scene.size[1]]]) {
    const half = held[side] / view.scale / 2;
    view[axis] = half * 2 >= length ? length / 2 : clamp(view[axis], half, length - half);
  }
}

export function zoom(factor, x = held.width / 2, y = held.height / 2) {
  const [px, py] = toImage(x, y), whole = Math.min(held.width / scene.size[0], held.height / scene.size[1]);
  const scale = clamp(view.scale * factor, whole, Math.max(whole, MOST_ZOOM));
  view.x = px - (x - held.width / 2) / scale;
  view.y = py - (y - held.height / 2) / scale;
  view.scale = scale;
  view.free = true;
  keepInside();
  draw();
}

export function pan(dx, dy) { // pixels of the screen
  view.x -= dx / view.scale;
  view.y -= dy / view.scale;
  view.free = true;
  keepInside();
  draw();
}

// --- drawing -------------------------------------------------------------------------------------------

let asked = false;
export function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; drawNow(); });
}

function fitted(canvas) {
  const ratio = Math.min(2, devicePixelRatio || 1), width = Math.round(held.width * ratio), height = Math.round(held.height * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, held.width, held.height);
  return pen;
}

function paintPixels(pen, source, place) {
  pen.imageSmoothingEnabled = place[2] / source.width < 1.5;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, ...place);
}

function drawNow() {
  if (at("stage").closest("[hidden]")) return;
  const whole = toScreen([0, 0, ...scene.size]);
  for (const pane of panes()) {
    const isTwin = pane.id === "pane-twin", [pixels, over] = pane.querySelectorAll("canvas");
    const pen = fitted(pixels), source = isTwin ? scene.twin : scene.picture;
    if (source) paintPixels(pen, surfaceOf(source), whole);
    if (!isTwin && scene.detail) paintPixels(pen, surfaceOf(scene.detail), toScreen(scene.detail.part));
    drawOver(fitted(over), whole);
  }
  wantDetail();
}

const surfaceOf = source => source.values ? paint(source, windowOf(scene.picture), paletteNow()) : source.canvas;

function drawOver(pen, whole) {
  if (scene.bare) return;
  if (scene.mask && scene.maskOn) paintPixels(pen, scene.mask, whole);
  const box = scene.editing || (scene.current?.kind === "region" ? scene.current.box : null), taken = [];
  const others = scene.others.map(label => ({ ...label, label: shown(label.label) }));
  paintOthers(pen, others, toScreen);
  if (box) {
    paintCurrent(pen, toScreen(box), scene.fresh ? "new" : shown(scene.current?.label || ""), taken,
      { fresh: scene.fresh, editing: Boolean(scene.editing), status: scene.current?.status });
  }
  nameOthers(pen, others, toScreen, taken);
  if (scene.cross) drawCross(pen, toScreen([scene.cross[0] + 0.5, scene.cross[1] + 0.5, 0, 0]));
}

function drawCross(pen, [x, y]) {
  for (const [ink, width] of [["rgb(10 12 14 / .7)", 3], ["#59d0ff", 1]]) {
    pen.strokeStyle = ink;
    pen.lineWidth = width;
    pen.strokeRect(x - Math.max(4, view.scale / 2), y - Math.max(4, view.scale / 2), Math.max(8, view.scale), Math.max(8, view.scale));
    pen.beginPath();
    for (const [across, down] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
      pen.moveTo(x + 8 * across, y + 8 * down);
      pen.lineTo(x + 22 * across, y + 22 * down);
    }
    pen.stroke();
  }
}

// --- the full pixels of a large image, where one looks closely ------------------------------------------------

let later = 0;
function wantDetail() {
  const source = scene.picture;
  clearTimeout(later);
  if (!source?.values || source.scale <= 1 || view.scale * source.scale < 1.3) return;
  const [left, top] = toImage(0, 0), [right, bottom] = toImage(held.width, held.height);
  const x = Math.max(0, Math.floor(left)), y = Math.max(0, Math.floor(top));
  const part = [x, y, Math.min(scene.size[0], Math.ceil(right)) - x, Math.min(scene.size[1], Math.ceil(bottom)) - y];
  if (scene.detail && String(scene.detail.asked) === String(part)) return;
  later = setTimeout(async () => {
    const mine = wish, found = await detail(scene.image, part).catch(() => null);
    if (mine !== wish || !found) return;
    const { left: x0, top: y0, scale, canvas } = found;
    scene.detail = { ...found, asked: part, part: [x0, y0, canvas.width * scale, canvas.height * scale] };
    draw();
  }, 180);
}

export function startStage() {
  for (const [id, word] of [["pane-main", "pane-word"], ["pane-twin", "twin-word"]]) {
    at(id).prepend(make("canvas", { "aria-hidden": "true" }), make("canvas", { "aria-hidden": "true" }));
    at(word).hidden = word === "pane-word";
  }
  new ResizeObserver(() => { measure(); if (!view.free) frame(); drawNow(); }).observe(at("stage"));
  on("view", draw);
}
