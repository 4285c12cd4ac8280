// Light or dark: as the system has it, until somebody chooses.

import { say } from "./telling.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const now = () => root.dataset.theme || (system.matches ? "dark" : "light");

export function startTheme() {
  try {
    const kept = localStorage.getItem("dinotool-review-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* the system decides */ }
}

export function turnTheme() {
  root.dataset.theme = now() === "dark" ? "light" : "dark";
  try { localStorage.setItem("dinotool-review-theme", root.dataset.theme); } catch { /* for this page only */ }
  say(`${root.dataset.theme === "dark" ? "Dark" : "Light"}`);
}
