// What the pages of `dreamenv view` are built from.

import { colour, curve } from "./draw.js";

export function element(name, fields = {}, children = []) {
  const made = document.createElement(name);
  Object.assign(made, fields);
  made.append(...children);
  return made;
}

export function card(part, title, ...children) {
  part.className = "card";
  part.replaceChildren(element("h2", { textContent: title }), ...children);
}

export async function fetchJson(address) {
  const answer = await fetch(address);
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? `${answer.status} ${answer.statusText}`);
  return told;
}

export function notice(text, bad) {
  const line = element("p", { textContent: text, className: bad ? "bad" : "" });
  document.getElementById("notices").append(line);
  setTimeout(() => line.remove(), 9000);
}

/** A named curve with its value at the pointer, else at its end; `draw` is to be called again. */
export class Curve {
  constructor(title, range = {}) {
    this.title = title;
    this.range = { line: colour("accent"), ...range };
    this.output = element("output");
    this.canvas = element("canvas");
    this.node = element("div", { className: "curve" }, [element("span", { textContent: title }), this.output, this.canvas]);
    this.canvas.onpointermove = (event) => {
      const share = (event.offsetX - 1) / Math.max(1, this.canvas.clientWidth - 2);
      this.pointed = Math.round(share * (this.values.length - 1));
      this.draw(this.values, this.at, this.xs);
    };
    this.canvas.onpointerleave = () => {
      this.pointed = null;
      this.draw(this.values, this.at, this.xs);
    };
  }

  draw(values, at = values.length - 1, xs = null) {
    Object.assign(this, { values, at, xs });
    const here = Math.max(0, Math.min(values.length - 1, this.pointed ?? at));
    curve(this.canvas, values, here, this.range);
    const value = values[here];
    const where = xs ? `${xs[here]}: ` : "";
    this.output.textContent = value === null || value === undefined ? "–" : where + Number(value.toPrecision(4));
  }
}
