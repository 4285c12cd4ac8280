// Tells a person what happened: in the line below, aloud by a live region, and what went wrong until it is read.

import { at } from "./elements.js";

let timer = 0;

function write(text, wrong) {
  clearTimeout(timer);
  at("told").classList.toggle("wrong", wrong);
  at("told").textContent = at("told").title = text; // a long one is cut off in the line
}

export function say(text) {
  write(text, false);
}

export function warn(text) {
  write(text, true);
  timer = setTimeout(() => { at("told").classList.remove("wrong"); }, 15000);
}
