"use strict";
// What the page holds: points, their names and classes; and which point is where.

const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

function unpack(packed) {
  if (!packed) return null;
  const text = atob(packed.data), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new TYPES[packed.type](bytes.buffer);
}

const data = JSON.parse(document.getElementById("data").textContent);
document.getElementById("data").remove(); // its text is not needed twice
const count = data.count;
const layouts = data.layouts.map(each => ({ name: each.name, xy: unpack(each.xy) }));
const imageOf = unpack(data.images), reasonOf = unpack(data.said), scores = unpack(data.scores), boxes = unpack(data.boxes);
const colourings = data.colourings.map(each => Object.assign(each, { codes: unpack(each.codes), hidden: new Set() }));
const pictured = new Int32Array(count).fill(-1); // the thumbnail of each point
let pictureSizes = new Uint8Array(0);
if (data.sheets) {
  pictureSizes = unpack(data.sheets.sizes);
  unpack(data.sheets.points).forEach((point, i) => { pictured[point] = i; });
}

function nameOf(i) { return data.names[imageOf[i]]; }

// Signs that cannot be seen, or that turn the direction of a text, as escapes: no name can disguise itself.
function shown(text) {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, sign => {
    const code = sign.codePointAt(0).toString(16);
    return code.length > 4 ? "\\U" + code.padStart(8, "0") : "\\u" + code.padStart(4, "0");
  });
}

// A list as dinotool reads it: a name a line; each ended by NUL where lines or commas would be misread.
function listOf(names) {
  const first = names.length ? names[0] : "";
  const odd = names.some(name => /[\r\n\u0085\u2028\u2029\v\f\x1c-\x1e]|^\s|\s$|^\ufeff/u.test(name))
    || /^[[{]|[,;\t]/.test(first) || !first.includes(".");
  const mark = first.startsWith("\ufeff") ? "\ufeff" : ""; // a reader takes the first one for a mark of the file
  return mark + names.map(name => name + (odd ? "\0" : "\n")).join("");
}

// Points in square cells of a layout, to find the one under the pointer.
class Cells {
  constructor(xy) {
    this.xy = xy;
    this.side = Math.max(1, Math.min(256, Math.ceil(Math.sqrt(count / 4))));
    this.starts = new Uint32Array(this.side * this.side + 1);
    for (let i = 0; i < count; i++) this.starts[this.cell(i) + 1]++;
    for (let c = 0; c < this.side * this.side; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    this.members = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.members[next[this.cell(i)]++] = i;
  }
  step(value) { return Math.max(0, Math.min(this.side - 1, Math.floor((value + 1) / 2 * this.side))); }
  cell(i) { return this.step(this.xy[2 * i + 1]) * this.side + this.step(this.xy[2 * i]); }
  *within(x0, y0, x1, y1) {
    for (let row = this.step(y0); row <= this.step(y1); row++) {
      for (let column = this.step(x0); column <= this.step(x1); column++) {
        const c = row * this.side + column;
        for (let at = this.starts[c]; at < this.starts[c + 1]; at++) yield this.members[at];
      }
    }
  }
  nearest(x, y, radius, allowed) {
    let best = -1, least = radius * radius;
    for (const i of this.within(x - radius, y - radius, x + radius, y + radius)) {
      const dx = this.xy[2 * i] - x, dy = this.xy[2 * i + 1] - y, square = dx * dx + dy * dy;
      if (square <= least && allowed(i)) { best = i; least = square; }
    }
    return best;
  }
}

// Whether (x, y) lies inside a polygon of pairs, by the even-odd rule.
function inside(polygon, x, y) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i], [xj, yj] = polygon[j];
    if ((yi > y) !== (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}
