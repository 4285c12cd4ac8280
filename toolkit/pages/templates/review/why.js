// Why a label was proposed: the labelled neighbours that decided, and what else they caused.

import { at, button, many, make, shown } from "./elements.js";
import { desk, isProposal } from "./desk.js";
import { on, tell } from "./news.js";
import { wanted } from "./order.js";
import { ask, fetched } from "./server.js";
import { idOf, list } from "./state.js";

const PATIENCE = 140; // milliseconds that one stays at a label before its reasons are asked for
let timer = 0, asked = "", open = true;

export function startWhy() {
  on("desk", later);
  try { open = localStorage.getItem("dinotool-review-why") !== "closed"; } catch { /* open */ }
  at("why-part").hidden = !open;
}

export function toggleWhy() {
  open = !open;
  at("why-part").hidden = !open;
  try { localStorage.setItem("dinotool-review-why", open ? "open" : "closed"); } catch { /* not kept */ }
  asked = "";
  later();
}

function later() {
  clearTimeout(timer);
  const id = isProposal() && open && !desk.bare ? idOf(desk.place) : "";
  if (id === asked) return;
  asked = id;
  at("neighbours").replaceChildren();
  at("why-word").textContent = "";
  if (id) timer = setTimeout(() => show(id), PATIENCE);
}

async function show(id) {
  try {
    const told = await ask(`/api/why/${encodeURIComponent(id)}?r=${encodeURIComponent(list.run)}`);
    if (id !== asked) return;
    at("why-word").textContent = shown(told.sentence || "");
    at("neighbours").replaceChildren(...(told.neighbours || []).map(each => neighbour(each, told.caused?.[each.item])));
  } catch (error) {
    if (id === asked) at("why-word").textContent = error.message;
  }
}

function neighbour(each, caused) {
  const picture = make("img", { alt: "", width: 56, height: 56 }), bar = make("i");
  const weight = each.weight ?? null;
  bar.style.width = `${Math.round(100 * Math.max(0, Math.min(1, weight ?? 0)))}%`;
  if (each.crop) fetched(each.crop).then(({ body }) => {
    picture.src = URL.createObjectURL(body);
    picture.onload = () => { URL.revokeObjectURL(picture.src); picture.classList.toggle("few", picture.naturalWidth < 96); };
  }, () => {});
  const where = each.image === null || each.image === undefined ? "" : shown(list.images.name[each.image] ?? "");
  const share = weight === null ? "" : `${Math.round(100 * weight)} % of the vote, `;
  return make("li", {}, picture, make("div", {},
    make("strong", {}, shown(each.label || "")), make("span", { class: "bar", "aria-hidden": "true" }, bar),
    make("span", { class: "soft" }, `${share}${(each.similarity ?? 0).toFixed(2)} alike`),
    make("span", { class: "soft where", title: where }, where), rejectedBy(each, caused)));
}

// "This label caused these rejected proposals": one press lists them.
function rejectedBy(each, caused) {
  const ids = Array.isArray(caused) ? caused : Array.isArray(caused?.ids) ? caused.ids : [];
  const number = typeof caused === "number" ? caused : caused?.count ?? ids.length;
  if (!number) return null;
  if (!ids.length) return make("span", { class: "wrong" }, `voted for ${many(number, "rejected proposal")}`);
  return button(`Caused ${many(number, "rejected proposal")}`, "", () => {
    wanted.only = new Set(ids);
    tell("filters");
    tell("mode", "grid");
  }, { class: "small" });
}
