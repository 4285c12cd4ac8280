// The grid: proposals of one class, the wrong ones marked, Enter does the rest. Without a class the claim is
// that nothing is there, so Enter rejects, and what is marked stays for a class.

import { at, button, count, many, shown } from "./elements.js";
import { classKeys } from "./classes.js";
import { on, tell } from "./news.js";
import { arranged, openByClass, wanted } from "./order.js";
import { crop } from "./pictures.js";
import { act } from "./queue.js";
import { OPEN, REJECTED, look, proposedOf, rows, statusOf } from "./state.js";
import { say } from "./telling.js";
import { Tiles } from "./tiles.js";

let tiles = null, pages = [], remaining = null, offset = 0, shownNow = false, goSingle = () => {};

const claim = () => (tiles.places.length ? proposedOf(tiles.places[0]) : wanted.label || "");
const changes = (places, facts) => places.map(place => ({ id: rows.id[place], ...facts }));
const as = (label, places) => places.map(place => (
  { id: rows.id[place], do: label === look(place).label ? "accepted" : "relabelled", label }));

export function startGrid(hooks) {
  goSingle = hooks.single;
  tiles = new Tiles(at("grid-tiles"), { changed: refill, marked: showActions, open: place => goSingle(place) });
  on("labels", () => { remaining = null; }); // what is left is counted anew
  on("labels", changed => {
    if (!shownNow || !changed.some(each => tiles.places.includes(each.place))) return;
    tiles.dress();
    showActions();
  });
  on("list", () => { if (shownNow) begin(); });
  on("undone", changed => { if (shownNow) turnBack(changed); });
  const room = () => { if (shownNow && pages.length && !tiles.marked.size && tiles.fit() !== tiles.places.length) refill(); };
  new ResizeObserver(room).observe(at("grid-tiles"));
}

export const grid = {
  name: "Grid",
  enter(place) {
    shownNow = true;
    if (place !== undefined && wanted.label !== proposedOf(place)) { wanted.label = proposedOf(place); tell("filters"); }
    begin(place);
  },
  leave() { shownNow = false; },
  keys: () => [
    { keys: ["Enter"], name: "Accept the rest, reject the marked; show the next", once: true, does: enter },
    ...tiles.keys({ mark: "Mark what is wrong" }),
    ...classKeys(classify, "give it to the marked"),
    { keys: ["x", "r"], name: "Reject the marked now", once: true, does: reject },
    { keys: ["PageDown", "."], name: "Next page, decide nothing", does: () => turn(1) },
    { keys: ["PageUp", ","], name: "Page before", does: () => turn(-1) },
    { keys: ["]", "code:BracketRight"], name: "Next class", does: () => anotherClass(1) },
    { keys: ["[", "code:BracketLeft"], name: "Class before", does: () => anotherClass(-1) },
  ],
  chosen: () => tiles.places[tiles.active],
};

function begin(place) {
  if (wanted.label === null && !wanted.only) { // a grid is of one class: the first with something open
    wanted.label = (openByClass().find(([, open]) => open) || openByClass()[0] || [""])[0];
    tell("filters");
  }
  arrange();
  offset = 0;
  const found = place === undefined ? -1 : pages.indexOf(place), size = tiles.fit();
  if (found > 0) offset = Math.floor(found / size) * size;
  fill({ active: Math.max(0, found - offset), marked: tiles.marked }); // marks outlast a look at one of them
}

// In "open", what is decided leaves the pages; in any other choice it stays where it is.
function left() {
  remaining ||= wanted.state === "open" && !wanted.only ? pages.filter(place => statusOf(place) === OPEN) : pages;
  return remaining;
}

function arrange() {
  pages = arranged();
  remaining = null;
}

function fill(how = {}) {
  const all = left(), size = tiles.fit();
  if (offset >= all.length) offset = Math.max(0, Math.floor((all.length - 1) / size) * size);
  tiles.show(all.slice(offset, offset + size), how);
  showActions();
  ahead(all, size);
}

function refill() {
  fill({ marked: tiles.marked, active: tiles.active });
}

function ahead(all, size) { // the next page is asked for while this one is looked at
  for (const place of all.slice(offset + size, offset + 2 * size)) crop(rows.id[place]).catch(() => {});
}

function showActions() {
  const { marked, rest } = tiles.split(), name = claim(), all = left().length, size = Math.max(1, tiles.fit());
  const title = shown(name) || (all ? "No class: nothing of the classes is there" : "");
  at("grid-title").textContent = wanted.only ? "The proposals that this example caused" : title;
  const what = wanted.state === "open" && !wanted.only ? "open proposal" : "proposal";
  at("grid-sum").textContent = all ? `${many(all, what)} · page ${Math.floor(offset / size) + 1} of ${Math.ceil(all / size)}` : "none";
  at("grid-tiles").classList.toggle("keep", !name && !wanted.only); // a mark keeps open where Enter rejects
  at("grid-empty").hidden = all > 0;
  const enterText = !rest.length && !marked.length ? "Next" : name
    ? `Accept ${count(rest.length)}${marked.length ? `, reject ${count(marked.length)}` : ""}`
    : `Reject ${count(rest.length)}${marked.length ? `, leave ${count(marked.length)} open` : ""}`;
  at("grid-actions").replaceChildren(
    button(enterText, "Enter", enter, { class: "main", disabled: !all }),
    button(marked.length ? `Reject ${count(marked.length)} now` : "Reject this one", "X", reject, { disabled: !all }),
    button("Invert marks", "I", () => tiles.invert(), { disabled: !all }),
    button("Look closely", "S", () => goSingle(tiles.places[tiles.active]), { disabled: !all }),
    button("Before", ",", () => turn(-1), { disabled: offset === 0 }),
    button("Skip page", ".", () => turn(1), { disabled: offset + size >= all }),
  );
}

function enter() {
  const { marked, rest } = tiles.split(), name = claim();
  const made = name ? [...changes(rest, { do: "accepted" }), ...changes(marked, { do: "rejected" })]
    : changes(rest, { do: "rejected" });
  tiles.marked.clear();
  if (made.length) {
    act(made);
    const [first, second] = name ? ["Accepted", "rejected"] : ["Rejected", "left open"];
    say(`${first} ${rest.length}${marked.length ? `, ${second} ${marked.length}` : ""}.`);
  }
  const leave = wanted.state === "open" && !wanted.only; // what is decided leaves the pages by itself
  offset += leave ? (name ? 0 : marked.length) : tiles.places.length;
  if (left().length > offset) fill();
  else next();
}

// The class is done: the next one that has something open.
function next() {
  const open = openByClass().filter(([name, number]) => number && name !== wanted.label);
  if (wanted.only || wanted.state !== "open" || !open.length) return fill();
  const done = wanted.label;
  wanted.label = open[0][0];
  tell("filters");
  begin();
  return say(`${shown(done) || "No class"} is done. Now ${shown(wanted.label) || "what has no class"}.`);
}

function apply(made, text) { // made(places): what is done with the marked ones, without marks with the active one
  const { marked } = tiles.split(), active = tiles.places[tiles.active];
  const places = marked.length ? marked : active === undefined ? [] : [active];
  if (!places.length) return;
  act(made(places));
  for (const place of places) tiles.marked.delete(place);
  say(text(places.length));
  tiles.dress();
  if (!marked.length) tiles.move(1);
  showActions();
}

const reject = () => apply(places => changes(places, { do: "rejected" }), number => `Rejected ${number}.`);

const classify = label => apply(places => as(label, places), number => `${many(number, "label")}: ${shown(label)}.`);

function turn(step) {
  const size = tiles.fit(), all = left().length;
  offset = Math.max(0, Math.min(offset + step * size, Math.floor(Math.max(0, all - 1) / size) * size));
  fill();
}

function anotherClass(step) {
  const names = openByClass().map(([name]) => name), here = names.indexOf(wanted.label);
  wanted.label = names[(here + step + names.length) % names.length];
  wanted.only = null;
  tell("filters");
  begin();
}

// After an undo the page is the one that was taken back, with its marks.
function turnBack(changed) {
  const back = changed.filter(each => each.now.status === OPEN && each.place < rows.id.length).map(each => each.place);
  if (!back.length) return tiles.dress();
  if (!wanted.only && wanted.label !== null && proposedOf(back[0]) !== wanted.label) {
    wanted.label = proposedOf(back[0]);
    tell("filters");
    arrange();
  }
  const marked = new Set(changed.filter(each => each.before?.status === REJECTED && proposedOf(each.place)).map(each => each.place));
  offset = Math.max(0, Math.floor(left().indexOf(back[0]) / Math.max(1, tiles.fit())) * tiles.fit());
  return fill({ marked, active: Math.max(0, left().slice(offset).indexOf(back[0])) });
}

