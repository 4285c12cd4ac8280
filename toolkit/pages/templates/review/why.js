// Why a label was proposed: the labelled neighbours that decided, and what else they caused.

import { at, button, many, make, shown } from "./elements.js";
import { desk, isProposal } from "./desk.js";
import { on, tell } from "./news.js";
import { wanted } from "./order.js";
import { ask } from "./server.js";
import { idOf, list } from "./state.js";

const PATIENCE = 140; // milliseconds that one stays at a label before its reasons are asked for
let timer = 0, asked = "", open = true;

export function startWhy() {
  on("desk", later);
  let kept = null;
  try { kept = localStorage.getItem("dinotool-review-about"); } catch { /* by the room that there is */ }
  open = kept ? kept === "open" : innerWidth > 820;
  show();
}

export function toggleWhy() {
  open = !open;
  try { localStorage.setItem("dinotool-review-about", open ? "open" : "closed"); } catch { /* not kept */ }
  show();
  asked = "";
  later();
}

function show() {
  at("panel").hidden = !open;
  at("why").setAttribute("aria-expanded", String(open));
}

function later() {
  const id = isProposal() && open && !desk.bare ? idOf(desk.place) : "";
  if (id === asked) return; // told again of the same label, when its act is written: what is asked for stays so
  clearTimeout(timer);
  asked = id;
  at("neighbours").replaceChildren();
  at("why-word").textContent = "";
  if (id) timer = setTimeout(() => explain(id), PATIENCE);
}

async function explain(id) {
  try {
    const told = await ask(`/api/why/${encodeURIComponent(id)}?r=${encodeURIComponent(list.run)}`);
    if (id !== asked) return;
    at("why-word").textContent = shown(told.sentence);
    at("neighbours").replaceChildren(...told.neighbours.map(neighbour));
  } catch (error) {
    if (id === asked) at("why-word").textContent = error.message;
  }
}

function neighbour(each) {
  const picture = make("img", { alt: "", width: 56, height: 56, loading: "lazy" }), bar = make("i");
  const { weight } = each; // share of the vote; null where the run does not say
  bar.style.width = `${Math.round(100 * Math.max(0, Math.min(1, weight ?? 0)))}%`;
  if (each.crop) { // by its address: the browser keeps it, and the same items decide many proposals
    picture.onload = () => picture.classList.toggle("few", picture.naturalWidth < 96);
    picture.src = each.crop;
  }
  const where = shown(each.name || "");
  const share = weight === null ? "" : `${Math.round(100 * weight)} % of the vote, `;
  const line = weight === null ? null : make("span", { class: "bar", "aria-hidden": "true" }, bar);
  return make("li", {}, picture, make("div", {}, make("strong", {}, shown(each.label || "no class")), line,
    make("span", { class: "soft" }, `${share}${each.similarity?.toFixed(2) ?? "?"} alike`),
    make("span", { class: "soft where", title: where }, where), rejectedBy(each)));
}

// "This label caused these rejected proposals": one press lists them.
function rejectedBy({ rejected, rejected_ids: ids }) {
  if (!rejected) return null;
  return button(`Caused ${many(rejected, "rejected proposal")}`, "", () => {
    wanted.only = new Set(ids);
    tell("filters");
    tell("mode", "grid");
  }, { class: "small" });
}
