// Tiles: crops in rows, one of them active, some marked. Grid and clusters hand out what is in them.

import { clamp, make, shown } from "./elements.js";
import { crop } from "./pictures.js";
import { OPEN, REJECTED, imageOf, list, look, rows, secondOf } from "./state.js";

const SIDES = [88, 116, 152, 208]; // of a crop on the screen
const CAPTION = 24, GAP = 8;

export class Tiles {
  // told: {changed(), open(place)}
  constructor(root, told) {
    const size = innerHeight < 560 ? 0 : 1;
    Object.assign(this, { root, told, size, places: [], marked: new Set(), active: 0, anchor: 0, nodes: [] });
    root.setAttribute("role", "listbox");
    root.setAttribute("aria-multiselectable", "true");
    root.tabIndex = 0;
    root.addEventListener("click", event => this.clicked(event));
    root.addEventListener("dblclick", event => { if (event.target.closest(".tile")) this.opened(); });
  }

  // As wide as the columns may be: no strip is left over at the right.
  get side() { return Math.floor((this.root.clientWidth - 12 + GAP) / this.columns()) - GAP; }

  columns() {
    return Math.max(1, Math.floor((this.root.clientWidth - 12 + GAP) / (SIDES[this.size] + GAP)));
  }

  // How many fit without scrolling, within what a person can look over at once.
  fit() {
    const lines = Math.max(1, Math.floor((this.root.clientHeight - 12 + GAP) / (this.side + CAPTION + GAP)));
    return clamp(this.columns() * lines, 4, 60);
  }

  grow(step) {
    this.size = clamp(this.size + step, 0, SIDES.length - 1);
    this.told.changed();
  }

  // The tile in hand stays in hand where it is shown again: after a change of size, for one.
  show(places, { marked = new Set(), active = Math.max(0, places.indexOf(this.places[this.active])) } = {}) {
    this.places = places;
    this.marked = new Set([...marked].filter(place => places.includes(place)));
    this.active = clamp(active, 0, Math.max(0, places.length - 1));
    this.anchor = this.active;
    this.root.style.setProperty("--side", `${this.side}px`);
    this.nodes = places.map((place, i) => this.tile(place, i));
    this.root.replaceChildren(...this.nodes);
    this.root.scrollTop = 0;
    this.dress();
  }

  tile(place, i) {
    const picture = make("img", { alt: "", draggable: "false" }), box = make("i", { class: "box", hidden: true });
    const frame = make("span", { class: "crop" }, picture, box), caption = make("span", { class: "caption" });
    const node = make("div", { role: "option", id: `${this.root.id}-${i}`, class: "tile" }, frame, caption);
    const id = rows.id[place];
    crop(id).then(found => showCrop(picture, box, found), () => { frame.classList.add("none"); frame.dataset.word = "no picture"; });
    return node;
  }

  // What each tile says of its label now.
  dress() {
    this.nodes.forEach((node, i) => {
      const place = this.places[i], label = look(place), marked = this.marked.has(place);
      node.setAttribute("aria-selected", String(marked));
      node.classList.toggle("active", i === this.active);
      node.classList.toggle("done", label.status !== OPEN);
      node.classList.toggle("waiting", label.waiting);
      node.classList.toggle("rejected", label.status === REJECTED);
      const text = caption(place, label), name = `${text}, ${shown(list.images.name[imageOf(place)])}`;
      node.lastChild.textContent = text;
      node.setAttribute("aria-label", marked ? `${name}, marked` : name);
      node.title = `${name}\n${shown(rows.reason[place])}`;
    });
    this.root.setAttribute("aria-activedescendant", this.nodes.length ? `${this.root.id}-${this.active}` : "");
  }

  move(step) {
    if (!this.places.length) return;
    this.active = clamp(this.active + step, 0, this.places.length - 1);
    this.anchor = this.active;
    this.nodes[this.active].scrollIntoView({ block: "nearest" });
    this.dress();
  }

  toggle(i = this.active) {
    const place = this.places[i];
    if (place === undefined || look(place).status !== OPEN) return;
    if (!this.marked.delete(place)) this.marked.add(place);
    this.dress();
    this.told.marked();
  }

  invert() {
    for (const place of this.places) if (look(place).status === OPEN && !this.marked.delete(place)) this.marked.add(place);
    this.dress();
    this.told.marked();
  }

  clicked(event) {
    const node = event.target.closest(".tile");
    if (!node || event.detail > 1) return;
    this.root.focus({ preventScroll: true });
    const i = this.nodes.indexOf(node);
    if (event.shiftKey) this.markTo(i);
    else this.toggle(i);
    this.active = this.anchor = i;
    this.dress();
  }

  opened() { // the first of two clicks has marked it
    this.toggle();
    this.told.open(this.places[this.active]);
  }

  markTo(i) {
    const on = this.marked.has(this.places[this.anchor]);
    for (let k = Math.min(i, this.anchor); k <= Math.max(i, this.anchor); k++) {
      if (look(this.places[k]).status !== OPEN) continue;
      if (on) this.marked.add(this.places[k]);
      else this.marked.delete(this.places[k]);
    }
    this.told.marked();
  }

  // The open ones: those that are marked, and the rest.
  split() {
    const open = this.places.filter(place => look(place).status === OPEN);
    return { marked: open.filter(place => this.marked.has(place)), rest: open.filter(place => !this.marked.has(place)) };
  }

  keys(names) {
    const step = (dx, dy) => () => this.move(dx + dy * this.columns());
    return [
      { keys: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], name: "Go from picture to picture",
        does: event => step(...{ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key])() },
      { keys: [" "], name: names.mark, does: () => this.toggle() },
      { keys: ["i"], name: "Mark the others instead", does: () => this.invert() },
      { keys: ["+", "="], name: "Larger pictures", does: () => this.grow(1) },
      { keys: ["-"], name: "Smaller pictures", does: () => this.grow(-1) },
    ];
  }
}

function caption(place, label) {
  const said = { accepted: "✓ ", rejected: "✗ ", relabelled: "→ ", moved: "✓ ", drawn: "✓ " }[label.action] || "";
  if (label.status !== OPEN) return `${said}${label.status === REJECTED ? "rejected" : shown(label.label)}`;
  const score = rows.score[place], second = secondOf(place);
  if (!label.label && rows.cluster[place] < 0) return second ? `or ${shown(second)}?` : "no class";
  const unsure = rows.advice[place] === "unknown" ? " · unsure" : "";
  return score === null ? shown(label.label) || "no class" : `${score.toFixed(2)}${rows.agree[place] ? "" : " ≠"}${unsure}`;
}

// The box by shares of the picture, which is centred in its square.
function showCrop(picture, box, found) {
  picture.onload = () => {
    const { naturalWidth: width, naturalHeight: height } = picture, side = Math.max(width, height);
    picture.classList.toggle("few", side < 96);
    if (!found.box) return;
    const [x, y, w, h] = found.box, place = (start, size) => `${(start * size + (side - size) / 2) / side * 100}%`;
    box.style.left = place(x, width);
    box.style.top = place(y, height);
    box.style.width = `${w * width / side * 100}%`;
    box.style.height = `${h * height / side * 100}%`;
    box.hidden = w > 0.98 && h > 0.98;
  };
  picture.src = found.address;
}
