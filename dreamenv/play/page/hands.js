// Keys and buttons that are held → the action of this moment.

export class Hands {
  /** `changed` is called with the action (null: nothing is held) whenever it changes. */
  constructor(pad, changed) {
    this.pad = pad;
    this.changed = changed;
    this.down = new Set();
    this.buttons = new Map(); // pointer → control
    this.controls = [];
    this.last = "null";
    addEventListener("blur", () => this.release());
    document.addEventListener("visibilitychange", () => document.hidden && this.release());
  }

  learn(controls, idle) {
    this.controls = controls;
    this.idle = idle;
    this.keys = new Set(controls.flatMap((control) => control.keys));
    this.release();
    const shown = new Map();
    for (const control of controls) {
      const name = JSON.stringify(control.action);
      const found = shown.get(name);
      if (!found) shown.set(name, { control, keys: [control.keys] });
      else found.keys.push(control.keys);
    }
    this.pad.replaceChildren(...[...shown.values()].map((one) => this.button(one)));
  }

  button({ control, keys }) {
    const button = document.createElement("button");
    button.append(control.label);
    for (const each of keys.slice(0, 2)) {
      if (!each.length) continue;
      const kbd = document.createElement("kbd");
      kbd.textContent = each.map(keyName).join(" ");
      button.append(kbd);
    }
    button.dataset.action = JSON.stringify(control.action);
    const up = (event) => {
      this.buttons.delete(event.pointerId);
      this.tell();
    };
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      button.setPointerCapture(event.pointerId);
      this.buttons.set(event.pointerId, control);
      this.tell();
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      button.addEventListener(name, up);
    }
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    return button;
  }

  /** Whether a key belongs to the environment. */
  press(key) {
    if (!this.keys?.has(key)) return false;
    this.down.add(key);
    this.tell();
    return true;
  }

  lift(key) {
    if (this.down.delete(key)) this.tell();
  }

  release() {
    this.down.clear();
    this.buttons.clear();
    this.tell();
  }

  action() {
    const pressed = [...this.buttons.values()];
    const held = this.controls.filter(
      (control) =>
        pressed.includes(control) ||
        (control.keys.length && control.keys.every((key) => this.down.has(key))),
    );
    if (!held.length) return null;
    if (Array.isArray(this.idle)) {
      return this.idle.map((rest, i) => {
        const all = [rest, ...this.controls.map((control) => control.action[i])];
        const sum = held.reduce((total, control) => total + control.action[i] - rest, rest);
        return Math.max(Math.min(...all), Math.min(Math.max(...all), sum));
      });
    }
    // Keys that are held together mean one action, if the environment has it.
    const keys = new Set(held.flatMap((control) => control.keys));
    const fitting = this.controls.filter(
      (control) => control.keys.length && control.keys.every((key) => keys.has(key)),
    );
    const most = Math.max(0, ...fitting.map((control) => control.keys.length));
    return (fitting.filter((control) => control.keys.length === most).at(-1) ?? held.at(-1)).action;
  }

  tell() {
    const action = this.action();
    const text = JSON.stringify(action);
    for (const button of this.pad.children) {
      button.classList.toggle("held", button.dataset.action === text);
    }
    if (text !== this.last) {
      this.last = text;
      this.changed(action);
    }
  }
}

const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "space" };

export const keyName = (key) => NAMES[key] ?? key;
