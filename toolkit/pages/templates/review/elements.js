// Makes and finds elements. Every text becomes text, never markup: names of files and classes are hostile.

export const at = id => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

// A button that says its key: the key is part of what is seen, and told to assistive technology apart.
export function button(text, key, does, more = {}) {
  const parts = [key ? make("kbd", { "aria-hidden": "true" }, key) : null, text || null];
  return make("button", { type: "button", "aria-keyshortcuts": key || null, onclick: does, ...more }, ...parts);
}

// Signs that cannot be seen, or that turn the direction of a text, as escapes: no name can disguise itself.
export function shown(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, sign => {
    const code = sign.codePointAt(0).toString(16);
    return code.length > 4 ? "\\U" + code.padStart(8, "0") : "\\u" + code.padStart(4, "0");
  });
}

const numbers = new Intl.NumberFormat("en");
export const count = number => numbers.format(number);

export const many = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

export function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}
