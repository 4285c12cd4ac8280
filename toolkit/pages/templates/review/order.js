// Which proposals are in hand, and in which order.

import { OPEN, REJECTED, STANDS, list, proposedOf, rows, statusOf } from "./state.js";

export const ORDERS = {
  advice: "advice, then score", high: "score, high first", low: "score, low first",
  disagreement: "disagreement first", recording: "recording",
};
export const ADVICES = { asked: "accept or review", accept: "accept", review: "review", unknown: "unknown", "": "any advice" };
export const STATES = { open: "open", stands: "accepted or changed", rejected: "rejected", all: "all" };
const CODES = { open: OPEN, stands: STANDS, rejected: REJECTED };
const RANKS = { accept: 0, review: 1, unknown: 2 };

// label: null any class, "" no class; advice: "asked" all but what was left unknown, "" any; only: ids that are
// asked for, whatever else is chosen
export const wanted = { order: "advice", label: null, advice: "asked", state: "open", only: null };

const score = place => rows.score[place] ?? -1;
const margin = place => rows.margin[place] ?? 2;
const byScore = (one, other) => score(other) - score(one) || one - other;
const recording = place => list.images.recording[rows.image[place]];

const COMPARE = {
  advice: (one, other) => RANKS[rows.advice[one]] - RANKS[rows.advice[other]] || byScore(one, other),
  high: byScore,
  low: (one, other) => score(one) - score(other) || one - other,
  // Where methods differ first, and among these the closest calls.
  disagreement: (one, other) => rows.agree[one] - rows.agree[other] || margin(one) - margin(other) || one - other,
  recording: (one, other) => compareText(recording(one), recording(other)) || rows.image[one] - rows.image[other]
    || byScore(one, other),
};

function compareText(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

// What was left unknown need not be reviewed: it is shown when it is asked for, and counted apart.
export const isUnknown = place => rows.advice[place] === "unknown";
const isAdvised = place => !wanted.advice || (wanted.advice === "asked" ? !isUnknown(place) : rows.advice[place] === wanted.advice);

export function isWanted(place, { state = wanted.state } = {}) {
  if (wanted.only) return wanted.only.has(rows.id[place]);
  if (wanted.label !== null && proposedOf(place) !== wanted.label) return false;
  if (!isAdvised(place)) return false;
  return state === "all" || statusOf(place) === CODES[state];
}

// The places in hand, in order; a fixed list, so that nothing moves under the hand that works on it.
export function arranged(more = {}) {
  const found = [];
  for (let place = 0; place < rows.id.length; place++) if (isWanted(place, more)) found.push(place);
  return found.sort(COMPARE[wanted.order]);
}

// How many are open of each class, the most first and those without a class last: [[name, open, all]].
export function openByClass() {
  const sums = new Map();
  for (let place = 0; place < rows.id.length; place++) {
    if (!isAdvised(place)) continue;
    const name = proposedOf(place), sum = sums.get(name) || [0, 0];
    sum[0] += statusOf(place) === OPEN ? 1 : 0;
    sum[1] += 1;
    sums.set(name, sum);
  }
  const found = [...sums].map(([name, [open, all]]) => [name, open, all]);
  return found.sort((one, other) => (one[0] === "") - (other[0] === "") || other[1] - one[1] || compareText(one[0], other[0]));
}
