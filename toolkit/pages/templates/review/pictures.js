// Pictures on their way and in memory: images in 16 or 8 bits, and the crops of the grid. What comes next is
// asked for early, what was longest unused goes first.

import { fetched } from "./server.js";
import { list } from "./state.js";

const MOST_PIXELS = 60e6; // of images that are kept: 2 + 4 bytes each
const MOST_CROPS = 600;
const images = new Map(), crops = new Map(), twins = new Map();
const run = () => encodeURIComponent(list.run);

function surface(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

async function sixteen(image, part = "") {
  const { body, headers } = await fetched(`/pixels/${image}?r=${run()}${part}`, "arrayBuffer");
  const told = name => Number(headers.get(`X-${name}`));
  return {
    image, values: new Uint16Array(body), canvas: surface(told("Width"), told("Height")), painted: "",
    offset: told("Offset"), step: told("Step"), unit: headers.get("X-Unit"), lo: told("Lo"), hi: told("Hi"),
    scale: told("Scale") || 1, left: told("Left"), top: told("Top"),
  };
}

async function flat(image, address) {
  const { body, headers } = await fetched(address);
  const bitmap = await createImageBitmap(body);
  const canvas = surface(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  const scale = list.images.width[image] / canvas.width || 1;
  return { image, canvas, scale, values: null, unit: "colour", note: headers.get("X-Note") || "" };
}

async function load(image) {
  if (list.images.unit[image] !== "colour") {
    try {
      return await sixteen(image);
    } catch (error) {
      if (error.status !== 415) throw error;
    }
  }
  return flat(image, `/shown/${image}?r=${run()}&side=2048`);
}

// A promise that is kept, and asked for anew where it failed.
function keep(map, key, make, tidy) {
  let held = map.get(key);
  if (!held) {
    held = make();
    held.then(value => { held.value = value; tidy(); }, () => { if (map.get(key) === held) map.delete(key); });
  }
  map.delete(key);
  map.set(key, held); // the last used stands last
  return held;
}

export const picture = image => keep(images, image, () => load(image), tidyImages);
export const pictureNow = image => images.get(image)?.value || null;
export const twin = image => keep(twins, image, () => flat(image, `/twin/${image}?r=${run()}`), () => drop(twins, 12));
export const detail = (image, [x, y, w, h]) => sixteen(image, `&x=${x}&y=${y}&w=${w}&h=${h}`);

function tidyImages() {
  let pixels = 0;
  for (const key of [...images.keys()].reverse()) {
    const value = images.get(key).value;
    pixels += value ? value.canvas.width * value.canvas.height : 0;
    if (pixels > MOST_PIXELS && value && key !== [...images.keys()].at(-1)) images.delete(key);
  }
}

function drop(map, most, gone = () => {}) {
  for (const [key, held] of map) {
    if (map.size <= most) return;
    map.delete(key);
    if (held.value) gone(held.value);
  }
}

export function expect(numbers) {
  for (const image of numbers) {
    if (!images.has(image)) picture(image).catch(() => {});
    if (list.images.twin[image] && twins.size && !twins.has(image)) twin(image).catch(() => {});
  }
}

async function loadCrop(address) {
  const { body, headers } = await fetched(address);
  const box = (headers.get("X-Box") || "").split(/[ ,]+/).map(Number);
  return { address: URL.createObjectURL(body), box: box.length === 4 && box.every(Number.isFinite) ? box : null };
}

// A crop with its box in shares of it (x, y, w, h).
export function crop(id) {
  return keep(crops, id, () => loadCrop(`/crop/${encodeURIComponent(id)}?r=${run()}`),
    () => drop(crops, MOST_CROPS, value => URL.revokeObjectURL(value.address)));
}
