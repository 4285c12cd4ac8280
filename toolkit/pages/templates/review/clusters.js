// Clusters: what looks alike and has no name. Name one, and all that is open in it has that label.

import { at, button, count, make, many, shown } from "./elements.js";
import { classKeys, findClass } from "./classes.js";
import { on } from "./news.js";
import { crop } from "./pictures.js";
import { act } from "./queue.js";
import { OPEN, REJECTED, look, rows, statusOf } from "./state.js";
import { say } from "./telling.js";
import { Tiles } from "./tiles.js";

let tiles = null, groups = [], here = 0, page = 0, shownNow = false, goSingle = () => {};
const left = new Map(); // cluster -> places that are not of it

export function startClusters(hooks) {
  goSingle = hooks.single;
  at("cluster-tiles").classList.add("keep"); // a mark leaves open what is not of the cluster
  tiles = new Tiles(at("cluster-tiles"), { changed: fill, marked: keepMarks, open: place => goSingle(place) });
  on("labels", () => { if (shownNow) { tiles.dress(); showList(); showActions(); } });
  on("undone", changed => { if (shownNow) turnBack(changed); });
  new ResizeObserver(() => { if (shownNow) fill(); }).observe(at("cluster-tiles"));
}

function gather() {
  const found = new Map();
  rows.cluster.forEach((number, place) => {
    if (number < 0) return;
    if (!found.has(number)) found.set(number, []);
    found.get(number).push(place);
  });
  const worth = place => rows.objectness[place] ?? rows.similarity[place] ?? 0;
  for (const places of found.values()) places.sort((one, other) => worth(other) - worth(one) || one - other);
  const bySize = (one, other) => other.places.length - one.places.length || one.number - other.number;
  return [...found].map(([number, places]) => ({ number, places })).sort(bySize);
}

export const clusters = {
  name: "Clusters",
  enter(place) {
    shownNow = true;
    if (!groups.length) groups = gather();
    const of = groups.findIndex(group => group.places.includes(place));
    go(of >= 0 ? of : here);
  },
  leave() { shownNow = false; },
  keys: () => [
    { keys: ["Enter"], name: "Name the cluster: all but the marked have that label", once: true, does: name },
    ...classKeys(label, "name the cluster"),
    ...tiles.keys({ mark: "Mark what is not of it" }),
    { keys: ["x", "r"], name: "Reject all but the marked", once: true, does: () => apply({ do: "rejected" }) },
    { keys: ["]", "code:BracketRight"], name: "Next cluster", does: () => go(here + 1) },
    { keys: ["[", "code:BracketLeft"], name: "Cluster before", does: () => go(here - 1) },
    { keys: ["PageDown", "."], name: "Next page of the cluster", does: () => turn(1) },
    { keys: ["PageUp", ","], name: "Page before", does: () => turn(-1) },
  ],
  chosen: () => tiles.places[tiles.active],
};

const group = () => groups[here];
const openOf = ({ places }) => places.filter(place => statusOf(place) === OPEN);
const out = () => left.get(group()?.number) || new Set();

function go(index) {
  here = Math.max(0, Math.min(index, groups.length - 1));
  page = 0;
  fill();
  showList();
  at("cluster-list").children[here]?.scrollIntoView({ block: "nearest" });
  const after = groups[here + 1];
  for (const place of after ? after.places.slice(0, tiles.fit()) : []) crop(rows.id[place]).catch(() => {});
}

function fill() {
  at("cluster-empty").hidden = groups.length > 0;
  if (!groups.length) { tiles.show([]); return showActions(); }
  const size = tiles.fit();
  tiles.show(group().places.slice(page * size, (page + 1) * size), { marked: out() });
  return showActions();
}

function keepMarks() { // marks of all pages of a cluster count, not of the one that is seen
  const marks = new Set(out());
  for (const place of tiles.places) tiles.marked.has(place) ? marks.add(place) : marks.delete(place);
  left.set(group().number, marks);
  showActions();
}

const nameOf = of => {
  const names = new Map();
  for (const place of of.places) {
    const { status, label } = look(place), text = status === REJECTED ? "rejected" : shown(label);
    if (status !== OPEN) names.set(text, (names.get(text) || 0) + 1);
  }
  return [...names].sort((one, other) => other[1] - one[1]).map(([text, number]) => `${text} ${count(number)}`).join(", ");
};

function showList() {
  at("cluster-list").replaceChildren(...groups.map((of, i) => make("li", {},
    make("button", { type: "button", "aria-current": i === here ? "true" : null, onclick: () => go(i) },
      make("span", { class: "what" }, `Cluster ${of.number}`), make("span", { class: "n" }, count(of.places.length)),
      make("span", { class: "where" }, nameOf(of) || (openOf(of).length ? "open" : ""))))));
}

function showActions() {
  const none = !groups.length, open = none ? [] : openOf(group()), marked = open.filter(place => out().has(place)).length;
  const size = Math.max(1, tiles.fit()), pages = none ? 0 : Math.ceil(group().places.length / size);
  at("cluster-title").textContent = none ? "" : `Cluster ${group().number}`;
  const sum = none ? "" : `${many(group().places.length, "proposal")}, ${count(open.length)} open`;
  at("cluster-sum").textContent = none ? "" : `${sum} · page ${page + 1} of ${pages}`;
  const naming = `Name ${count(open.length - marked)}${marked ? `, leave ${count(marked)}` : ""}`;
  at("cluster-actions").replaceChildren(
    button(naming, "Enter", name, { class: "main", disabled: open.length === marked }),
    button(`Reject ${count(open.length - marked)}`, "X", () => apply({ do: "rejected" }), { disabled: open.length === marked }),
    button("Cluster before", "[", () => go(here - 1), { disabled: here === 0 }),
    button("Next cluster", "]", () => go(here + 1), { disabled: here >= groups.length - 1 }),
    button("Page before", ",", () => turn(-1), { disabled: page === 0 }),
    button("Next page", ".", () => turn(1), { disabled: page >= pages - 1 }),
    button("Look closely", "S", () => goSingle(tiles.places[tiles.active]), { disabled: none }),
  );
}

function turn(step) {
  if (!groups.length) return;
  page = Math.max(0, Math.min(page + step, Math.ceil(group().places.length / tiles.fit()) - 1));
  fill();
}

function name() {
  if (groups.length && openOf(group()).length) findClass(label);
}

const label = text => apply({ do: "relabelled", label: text });

function apply(facts) {
  if (!groups.length) return;
  const places = openOf(group()).filter(place => !out().has(place));
  if (!places.length) return;
  act(places.map(place => ({ id: rows.id[place], ...facts })));
  say(`${many(places.length, "proposal")}: ${facts.label ? shown(facts.label) : "rejected"}. U takes it back.`);
  const after = groups.findIndex((of, i) => i > here && openOf(of).length);
  go(after >= 0 ? after : here);
}

function turnBack(changed) {
  const back = groups.findIndex(of => changed.some(each => of.places.includes(each.place)));
  if (back >= 0) go(back);
}
