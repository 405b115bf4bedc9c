// The page of one session.

import { Screen, colour, curve, drawMap } from "./draw.js";
import { Hands, keyName } from "./hands.js";
import { Wire } from "./wire.js";

const $ = (id) => document.getElementById(id);
const screens = { dream: new Screen($("dream")), real: new Screen($("real")) };
const how = $("how");
const SERIES = {
  expected: { world: "dream", high: 0.1, line: "accent", digits: 2 },
  trust: { world: "dream", low: 0, high: 1, line: "dream", digits: 2 },
  uncertainty: { world: "dream", low: 0, line: "soft", digits: 1 },
  apart: { world: "real", low: 0, high: 0.1, line: "bad", digits: 3 },
};
const state = { rows: [], header: null, begun: null, drawn: [], delays: [], asked: new Map(), n: 0 };
window.dreamenv = state; // for whoever measures the page

const hands = new Hands($("pad"), (action) => {
  state.n += 1;
  state.asked.set(state.n, performance.now());
  if (state.header?.paused && action !== null) wire.say("step", { action, n: state.n });
  else wire.say("act", { action, n: state.n });
});

const wire = new Wire(
  {
    welcome(message) {
      state.session = message.session;
      fill(how.checkpoint, message.checkpoints);
      const agents = message.agents.map((name) => [name, name]);
      fill($("agent"), [["", "you"], ...agents]);
      state.starts = message.starts;
      how.fps.value = message.fps;
    },
    begun,
    branches,
    frame,
    starts(message) {
      state.starts = message.starts;
      fillStarts();
    },
    notice: (message) => notice(message.text, message.bad),
    file(message, parts) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(parts));
      link.download = message.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    },
  },
  (kind, text, reason) => {
    status(kind, text);
    if (reason) notice(reason, kind === "bad");
  },
);

state.wire = wire;

function begun(message) {
  state.begun = message;
  state.asked.clear();
  $("env").textContent = message.env;
  for (const part of document.querySelectorAll("[data-dream]")) part.hidden = !message.dreams;
  $("beside").hidden = !message.dreams;
  $("beside").setAttribute("aria-pressed", message.real);
  $("gauges").hidden = !message.dreams;
  how.horizon.value = message.horizon;
  if (message.dreams) {
    how.checkpoint.value = message.checkpoint;
    how.passes.value = message.passes;
  }
  fillStarts();
  hands.learn(message.controls, message.idle);
  nameShortcuts();
  branches(message);
}

function branches(message) {
  state.rows = message.history;
  const chips = message.branches.map((branch, index) => {
    const chip = document.createElement("button");
    chip.textContent = `way ${branch.name}`;
    chip.setAttribute("aria-pressed", index === message.branch);
    chip.onclick = () => wire.say("branch", { index });
    return chip;
  });
  $("branches").replaceChildren(...(chips.length > 1 ? chips : []));
}

async function frame(header, parts) {
  state.header = header;
  const row = {};
  for (const world of header.worlds) row[world] = header[world];
  state.rows.length = header.last + 1;
  state.rows[header.step] = row;
  for (const [name, screen] of Object.entries(screens)) {
    screen.figure.hidden = !header.worlds.includes(name);
  }
  tell(header);
  const shown = await Promise.all(header.worlds.map((name, i) => screens[name].show(parts[i])));
  if (!shown.every(Boolean)) return;
  const now = performance.now();
  state.drawn.push(now);
  if (state.drawn.length > 2000) state.drawn.splice(0, 1000);
  for (const [n, asked] of state.asked) {
    if (n <= header.n) {
      state.asked.delete(n);
      state.delays.push(now - asked);
    }
  }
}

function tell(header) {
  $("slider").max = header.last;
  $("slider").value = header.step;
  $("step").textContent = `${header.step} / ${state.begun?.horizon ?? ""}`;
  $("pause").firstChild.textContent = header.paused || header.over ? "Play" : "Pause";
  const over = {
    terminated: "The episode has ended.",
    truncated: "The time is up.",
    horizon: "The horizon is reached.",
  }[header.over];
  $("over").hidden = !over;
  $("over").textContent = over ? `${over} New begins another.` : "";
  status(header.over || header.paused ? "" : "live", header.over ? "over" : header.paused ? "paused" : header.agent ?? "live");
  $("agent").value = header.agent ?? "";
  for (const name of header.worlds) {
    const told = header[name];
    const paid = told.reward ? `  +${told.reward}` : "";
    const over = name === "real" && told.over ? "  over" : "";
    screens[name].figure.querySelector(".told").textContent = `return ${told.return}${paid}${over}`;
  }
}

// Curves and the map are drawn a few times a second, pictures at every step.
setInterval(() => {
  if (!state.header || document.hidden) return;
  const { step } = state.header;
  for (const gauge of document.querySelectorAll(".gauge")) {
    const { world, line, digits, ...range } = SERIES[gauge.dataset.series];
    const values = state.rows.map((row) => row?.[world]?.[gauge.dataset.series] ?? null);
    gauge.hidden = values.every((value) => value === null);
    if (gauge.hidden) continue;
    curve(gauge.querySelector("canvas"), values, step, { ...range, line: colour(line) });
    const value = values[step];
    gauge.querySelector("output").textContent = value === null || value === undefined ? "–" : value.toFixed(digits);
  }
  const mapped = state.rows.some((row) => row?.real?.truth?.agent_pos || row?.dream?.pose);
  $("place").hidden = !mapped;
  if (mapped) {
    drawMap($("map"), state.begun.layout, state.rows, step);
    document.querySelector(".believed").hidden = !state.rows.some((row) => row?.dream?.pose);
    document.querySelector(".seen").hidden = !state.rows.some((row) => row?.dream?.landmarks);
  }
  const since = performance.now() - 2000;
  const recent = state.drawn.filter((time) => time > since).length / 2;
  const delay = state.delays.length ? ` · ${median(state.delays.slice(-15)).toFixed(0)} ms` : "";
  $("rate").textContent = recent ? `${recent.toFixed(0)} fps${delay}` : "";
}, 200);

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function status(kind, text) {
  $("status").className = `pill ${kind}`;
  $("status").textContent = text;
}

function notice(text, bad) {
  const line = document.createElement("p");
  line.textContent = text;
  if (bad) line.className = "bad";
  $("notices").append(line);
  setTimeout(() => line.remove(), bad ? 9000 : 5000);
}

function fill(select, entries) {
  const options = entries.map((entry) => {
    const [value, text] = Array.isArray(entry) ? entry : [entry, entry];
    return new Option(text, value);
  });
  select.replaceChildren(...options);
}

function fillStarts() {
  const count = state.begun?.spawns ?? 0;
  const spawns = Array.from({ length: count }, (_, i) => [`spawn:${i}`, `spawn ${i}`]);
  const saved = (state.starts ?? []).map((name) => [`start:${name}`, name]);
  const before = how.start.value;
  fill(how.start, [["", "drawn"], ...spawns, ...saved]);
  how.start.value = [...how.start.options].some((x) => x.value === before) ? before : "";
}

const whole = (text) => (text === "" ? null : Number(text));

const commands = {
  new: () => wire.say("begin", {}),
  again() {
    const { seed, spawn, start } = state.begun;
    wire.say("begin", { seed, spawn: spawn < 0 ? null : spawn, start: start || null });
  },
  back: () => wire.say("go", { step: Math.max(0, state.header.step - 1) }),
  forward() {
    const { step, last } = state.header;
    if (step < last) wire.say("go", { step: step + 1 });
    else wire.say("step", { action: null, n: state.n });
  },
  pause() {
    if (state.header.over) commands.new();
    else wire.say("pause", { on: !state.header.paused });
  },
  fork: () => wire.say("fork"),
  beside() {
    if (!state.begun.real) notice("The real environment is on its way here …");
    wire.say("real", { on: !state.begun.real });
  },
};
const SHORTCUTS = { new: "n", again: "m", back: ",", pause: " ", forward: ".", fork: "f", beside: "r" };

/** Where the environment uses a key itself, the command is on Shift and that key. */
function nameShortcuts() {
  for (const [name, key] of Object.entries(SHORTCUTS)) {
    $(name).querySelector("kbd")?.remove();
    const kbd = document.createElement("kbd");
    kbd.textContent = (hands.keys.has(key) ? "⇧ " : "") + keyName(key);
    $(name).append(kbd);
  }
}

for (const [name, command] of Object.entries(commands)) {
  $(name).onclick = (event) => {
    command();
    event.currentTarget.blur(); // or the space bar would press it again
  };
}

addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const command = Object.keys(SHORTCUTS).find((name) => SHORTCUTS[name] === key);
  if (command && (event.shiftKey || !hands.keys?.has(key))) {
    if (!event.repeat || command === "back" || command === "forward") commands[command]();
  } else if (!hands.press(key)) return;
  event.preventDefault();
});
addEventListener("keyup", (event) => hands.lift(event.key.length === 1 ? event.key.toLowerCase() : event.key));

$("slider").oninput = () => wire.say("go", { step: Number($("slider").value) });
$("agent").onchange = () => {
  wire.say("agent", { name: $("agent").value || null });
  $("agent").blur();
};
how.fps.onchange = () => wire.say("speed", { fps: Number(how.fps.value) });
how.onsubmit = (event) => {
  event.preventDefault();
  const [kind, value] = how.start.value.split(/:(.*)/);
  const dream = state.begun.dreams;
  wire.say("begin", {
    checkpoint: dream ? how.checkpoint.value : null,
    // Another checkpoint has its own number of passes.
    passes: dream && how.checkpoint.value === state.begun.checkpoint ? whole(how.passes.value) : null,
    horizon: whole(how.horizon.value),
    seed: whole(how.seed.value),
    spawn: kind === "spawn" ? Number(value) : null,
    start: kind === "start" ? value : null,
  });
  document.activeElement.blur();
};
for (const button of document.querySelectorAll("[data-save]")) {
  button.onclick = () => {
    wire.say("save", { what: button.dataset.save });
    button.blur();
  };
}
