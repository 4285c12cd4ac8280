// The list beside the picture: only the lines that are seen exist, so that twenty thousand cost no more than fifty.

import { clamp, make, shown } from "./elements.js";
import { OPEN, REJECTED, STANDS, imageOf, list, look, rows } from "./state.js";

const LINE = 30;
const STATES = { [OPEN]: "", [STANDS]: "stands", [REJECTED]: "rejected" };

export class List {
  // chosen(index) is called when a line is clicked; bare: no scores, for audits; see(place): what a label is
  constructor(root, chosen) {
    // What a browser would have to lay out the page for is remembered: where it is scrolled to, how high it is.
    Object.assign(this, { root, places: [], active: -1, bare: false, see: look, top: 0, height: 600 });
    this.body = make("div", { class: "lines" });
    root.replaceChildren(this.body);
    root.setAttribute("role", "listbox");
    root.addEventListener("scroll", () => { this.top = root.scrollTop; this.draw(); });
    root.addEventListener("click", event => {
      const line = event.target.closest(".line");
      if (line) chosen(Number(line.dataset.index));
    });
    new ResizeObserver(() => { this.height = root.clientHeight; this.draw(); }).observe(root);
  }

  show(places, active, { bare = false, see = look } = {}) {
    Object.assign(this, { places, bare, see });
    this.body.style.height = `${places.length * LINE}px`;
    this.go(active);
  }

  go(active) {
    this.active = active;
    const top = active * LINE, last = Math.max(0, this.places.length * LINE - this.height);
    if (active >= 0 && (top < this.top + LINE || top > this.top + this.height - 2 * LINE)) {
      this.root.scrollTop = this.top = clamp(Math.round(top - this.height / 3), 0, last);
    }
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.top / LINE) - 4);
    const last = Math.min(this.places.length, first + Math.ceil(this.height / LINE) + 8), lines = [];
    for (let i = first; i < last; i++) lines.push(this.line(i));
    this.body.replaceChildren(...lines);
    const shownActive = this.active >= first && this.active < last;
    this.root.setAttribute("aria-activedescendant", shownActive ? `${this.root.id}-${this.active}` : "");
  }

  line(i) {
    const place = this.places[i], label = this.see(place);
    const sign = label.status === OPEN ? "" : label.status === REJECTED ? "✗" : "✓";
    const score = this.bare || place >= rows.id.length || rows.score[place] === null ? "" : rows.score[place].toFixed(2);
    const words = label.label ? shown(label.label) : "no class";
    const node = make("div", {
      role: "option", id: `${this.root.id}-${i}`, class: `line ${STATES[label.status]}`,
      "data-index": i, "aria-selected": String(i === this.active), "aria-setsize": this.places.length, "aria-posinset": i + 1,
      title: shown(list.images.name[imageOf(place)]),
    }, make("span", { class: "sign" }, sign), make("span", { class: "what" }, words),
    make("span", { class: "where" }, shown(list.images.name[imageOf(place)])), make("span", { class: "n" }, score));
    node.style.top = `${i * LINE}px`;
    return node;
  }
}
