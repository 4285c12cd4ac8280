// 16-bit values to colours: one table with an entry for each of 65,536 values, so that a window costs one pass.

import { paletteOf } from "./palettes.js";

export const NOTHING = 65535; // no value is there

// The colours of values offset + step q under a window: lo and below coldest, hi and above hottest.
export function tableOf({ offset, step }, { lo, hi }, palette) {
  const table = new Uint32Array(65536), colours = paletteOf(palette), span = hi - lo || 1e-9;
  const first = (offset - lo) / span * 255, by = step / span * 255;
  for (let q = 0; q < NOTHING; q++) {
    const level = first + by * q;
    table[q] = colours[level <= 0 ? 0 : level >= 255 ? 255 : Math.round(level)];
  }
  table[NOTHING] = 0; // transparent
  return table;
}

export function paint(picture, window, palette) {
  const key = `${window.lo} ${window.hi} ${palette}`;
  if (picture.painted === key) return picture.canvas;
  const table = tableOf(picture, window, palette), { values, canvas } = picture;
  const pen = canvas.getContext("2d"), image = pen.createImageData(canvas.width, canvas.height);
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = table[values[i]];
  pen.putImageData(image, 0, 0);
  picture.painted = key;
  return canvas;
}

export function valueAt(picture, x, y) { // full pixels of the image
  const column = Math.floor(x / picture.scale), row = Math.floor(y / picture.scale);
  if (column < 0 || row < 0 || column >= picture.canvas.width || row >= picture.canvas.height) return null;
  const q = picture.values[row * picture.canvas.width + column];
  return q === NOTHING ? null : picture.offset + picture.step * q;
}

// Least, mean and most of the values in a box of full pixels.
export function valuesIn(picture, [x, y, w, h]) {
  const { width, height } = picture.canvas, s = picture.scale;
  const left = Math.max(0, Math.floor(x / s)), right = Math.min(width, Math.ceil((x + w) / s));
  const top = Math.max(0, Math.floor(y / s)), bottom = Math.min(height, Math.ceil((y + h) / s));
  let least = Infinity, most = -Infinity, sum = 0, n = 0;
  for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) {
    const q = picture.values[row * width + column];
    if (q === NOTHING) continue;
    least = Math.min(least, q);
    most = Math.max(most, q);
    sum += q;
    n += 1;
  }
  const value = q => picture.offset + picture.step * q;
  return n ? { least: value(least), mean: value(sum / n), most: value(most) } : null;
}

const UNITS = { celsius: " °C", counts: " counts", grey: "" };

export function written(picture, value) {
  if (value === null) return "no value";
  const digits = picture.unit === "celsius" ? 2 : Number.isInteger(value) ? 0 : 1;
  return `${picture.unit === "grey" ? "grey " : ""}${value.toFixed(digits).replace("-", "−")}${UNITS[picture.unit] ?? ""}`;
}
