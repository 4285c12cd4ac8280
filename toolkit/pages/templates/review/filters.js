// What is in hand: the boxes above the work that choose class, advice, state and order.

import { at, count, make, shown } from "./elements.js";
import { on, tell } from "./news.js";
import { ADVICES, ORDERS, STATES, isUnknown, openByClass, wanted } from "./order.js";
import { rows } from "./state.js";

const ANY = "any class", NONE = "no class";
let names = [];

export function startFilters() {
  if (rows.advice.every((_, place) => isUnknown(place))) wanted.advice = ""; // nothing else is there
  for (const [id, choices] of [["order", ORDERS], ["advice", ADVICES], ["state", STATES]]) {
    at(id).replaceChildren(...Object.entries(choices).map(([value, text]) => make("option", { value }, text)));
    at(id).addEventListener("change", () => { wanted[id] = at(id).value; wanted.only = null; changed(); });
  }
  at("label").addEventListener("change", () => { wanted.label = names[Number(at("label").value)]; wanted.only = null; changed(); });
  at("only").addEventListener("click", () => { wanted.only = null; changed(); });
  on("filters", show);
  on("labels", () => { clearTimeout(later); later = setTimeout(show, 400); }); // sums of classes
  show();
}

let later = 0;
function changed() {
  show();
  tell("list");
}

function show() {
  if (document.activeElement === at("label") && at("label").options.length) return; // it is open in a hand
  const sums = openByClass();
  names = [null, ...sums.map(([name]) => name)];
  at("label").replaceChildren(...[[null, sums.reduce((sum, each) => sum + each[1], 0)], ...sums].map(([name, open], i) =>
    make("option", { value: i }, `${name === null ? ANY : name === "" ? NONE : shown(name)} · ${count(open)} open`)));
  at("label").value = Math.max(0, names.indexOf(wanted.label));
  for (const id of ["order", "advice", "state"]) at(id).value = wanted[id];
  at("only").hidden = !wanted.only;
}
