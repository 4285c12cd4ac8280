// Masks: COCO run lengths, column by column, painted over the picture; they are accepted or rejected, not changed.

import { ask } from "./server.js";

const held = new Map();
const MOST = 200;

function surface({ size: [height, width], counts }) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height), words = new Uint32Array(image.data.buffer);
  let place = 0, inside = false;
  for (const run of counts) {
    for (let i = 0; i < run; i++, place++) if (inside) words[(place % height) * width + Math.floor(place / height)] = 0x4600b0ff;
    inside = !inside;
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

// The mask of a label as a picture of the image's size; null where it has none or does not come.
export function mask(id) {
  if (!held.has(id)) {
    held.set(id, ask(`/mask/${encodeURIComponent(id)}`).then(surface).catch(() => { held.delete(id); return null; }));
    if (held.size > MOST) held.delete(held.keys().next().value);
  }
  return held.get(id);
}
