// Which key does what: one table, by which keys act and of which the help is made.
//
// A key is {keys, name, does, group?, once?, during?}: keys as `event.key`, or "code:..." for where a key lies on the keyboard, so
// that brackets and digits work on every layout; once: not while held; during: also with a box in hand. The mode's
// keys come first, then those that all modes share.

import { at, make } from "./elements.js";

const SHARED = [];
let own = () => []; // the keys of the mode at hand
let over = null; // keys of something that is done in between: a box, the read-out by keys
const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc",
  "code:BracketLeft": "[", "code:BracketRight": "]", "Shift+code:BracketLeft": "{", "Shift+code:BracketRight": "}",
  PageUp: "Page ↑", PageDown: "Page ↓", "code:Digit": "1-9", "Shift+code:Digit": "Shift 1-9" };

export function share(...entries) { SHARED.push(...entries); }
export function useKeys(entries) { own = entries; }
export function interrupt(entries) { over = entries; }
export const interrupted = () => over !== null;

const isText = node => node.matches("input:not([type=checkbox]):not([type=range]), textarea, select");
const isPressed = (node, key) => (key === "Enter" || key === " ") && node.matches("button, a[href], summary, input");

// How an event may stand in the table: with its key and with its place, Shift where it makes no other sign.
function spellings(event) {
  const code = event.code.replace(/^(?:Digit|Numpad)[1-9]$/, "Digit");
  const mark = event.altKey ? "Alt+" : event.shiftKey ? "Shift+" : "";
  const plain = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const placed = `${mark}code:${code}`;
  if (!mark) return [event.key, plain, placed];
  const sign = event.key.length === 1 && !event.altKey ? [event.key] : [];
  return [`${mark}${plain}`, ...sign, placed];
}

function find(event, entries) {
  for (const spelling of spellings(event)) {
    const entry = entries.find(each => each.keys.includes(spelling));
    if (entry) return entry;
  }
  return null;
}

function pressed(event) {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() !== "z" || event.shiftKey || isText(event.target)) return;
  }
  if (isText(event.target) || isPressed(event.target, event.key)) return;
  const undoes = event.ctrlKey || event.metaKey ? SHARED.find(each => each.undoes) : null;
  // With a box in hand only what concerns it: a key must not reject the label under it.
  const allowed = entries => (over ? entries.filter(each => each.during) : entries);
  const entry = (over ? find(event, over) : undoes) || find(event, allowed(own())) || find(event, allowed(SHARED));
  if (!entry || (event.repeat && entry.once)) return;
  event.preventDefault();
  entry.does(event);
}

export const digitOf = event => Number(event.code.slice(-1));

export function listen() {
  document.addEventListener("keydown", pressed);
  // A button that was clicked keeps the focus: the next Enter would press it again and accept nothing.
  document.addEventListener("click", event => {
    if (event.detail > 0 && event.target.closest("button") && !document.querySelector("dialog[open]")) home();
  });
}

// Where keys belong when nothing else is wanted.
export function home() {
  document.querySelector("[data-home]:not([hidden] *)")?.focus({ preventScroll: true });
}

const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];

function nameOf(key) {
  const [, mark, rest] = key.match(/^((?:Shift|Alt)\+)?(.+)$/), name = NAMES[key] || NAMES[rest] || rest.toUpperCase();
  return mark && !NAMES[key] ? `${mark.slice(0, -1)} ${name}` : name;
}

// Keys as they are written: each once, and the four arrows as one.
function written(keys) {
  const mark = ["", "Shift+", "Alt+"].find(each => ARROWS.every(key => keys.includes(each + key)));
  const rest = mark === undefined ? keys : keys.filter(key => !ARROWS.includes(key.slice(mark.length)));
  return [...new Set([...(mark === undefined ? [] : [`${mark.replace("+", " ")}arrows`]), ...rest.map(nameOf)])];
}

function lines(title, entries) {
  const rows = entries.filter(entry => entry.name).map(entry => make("div", { class: "key" },
    make("dt", {}, ...written(entry.keys).slice(0, 3).flatMap(text => [make("kbd", {}, text), " "])), make("dd", {}, entry.name)));
  return make("section", {}, make("h3", {}, title), make("dl", {}, ...rows));
}

export function help(mode) {
  const dialog = at("help"), extra = own().filter(entry => entry.group);
  const groups = [...new Set(extra.map(entry => entry.group))];
  at("help-body").replaceChildren(
    lines(mode, own().filter(entry => !entry.group)),
    ...groups.map(group => lines(group, extra.filter(entry => entry.group === group))),
    lines("Everywhere", SHARED),
  );
  dialog.showModal();
}
