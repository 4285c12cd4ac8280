// What a person did and the server has not acknowledged: sent in order, again with the same name until it answers.
//
// An act is written once however often it arrives, because its name goes with it. What an act saw of a label
// goes with it too: where another page was quicker, the server refuses, and the page shows what stands.

import { tell } from "./news.js";
import { Refused, post } from "./server.js";
import { heard, hope, list, seqOf, settleHopes } from "./state.js";
import { say, warn } from "./telling.js";

const waiting = [];
const PAUSES = [300, 1000, 2000, 4000]; // milliseconds between tries
const SENTENCES = { 403: "The server does not know this browser any more: open the address that it printed last." };
const BODY = 4e6, MOST = 20000; // bytes and changes of one request; the server takes 4 MiB, and as many changes
let busy = false, tries = 0, undoable = null, trouble = "", timer = 0;

export const waitingActs = () => waiting;
export const undoSentence = () => undoable?.what || "";
export const troubleNow = () => trouble;
export const countWaiting = () => waiting.reduce((sum, act) => sum + (act.changes?.length || 1), 0);

// A name that no other act has. randomUUID is there only where the address counts as safe.
export function newName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

export function noteUndo(fact) {
  undoable = fact;
  tell("queue");
}

// changes: [{id, do, label?, box?, image?, kind?}]; returns a promise of true once they are on disk.
export function act(changes, { audit = null, finished } = {}) {
  const bytes = new TextEncoder().encode(JSON.stringify(changes[0] ?? "")).length + 24; // they are all alike
  const parts = [], most = Math.min(MOST, Math.floor(BODY / bytes));
  for (let start = 0; start < Math.max(1, changes.length); start += most) {
    const part = changes.slice(start, start + most).map(change => ({ ...change, seen: change.id ? seqOf(change.id) : 0 }));
    parts.push(enqueue({ act: newName(), audit, changes: part, ...(finished === undefined ? {} : { finished }) }));
  }
  hope(changes.filter(change => change.id), audit !== null);
  return Promise.all(parts).then(all => all.every(Boolean));
}

export function undo() {
  return enqueue({ act: newName(), undo: true });
}

function enqueue(entry) {
  const done = new Promise(resolve => { entry.resolve = resolve; });
  waiting.push(entry);
  tell("queue");
  send();
  return done;
}

async function send() {
  if (busy || !waiting.length) return;
  busy = true;
  clearTimeout(timer);
  const entry = waiting[0], { resolve, undo: back, ...body } = entry;
  try {
    acknowledged(entry, await post(back ? "/api/undo" : "/api/act", { ...body, run: list.run }));
  } catch (error) {
    const final = error instanceof Refused && ![403, 503].includes(error.status) && error.status < 500;
    if (final) refused(entry, error);
    else again(error);
  }
  busy = false;
  tell("queue");
  if (waiting.length && !tries) send();
}

function acknowledged(entry, answer) {
  waiting.shift();
  tries = 0;
  trouble = "";
  const last = new Map(answer.changes.map(word => [word.id, word.seq]));
  for (const later of waiting) {
    for (const change of later.changes || []) if (last.has(change.id)) change.seen = last.get(change.id);
  }
  undoable = answer.undo;
  const changed = heard(answer.changes);
  forget(entry);
  if (entry.undo) {
    say(`Taken back: ${answer.undid}`);
    tell("undone", changed, answer);
  }
  tell("acknowledged", entry, answer);
  entry.resolve(true);
}

function refused(entry, error) {
  waiting.shift();
  tries = 0;
  trouble = "";
  heard(error.answer.changes || []);
  forget(entry);
  warn(error.message);
  tell("refused", entry);
  entry.resolve(false);
  if (!entry.undo && waiting[0]?.undo) waiting.shift().resolve(false); // meant for what was not written: not for older acts
}

function again(error) {
  tries += 1;
  trouble = SENTENCES[error.status] || error.message;
  timer = setTimeout(() => { tries = Math.max(1, tries); send(); }, PAUSES[Math.min(tries, PAUSES.length) - 1]);
}

function forget(entry) {
  const held = new Set(waiting.flatMap(act => (act.changes || []).map(change => change.id)));
  settleHopes((entry.changes || []).map(change => change.id), held);
}

export function tryNow() {
  send();
}

// Only where a person asks for it: what waits is given up, and the page shows what stands.
export function discard() {
  if (busy) return;
  clearTimeout(timer);
  for (const entry of waiting.splice(0)) { forget(entry); entry.resolve(false); }
  tries = 0;
  trouble = "";
  tell("queue");
}

addEventListener("beforeunload", event => {
  if (waiting.length) event.preventDefault();
});
