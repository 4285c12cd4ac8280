// Window and level: which values are coldest and hottest on the screen, per image or locked for its recording.

import { clamp } from "./elements.js";
import { tell } from "./news.js";
import { PALETTES, filterThumbnails } from "./palettes.js";
import { list } from "./state.js";
import { say } from "./telling.js";
import { written } from "./thermal.js";

const locked = new Map(); // recording -> window
let own = null, image = -1, picture = null; // the window of the picture at hand; null: automatic
let palette = "white hot";

const recording = () => list.images.recording[image] ?? "";
export const paletteNow = () => palette;
export const isLocked = () => locked.has(recording());

// As the network saw it, and as the crops of the grid are; lo above hi shows hot as dark.
export function automatic(of) {
  return { lo: of.lo, hi: of.hi };
}

export function windowOf(of) {
  if (!of || !of.values) return null;
  return locked.get(list.images.recording[of.image] ?? "") || (of.image === image && own) || automatic(of);
}

export function look(at) { // another picture is shown: what was set for the last one alone is over
  if (at.image !== image) own = null;
  image = at.image;
  picture = at;
}

function set(window) {
  if (!picture?.values) return;
  const least = Math.max(picture.step, 1e-6), way = picture.lo > picture.hi ? -1 : 1;
  const half = way * Math.max(least, Math.abs(window.hi - window.lo)) / 2, middle = (window.lo + window.hi) / 2;
  const made = { lo: middle - half, hi: middle + half };
  if (isLocked()) locked.set(recording(), made);
  else own = made;
  tell("view");
}

// By shares of the automatic window, so that one movement means the same in degrees and in counts.
export function change(wider, higher) {
  if (!picture?.values) return;
  const now = windowOf(picture), unit = Math.max(Math.abs(picture.hi - picture.lo), picture.step);
  const span = Math.abs(now.hi - now.lo) * Math.exp(clamp(wider, -3, 3));
  const middle = (now.lo + now.hi) / 2 + higher * Math.max(span, unit * 0.02);
  set({ lo: middle - span / 2, hi: middle + span / 2 });
}

export function reset() {
  if (!picture?.values) return;
  if (isLocked()) locked.set(recording(), automatic(picture));
  own = null;
  tell("view");
}

// The window that lets what lies in the box fill all colours.
export function fitTo(range) {
  if (range) set({ lo: range.least, hi: range.most });
}

export function toggleLock() {
  if (!picture?.values) return say("A colour picture has no window to lock.");
  const name = recording() || "all images without a recording";
  if (isLocked()) {
    own = locked.get(recording());
    locked.delete(recording());
    say("Every image has its own window again.");
  } else {
    locked.set(recording(), { ...windowOf(picture) });
    say(`Locked for ${name}: the same colours mean the same values.`);
  }
  tell("view");
}

export function setPalette(name) {
  palette = name;
  filterThumbnails(name);
  try { localStorage.setItem("dinotool-review-palette", name); } catch { /* the next page begins with the first */ }
  tell("view");
}

export function nextPalette(step = 1) {
  setPalette(PALETTES[(PALETTES.indexOf(palette) + step + PALETTES.length) % PALETTES.length]);
  say(`Palette: ${palette}`);
}

export function recallPalette() {
  let kept = null;
  try { kept = localStorage.getItem("dinotool-review-palette"); } catch { /* none is kept */ }
  setPalette(PALETTES.includes(kept) ? kept : PALETTES[0]);
}

export function sentence() {
  const window = windowOf(picture);
  if (!window) return "";
  const how = isLocked() ? "locked for the recording" : own ? "this image" : "automatic";
  const turned = window.lo > window.hi ? ", turned: hot is at its cold end" : "";
  return `${written(picture, window.lo)} to ${written(picture, window.hi)} · ${palette}${turned} · ${how}`;
}
