// Classes and their keys: 1-9 and Shift 1-9 give the first eighteen, "/" finds or makes any.

import { at, make, shown } from "./elements.js";
import { digitOf } from "./keys.js";
import { on } from "./news.js";
import { classes } from "./state.js";

const KEYED = 18;
let chosen = () => {}; // what the mode at hand does with a class
let current = "";
let close = null;

export const keyOf = name => {
  const place = classes.indexOf(name);
  return place < 0 || place >= KEYED ? "" : place < 9 ? String(place + 1) : `⇧${place - 8}`;
};
export const currentClass = other => current || other || classes[0] || ""; // chosen last, else as another label
export function keep(name) {
  current = name;
  draw();
}

export function classKeys(does, what) {
  chosen = name => { keep(name); does(name); };
  const by = shift => event => {
    const name = classes[digitOf(event) - 1 + (shift ? 9 : 0)];
    if (name) chosen(name);
  };
  return [
    { keys: ["/"], name: `Find or make a class: ${what}`, does: () => findClass(name => chosen(name)) },
    { keys: ["code:Digit"], name: `A class by its number: ${what}`, does: by(false) },
    { keys: ["Shift+code:Digit"], name: classes.length > 9 ? "The tenth class and further" : "", does: by(true) },
  ].map(entry => ({ ...entry, during: true, once: true })); // held, it would name one label after the other
}

function draw() {
  const spoken = place => (place < 9 ? place + 1 : `Shift ${place - 8}`);
  const chips = classes.slice(0, KEYED).map((name, place) => make("button", {
    type: "button", class: "chip", title: shown(name), "aria-label": `Class ${shown(name)}, key ${spoken(place)}`,
    "aria-current": name === current ? "true" : null, onclick: () => chosen(name),
  }, make("kbd", { "aria-hidden": "true" }, keyOf(name)), make("span", {}, shown(name))));
  const rest = classes.length > KEYED ? `${classes.length - KEYED} more, or a new one` : "other or new class";
  const more = make("button", { type: "button", class: "chip", onclick: () => findClass(name => chosen(name)) },
    make("kbd", { "aria-hidden": "true" }, "/"), make("span", {}, rest));
  at("classes").replaceChildren(...chips, more);
}

// The box to find a class: what is typed narrows the list; a name that is none yet makes a new class.
let found = [], active = 0;

function candidates(text) {
  const asked = text.trim().toLowerCase();
  const starts = classes.filter(name => name.toLowerCase().startsWith(asked));
  const holds = classes.filter(name => !starts.includes(name) && name.toLowerCase().includes(asked));
  const all = [...starts, ...holds].slice(0, 60).map(name => ({ name, text: shown(name) }));
  const fresh = text.trim();
  if (fresh && !classes.includes(fresh)) all.push({ name: fresh, text: `new class “${shown(fresh)}”` });
  return all;
}

function fill() {
  found = candidates(at("class-text").value);
  active = Math.max(at("class-text").value.trim() ? 0 : -1, Math.min(active, found.length - 1));
  at("class-list").replaceChildren(...found.map((each, place) => make("li", {
    role: "option", id: `class-${place}`, "aria-selected": String(place === active), onclick: () => take(each.name),
  }, make("kbd", { "aria-hidden": "true" }, keyOf(each.name)), make("span", {}, each.text))));
  at("class-text").setAttribute("aria-activedescendant", active >= 0 ? `class-${active}` : "");
  document.getElementById(`class-${active}`)?.scrollIntoView({ block: "nearest" });
}

function take(name) {
  const does = close;
  at("class-dialog").close();
  if (does) does(name);
}

export function findClass(does) {
  close = does;
  active = -1; // a second Enter, pressed too early, names nothing
  at("class-text").value = "";
  at("class-dialog").showModal();
  at("class-text").focus();
  fill();
}

function typed(event) {
  if (event.isComposing) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    active += step;
    fill();
  } else if (event.key === "Enter" && found[active]) take(found[active].name);
  else return;
  event.preventDefault();
}

export function startClasses() {
  at("class-text").addEventListener("input", () => { active = 0; fill(); });
  at("class-text").addEventListener("keydown", typed);
  at("class-close").addEventListener("click", () => at("class-dialog").close());
  on("classes", draw);
  draw();
}
