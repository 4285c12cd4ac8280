// Tells a person what happened: in the line below, aloud by a live region, and what went wrong until it is read.

import { at } from "./elements.js";

let timer = 0;

export function say(text) {
  clearTimeout(timer);
  at("told").classList.remove("wrong");
  at("told").textContent = text;
}

export function warn(text) {
  clearTimeout(timer);
  at("told").classList.add("wrong");
  at("told").textContent = text;
  timer = setTimeout(() => { at("told").classList.remove("wrong"); }, 15000);
}
