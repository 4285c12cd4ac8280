// The page: where one looks, what is coloured how, what the pointer and the keys do, what is selected.

const at = id => document.getElementById(id);
const stage = at("stage"), over = at("over"), tip = at("tip");
const dark = matchMedia("(prefers-color-scheme: dark)");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const rgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));

const painter = painterFor(at("points"));
const places = count ? layouts[0].xy.slice() : new Float32Array(0); // of the points as they are drawn
const looks = new Uint8Array(4 * count), shapes = new Uint8Array(count), order = new Uint32Array(count);
const selected = new Uint8Array(count);
let layout = layouts[0], cells = new Cells(layout.xy), colouring = colourings[0];
let view = { x: 0, y: 0, scale: 1, width: 1, height: 1 }, whole = 1; // whole: the scale at which all is seen
let lit = -1, hover = -1, drawing = null, moved = false, sheets = [], tiles = [];

// A fixed shuffle: points are drawn in it, so that no class covers the others because it comes last.
const shuffled = Uint32Array.from({ length: count }, (_, i) => i);
for (let i = count - 1, seed = 1; i > 0; i--) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  const j = Math.floor(seed / 4294967296 * (i + 1)), kept = shuffled[i];
  shuffled[i] = shuffled[j];
  shuffled[j] = kept;
}

// --- looks ---------------------------------------------------------------------------------------------

const theme = () => dark.matches ? "dark" : "light";
const ground = () => rgb(data.grounds[theme()]);

function lookOf(code) {
  const blank = colouring.grey.indexOf(code);
  if (blank >= 0) return [data.greys[theme()], blank % SHAPES];
  if (colouring.ordered) return [data.ramps[theme()][code], 0];
  const palette = data.palettes[theme()];
  return [palette[code % palette.length], Math.floor(code / palette.length) % SHAPES];
}

function isShown(i) { return !colouring.hidden.has(colouring.codes[i]); }

function dress() {
  const table = colouring.names.map((_, code) => lookOf(code)).map(([hex, form]) => [...rgb(hex), form]);
  const some = selected.includes(1), plain = [], bright = [];
  for (const i of shuffled) {
    const code = colouring.codes[i], [red, green, blue, form] = table[code];
    const dim = lit >= 0 ? code !== lit : some && !selected[i];
    looks[4 * i] = red; looks[4 * i + 1] = green; looks[4 * i + 2] = blue;
    looks[4 * i + 3] = isShown(i) ? dim ? 38 : 225 : 0;
    shapes[i] = form;
    (dim || colouring.grey.includes(code) ? plain : bright).push(i);
  }
  order.set(plain);
  order.set(bright, plain.length);
  painter.setLooks(looks, shapes, order);
  arranged = "";
  redraw();
}

// --- drawing -------------------------------------------------------------------------------------------

let asked = false;
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}

const radius = () => {
  const most = Math.max(2, Math.min(7, 190 / Math.sqrt(count)));
  return Math.min(10, Math.round(2 * most * Math.max(1, view.scale / whole) ** 0.35) / 2);
};
const toX = x => (x - view.x) * view.scale + view.width / 2;
const toY = y => (view.y - y) * view.scale + view.height / 2;

function draw() {
  painter.paint(view, radius(), ground());
  const pen = over.getContext("2d"), ratio = over.width / view.width;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, view.width, view.height);
  drawPictures(pen);
  const ink = dark.matches ? "#ffffff" : "#101418";
  if (hover >= 0) ring(pen, hover, radius() + 4, ink);
  if (drawing) drawLasso(pen, ink);
  if (!performance.getEntriesByName("points").length) performance.mark("points");
}

function ring(pen, i, size, colour) {
  const tile = tiles.find(each => each.i === i);
  pen.strokeStyle = colour;
  pen.lineWidth = 2.5;
  pen.beginPath();
  if (tile) pen.rect(tile.x - 3, tile.y - 3, tile.width + 6, tile.height + 6);
  else pen.arc(toX(places[2 * i]), toY(places[2 * i + 1]), size, 0, 2 * Math.PI);
  pen.stroke();
}

function drawLasso(pen, ink) {
  pen.beginPath();
  for (const [x, y] of drawing.path) pen.lineTo(toX(x), toY(y));
  pen.closePath();
  pen.fillStyle = dark.matches ? "rgb(255 255 255 / .1)" : "rgb(10 108 116 / .1)";
  pen.fill();
  pen.strokeStyle = ink;
  pen.lineWidth = 1.5;
  pen.setLineDash([6, 4]);
  pen.stroke();
  pen.setLineDash([]);
}

// Thumbnails stand in place of points where there is room: at each step of zooming the same ones, however
// one moves, so that nothing flickers, and none over another.
const TILE = 58, APART = 64;
let arranged = "", standing = [];
function arrange() {
  const level = Math.floor(Math.log2(view.scale) * 2) / 2, key = `${layout.name} ${level}`;
  if (key === arranged) return standing;
  arranged = key;
  standing = [];
  const side = APART / 2 ** level, taken = new Map();
  for (const i of shuffled) {
    if (pictured[i] < 0 || !looks[4 * i + 3]) continue;
    const x = layout.xy[2 * i], y = layout.xy[2 * i + 1], column = Math.floor(x / side), row = Math.floor(y / side);
    let free = true;
    for (let dx = -1; dx <= 1 && free; dx++) for (let dy = -1; dy <= 1 && free; dy++) {
      const other = taken.get(`${column + dx} ${row + dy}`);
      free = other === undefined || Math.abs(layout.xy[2 * other] - x) >= side || Math.abs(layout.xy[2 * other + 1] - y) >= side;
    }
    if (!free) continue;
    taken.set(`${column} ${row}`, i);
    standing.push(i);
  }
  return standing;
}

function pictureOf(i) {
  const number = pictured[i], across = data.sheets ? data.sheets.across : 1, inSheet = number % (across * across);
  const sheet = number < 0 ? null : sheets[Math.floor(number / (across * across))];
  if (!sheet || !sheet.complete || !sheet.naturalWidth) return null;
  const side = data.sheets.side;
  return { sheet, x: inSheet % across * side, y: Math.floor(inSheet / across) * side,
    width: pictureSizes[2 * number], height: pictureSizes[2 * number + 1] };
}

function drawPictures(pen) {
  tiles = [];
  const wanted = at("pictures") && at("pictures").checked && !moving && (view.scale > 2 * whole || count <= 60);
  if (!wanted) return;
  for (const i of arrange()) {
    const x = toX(places[2 * i]), y = toY(places[2 * i + 1]);
    if (x < -TILE || y < -TILE || x > view.width + TILE || y > view.height + TILE) continue;
    const from = pictureOf(i);
    if (!from) continue;
    const size = TILE / Math.max(from.width, from.height), width = from.width * size, height = from.height * size;
    const tile = { i, x: x - width / 2, y: y - height / 2, width, height };
    pen.globalAlpha = looks[4 * i + 3] < 100 ? 0.3 : 1;
    pen.fillStyle = lookOf(colouring.codes[i])[0];
    pen.fillRect(tile.x - 3, tile.y - 3, width + 6, height + 6);
    pen.drawImage(from.sheet, from.x, from.y, from.width, from.height, tile.x, tile.y, width, height);
    tiles.push(tile);
  }
  pen.globalAlpha = 1;
}

// --- where one looks -----------------------------------------------------------------------------------

function frame(xy) {
  let [x0, y0, x1, y1] = [1, 1, -1, -1];
  for (let i = 0; i < count; i++) {
    x0 = Math.min(x0, xy[2 * i]); x1 = Math.max(x1, xy[2 * i]);
    y0 = Math.min(y0, xy[2 * i + 1]); y1 = Math.max(y1, xy[2 * i + 1]);
  }
  const scale = 0.92 * Math.min(view.width / Math.max(x1 - x0, 0.1), view.height / Math.max(y1 - y0, 0.1));
  return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, scale };
}

function fit() {
  const wanted = frame(layout.xy);
  whole = wanted.scale;
  Object.assign(view, wanted);
  redraw();
}

function zoom(factor, x = view.width / 2, y = view.height / 2) {
  const scale = Math.max(whole / 2, Math.min(whole * 400, view.scale * factor));
  const px = view.x + (x - view.width / 2) / view.scale, py = view.y - (y - view.height / 2) / view.scale;
  view.x = px - (x - view.width / 2) / scale;
  view.y = py + (y - view.height / 2) / scale;
  view.scale = scale;
  redraw();
}

function pan(dx, dy) { // in pixels of the screen
  view.x = Math.max(-1.5, Math.min(1.5, view.x - dx / view.scale));
  view.y = Math.max(-1.5, Math.min(1.5, view.y + dy / view.scale));
  redraw();
}

function resize() {
  const { width, height } = stage.getBoundingClientRect(), first = view.width === 1;
  if (!width || !height) return;
  const ratio = Math.min(2, devicePixelRatio || 1);
  for (const canvas of [at("points"), over]) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const near = view.scale / whole;
  Object.assign(view, { width, height });
  whole = frame(layout.xy).scale;
  if (first) fit(); else view.scale = whole * near;
  draw(); // at once: a canvas of another size is empty
}

let moving = false;
function changeLayout(next) {
  const from = places.slice(), before = { ...view }, start = performance.now();
  layout = next;
  cells = new Cells(layout.xy);
  const wanted = frame(layout.xy);
  whole = wanted.scale;
  moving = true;
  hide();
  const step = now => {
    if (layout !== next) return;
    const t = calm.matches ? 1 : Math.min(1, Math.max(0, now - start) / 700), s = t * t * (3 - 2 * t);
    for (let i = 0; i < places.length; i++) places[i] = from[i] + (next.xy[i] - from[i]) * s;
    for (const key of ["x", "y", "scale"]) view[key] = before[key] + (wanted[key] - before[key]) * s;
    painter.setPlaces(places);
    moving = t < 1;
    draw();
    if (moving) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

// --- what is pointed at ---------------------------------------------------------------------------------

function found(x, y) { // pixels of the stage -> point or -1
  for (const tile of tiles.slice().reverse()) {
    if (x >= tile.x - 3 && y >= tile.y - 3 && x <= tile.x + tile.width + 3 && y <= tile.y + tile.height + 3) return tile.i;
  }
  const px = view.x + (x - view.width / 2) / view.scale, py = view.y - (y - view.height / 2) / view.scale;
  return cells.nearest(px, py, (radius() + 5) / view.scale, isShown);
}

function point(i) {
  if (i === hover) return;
  hover = i;
  redraw();
  if (i < 0) { tip.hidden = true; return; }
  const text = at("tip-text");
  text.replaceChildren();
  const line = (words, kind = "div") => { const each = document.createElement(kind); each.textContent = shown(words); text.append(each); };
  line(nameOf(i), "b");
  if (boxes) line(`box ${[0, 1, 2, 3].map(k => Math.round(boxes[4 * i + k])).join(", ")}`);
  for (const each of colourings) {
    if (each.ordered || each.grey.includes(each.codes[i]) && each !== colouring) continue;
    const name = each.names[each.codes[i]];
    line(name.startsWith(each.title) ? name : `${each.title}: ${name}`);
  }
  if (scores && !Number.isNaN(scores[i])) line(`score: ${scores[i].toFixed(2)}`);
  if (data.reasons[reasonOf[i]]) line(data.reasons[reasonOf[i]]);
  showPicture(i);
  tip.hidden = false;
  const x = toX(places[2 * i]), y = toY(places[2 * i + 1]), room = tip.getBoundingClientRect();
  const left = x + 36 + room.width < view.width ? x + 36 : x - 36 - room.width;
  tip.style.left = `${Math.max(4, Math.min(view.width - room.width - 4, left))}px`;
  tip.style.top = `${Math.max(4, Math.min(view.height - room.height - 4, y - room.height / 2))}px`;
}

function showPicture(i) {
  const canvas = at("tip-picture"), pen = canvas.getContext("2d"), from = pictureOf(i);
  canvas.hidden = !from;
  if (!from) return;
  const size = 128 / Math.max(from.width, from.height), width = from.width * size, height = from.height * size;
  pen.clearRect(0, 0, 128, 128);
  pen.drawImage(from.sheet, from.x, from.y, from.width, from.height, (128 - width) / 2, (128 - height) / 2, width, height);
}

function hide() { point(-1); }

function middle() { // for those who move by keys: what lies nearest to the middle
  const i = cells.nearest(view.x, view.y, Math.min(view.width, view.height) / 3 / view.scale, isShown);
  point(i);
  at("told").textContent = i < 0 ? "No point near the middle" : at("tip-text").innerText;
}

// --- selection ----------------------------------------------------------------------------------------

const LISTED = 300;
function chosenNames() {
  const seen = new Set();
  for (let i = 0; i < count; i++) if (selected[i]) seen.add(imageOf[i]);
  return [...seen].map(number => data.names[number]);
}

function showSelection() {
  const points = selected.reduce((sum, one) => sum + one, 0), names = chosenNames();
  const noun = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  at("selected").textContent = !points ? "Nothing selected"
    : data.kind === "image" ? `${noun(points, "image")} selected` : `${noun(points, "region")} in ${noun(names.length, "image")}`;
  at("how").hidden = points > 0;
  at("save").disabled = at("clear").disabled = !points;
  at("names").replaceChildren(...names.slice(0, LISTED).map(name => {
    const entry = document.createElement("li");
    entry.textContent = shown(name);
    return entry;
  }));
  showCounts(points);
  if (names.length > LISTED) {
    const rest = document.createElement("li");
    rest.textContent = `... and ${(names.length - LISTED).toLocaleString("en")} more, all in the saved list`;
    at("names").append(rest);
  }
  dress();
}

function showCounts(points) { // of each class, and how many of them are selected
  const counts = new Uint32Array(colouring.names.length);
  for (let i = 0; i < count; i++) counts[colouring.codes[i]] += selected[i];
  for (const button of at("legend").querySelectorAll("button")) {
    const all = Number(button.dataset.number).toLocaleString("en");
    button.querySelector(".n").textContent = points ? `${counts[button.dataset.code].toLocaleString("en")} of ${all}` : all;
  }
}

function select(test, { add = false } = {}) {
  for (let i = 0; i < count; i++) selected[i] = (add && selected[i]) || (isShown(i) && test(i)) ? 1 : 0;
  showSelection();
}

function selectInside(path, add) {
  select(i => inside(path, layout.xy[2 * i], layout.xy[2 * i + 1]), { add });
}

function selectView() {
  select(i => {
    const x = toX(layout.xy[2 * i]), y = toY(layout.xy[2 * i + 1]);
    return x >= 0 && y >= 0 && x <= view.width && y <= view.height;
  });
}

function toggle(i) {
  if (i < 0) return;
  selected[i] = 1 - selected[i];
  showSelection();
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([listOf(chosenNames())], { type: "text/plain" }));
  link.download = "selected.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// --- legend ------------------------------------------------------------------------------------------

function showLegend() {
  at("legend-title").textContent = colouring.title;
  const counts = new Uint32Array(colouring.names.length);
  for (const code of colouring.codes) counts[code]++;
  at("legend").replaceChildren(...colouring.names.map((name, code) => legendEntry(shown(name), code, counts[code])).filter(Boolean));
  at("search").hidden = colouring.names.length <= 20;
  at("search").value = "";
}

function legendEntry(name, code, number) {
  if (!number) return null;
  const item = document.createElement("li"), button = document.createElement("button"), picture = document.createElement("canvas");
  button.className = "entry";
  button.type = "button";
  button.title = name;
  button.dataset.code = code;
  button.setAttribute("aria-pressed", !colouring.hidden.has(code));
  swatch(picture, ...lookOf(code));
  picture.setAttribute("aria-hidden", "true");
  for (const [kind, text] of [["name", name], ["n", number.toLocaleString("en")]]) {
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = text;
    button.append(span);
  }
  button.dataset.number = number;
  button.prepend(picture);
  button.onclick = () => {
    if (!colouring.hidden.delete(code)) colouring.hidden.add(code);
    refresh();
  };
  button.ondblclick = () => {
    colouring.hidden = new Set(colouring.names.keys());
    colouring.hidden.delete(code);
    refresh();
  };
  const light = on => { if (lit !== (on ? code : -1)) { lit = on ? code : -1; dress(); } };
  button.onmouseenter = () => light(true);
  button.onmouseleave = () => light(false);
  button.onfocus = () => { if (button.matches(":focus-visible")) light(true); };
  button.onblur = () => light(false);
  item.append(button);
  return item;
}

function refresh() { // after classes were hidden or shown
  for (const button of at("legend").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", !colouring.hidden.has(Number(button.dataset.code)));
  }
  dress();
}

function recolour(number) {
  colouring = colourings[number];
  lit = -1;
  showLegend();
  showCounts(selected.includes(1));
  dress();
}

// --- events ------------------------------------------------------------------------------------------

let drag = null;
const here = event => { const edge = stage.getBoundingClientRect(); return [event.clientX - edge.left, event.clientY - edge.top]; };
const toPlace = (x, y) => [view.x + (x - view.width / 2) / view.scale, view.y - (y - view.height / 2) / view.scale];

function lassoMode(on) {
  at("lasso").setAttribute("aria-pressed", on);
  stage.classList.toggle("lasso", on);
}

stage.addEventListener("pointerdown", event => {
  if (event.button) return;
  const [x, y] = here(event), lasso = event.shiftKey || at("lasso").getAttribute("aria-pressed") === "true";
  try { stage.setPointerCapture(event.pointerId); } catch (error) { /* the pointer is gone already */ }
  drag = { x, y, far: 0 };
  if (lasso) drawing = { path: [toPlace(x, y)], add: event.ctrlKey || event.metaKey };
  else stage.classList.add("moving");
});

stage.addEventListener("pointermove", event => {
  const [x, y] = here(event);
  if (!drag) { point(found(x, y)); return; }
  drag.far += Math.abs(x - drag.x) + Math.abs(y - drag.y);
  if (drag.far > 4) hide();
  if (drawing) { drawing.path.push(toPlace(x, y)); redraw(); } else if (drag.far > 4) pan(x - drag.x, y - drag.y);
  drag.x = x;
  drag.y = y;
});

function released(event) {
  if (!drag) return;
  const { x, y, far } = drag, lasso = drawing;
  drag = drawing = null;
  stage.classList.remove("moving");
  if (event.type === "pointercancel") redraw();
  else if (far <= 4) toggle(found(x, y));
  else if (lasso) { selectInside(lasso.path, lasso.add); lassoMode(false); }
  redraw();
}
stage.addEventListener("pointerup", released);
stage.addEventListener("pointercancel", released);
stage.addEventListener("pointerleave", () => { if (!drag) hide(); });

stage.addEventListener("wheel", event => {
  event.preventDefault();
  const [x, y] = here(event);
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x, y);
  hide();
}, { passive: false });

const KEYS = {
  ArrowLeft: () => pan(80, 0), ArrowRight: () => pan(-80, 0), ArrowUp: () => pan(0, 80), ArrowDown: () => pan(0, -80),
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), "0": fit,
};
stage.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (KEYS[event.key]) { KEYS[event.key](); middle(); }
  else if (event.key === "Enter") { middle(); toggle(hover); }
  else if (event.key === "Escape") { drag = drawing = null; lassoMode(false); hide(); select(() => false); }
  else return;
  event.preventDefault();
});

at("in").onclick = () => zoom(1.6);
at("out").onclick = () => zoom(1 / 1.6);
at("fit").onclick = fit;
at("lasso").onclick = () => lassoMode(at("lasso").getAttribute("aria-pressed") !== "true");
at("view").onclick = selectView;
at("save").onclick = save;
at("clear").onclick = () => select(() => false);
at("show-all").onclick = () => { colouring.hidden.clear(); refresh(); };
at("hide-all").onclick = () => { colouring.hidden = new Set(colouring.names.keys()); refresh(); };
at("search").oninput = () => {
  const asked = at("search").value.toLowerCase();
  for (const item of at("legend").children) item.hidden = !item.textContent.toLowerCase().includes(asked);
};
at("colour").onchange = () => recolour(at("colour").selectedIndex);
dark.addEventListener("change", () => recolour(colourings.indexOf(colouring)));

// --- beginning ---------------------------------------------------------------------------------------

for (const each of colourings) {
  const option = document.createElement("option");
  option.textContent = each.title;
  at("colour").append(option);
}
for (const each of layouts) {
  const label = document.createElement("label"), input = document.createElement("input"), name = document.createElement("span");
  label.className = "choice";
  Object.assign(input, { type: "radio", name: "layout", checked: each === layout });
  input.onchange = () => changeLayout(each);
  name.textContent = each.name;
  label.append(input, name);
  at("layouts").append(label);
}
at("layouts").classList.toggle("one", layouts.length < 2);

painter.setPlaces(places);
recolour(0);
showSelection();
resize();
new ResizeObserver(resize).observe(stage);

function gatherSheets() {
  sheets = [...document.querySelectorAll("img.sheet")];
  for (const sheet of sheets) sheet.decode().then(redraw, () => {});
  if (at("pictures")) at("pictures").onchange = redraw;
}
document.addEventListener("DOMContentLoaded", gatherSheets);
