// Palettes: 256 colours each, computed from a few stops, and the same as a filter for pictures of 8 bits.

import { at } from "./elements.js";

// Stops of red, green, blue in 0..255, evenly spaced from cold to hot.
const STOPS = {
  "white hot": [[0, 0, 0], [255, 255, 255]],
  "black hot": [[255, 255, 255], [0, 0, 0]],
  iron: [[0, 0, 10], [60, 0, 130], [140, 0, 155], [205, 40, 90], [238, 100, 10], [252, 180, 10], [255, 235, 120], [255, 255, 246]],
  ember: [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]],
  arctic: [[6, 10, 40], [20, 70, 140], [60, 150, 190], [170, 205, 205], [245, 225, 180], [240, 150, 60], [190, 50, 30], [90, 5, 20]],
};

export const PALETTES = Object.keys(STOPS);

function between(stops, share) {
  const place = share * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(place)), part = place - low;
  return [0, 1, 2].map(i => stops[low][i] + (stops[low + 1][i] - stops[low][i]) * part);
}

const made = new Map();

// 256 colours as the words of a picture: red lowest, opaque.
export function paletteOf(name) {
  if (!made.has(name)) {
    const words = new Uint32Array(256), bytes = new Uint8ClampedArray(words.buffer);
    for (let i = 0; i < 256; i++) bytes.set([...between(STOPS[name], i / 255), 255], 4 * i);
    made.set(name, words);
  }
  return made.get(name);
}

// The same for the pictures of the grid, which come in 8 bits: a filter that the page's style names.
export function filterThumbnails(name) {
  const steps = Array.from({ length: 33 }, (_, k) => between(STOPS[name], k / 32));
  const tables = [0, 1, 2].map(i => steps.map(colour => (colour[i] / 255).toFixed(4)).join(" "));
  ["R", "G", "B"].forEach((band, i) => at(`palette-${band}`).setAttribute("tableValues", tables[i]));
  document.documentElement.classList.toggle("palette", name !== "white hot");
}
