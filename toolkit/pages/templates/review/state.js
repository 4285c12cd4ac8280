// What stands: the list as the server sent it, the last word on each label, and what waits to be written.
//
// A label has a place: first the proposals of the run in the order of the server, then what people drew.
// What the page shows of a label comes from here alone: the server's word, and over it what the queue holds.

import { tell } from "./news.js";

export const OPEN = 0, STANDS = 1, REJECTED = 2;

export let list = null, rows = null;
export const classes = [];
export const finished = new Set(); // numbers of images in which nothing is missing
const said = new Map(); // id -> what the server said last; "withdrawn" is a word too
const meant = new Map(); // id -> what waits in the queue
const placeOfId = new Map();
const drawn = []; // what people drew or brought, after the rows
const placesOf = new Map(); // number of an image -> places

export function begin(answer) {
  list = answer;
  rows = answer.rows;
  learn(remembered().filter(name => answer.classes.includes(name)));
  learn(answer.classes);
  rows.id.forEach((id, place) => settle(id, place, rows.image[place]));
  for (const [id, word] of Object.entries(answer.state)) said.set(id, { id, ...word });
  for (const label of answer.drawn) add({ action: "drawn", ...label });
  for (const image of answer.finished) finished.add(image);
}

function settle(id, place, image) {
  placeOfId.set(id, place);
  if (!placesOf.has(image)) placesOf.set(image, []);
  placesOf.get(image).push(place);
}

function add(label) {
  drawn.push(label);
  settle(label.id, rows.id.length + drawn.length - 1, label.image);
  said.set(label.id, label);
}

// Classes keep their keys from page to page of a set: hands learn them.
const key = () => `dinotool-review-classes ${list.set}`;

function remembered() {
  try {
    const kept = JSON.parse(localStorage.getItem(key()) || "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

export function learn(names) {
  const before = classes.length;
  for (const name of names) if (name && !classes.includes(name)) classes.push(name);
  if (classes.length === before) return;
  try { localStorage.setItem(key(), JSON.stringify(classes)); } catch { /* the next page begins anew */ }
  tell("classes");
}

export const countOfRows = () => rows.id.length;
export const placeOf = id => placeOfId.get(id);
export const idOf = place => place < rows.id.length ? rows.id[place] : drawn[place - rows.id.length].id;
export const onImage = image => placesOf.get(image) || [];
export const imageOf = place => place < rows.id.length ? rows.image[place] : drawn[place - rows.id.length].image;
export const seqOf = id => said.get(id)?.seq || 0;
export const isDrawn = place => place >= rows.id.length;

// A number of "no class" is -1; the proposed class is what the run says, whatever people said since.
export const proposedOf = place => isDrawn(place) ? "" : list.classes[rows.label[place]] || "";
export const secondOf = place => isDrawn(place) ? "" : list.classes[rows.second[place]] || "";

const wordOn = id => {
  const word = meant.get(id) || said.get(id);
  return word && word.action !== "withdrawn" ? word : null;
};

export const statusOf = place => statusBy(place, wordOn(idOf(place)));

function statusBy(place, word) {
  if (!word) return isDrawn(place) ? REJECTED : OPEN; // what was drawn and taken back is no more
  return word.action === "rejected" ? REJECTED : STANDS;
}

// What was rejected without a class is written down as an "object": that is no class.
const classIn = word => (word && !(word.action === "rejected" && word.label === "object") ? word.label : "");

// What a label is now, and what it was proposed as, whatever was said since.
export const look = place => lookBy(place, wordOn(idOf(place)));
export const proposed = place => lookBy(place, null);

function lookBy(place, word) {
  const id = idOf(place), row = isDrawn(place) ? drawn[place - rows.id.length] : null;
  const box = word && typeof word.x === "number" ? word : row
    || { x: rows.x[place], y: rows.y[place], w: rows.w[place], h: rows.h[place] };
  return {
    place, id, image: imageOf(place), box: [box.x, box.y, box.w, box.h].map(value => value ?? 0),
    kind: row ? row.kind : rows.kind[place] ? "region" : "image",
    label: classIn(word) || (row ? row.label : proposedOf(place)),
    status: statusBy(place, word), action: word ? word.action : "", waiting: meant.has(id), audit: Boolean(word?.audit),
    masked: word && "masked" in word ? Boolean(word.masked) : Boolean(row ? row.masked : rows.masked[place]),
  };
}

// The server's word, from an answer or a poll; an older one than is known says nothing.
export function heard(changes) {
  const changed = [];
  for (const word of changes) {
    const before = placeOfId.has(word.id) ? look(placeOfId.get(word.id)) : null;
    if (before && seqOf(word.id) >= word.seq) continue;
    if (before) said.set(word.id, word);
    else add(word);
    if (word.label && word.action !== "rejected") learn([word.label]);
    const place = placeOfId.get(word.id);
    changed.push({ place, before, now: look(place) });
  }
  if (changed.length) tell("labels", changed);
  return changed;
}

// What waits: shown at once, and forgotten when the server has said its word.
export function hope(changes, audit) {
  const known = changes.filter(change => placeOfId.has(change.id));
  const before = known.map(change => look(placeOfId.get(change.id)));
  for (const change of known) {
    const now = look(placeOfId.get(change.id));
    const box = change.box ? Object.fromEntries(change.box.map((value, i) => ["xywh"[i], value])) : {};
    meant.set(change.id, { action: change.do, label: change.label || now.label, ...boxOf(now), ...box,
      masked: change.box ? false : now.masked, audit });
  }
  tell("labels", known.map((change, i) => ({ place: before[i].place, before: before[i], now: look(before[i].place) })));
}

const boxOf = ({ box: [x, y, w, h] }) => ({ x, y, w, h });

export function settleHopes(ids, stillWaiting) {
  const changed = [];
  for (const id of ids) {
    if (!meant.has(id) || stillWaiting.has(id)) continue;
    const place = placeOfId.get(id), before = look(place);
    meant.delete(id);
    changed.push({ place, before, now: look(place) });
  }
  if (changed.length) tell("labels", changed);
}
