// What `dreamenv view` shows: one tab for each path, in it a part for each kind of thing there.

import { card, element, fetchJson, notice } from "./parts.js";
import { showCheckpoint } from "./view_checkpoint.js";
import { showRollouts } from "./view_rollouts.js";
import { showRun } from "./view_run.js";

const main = document.getElementById("main");
const shows = { rollouts: showRollouts, run: showRun, checkpoint: showCheckpoint, life, gap };
let stop = [];

async function begin() {
  const about = await fetchJson("/api");
  const tabs = about.things.map((thing, index) => {
    const tab = element("button", { textContent: thing.name, title: thing.name });
    tab.onclick = () => show(index);
    return tab;
  });
  document.getElementById("things").replaceChildren(...tabs);

  async function show(index) {
    stop.forEach((end) => end?.());
    stop = [];
    tabs.forEach((tab, i) => tab.setAttribute("aria-pressed", i === index));
    const { kinds } = about.things[index];
    const parts = kinds.map(() => element("div", { className: "card", textContent: "…" }));
    main.replaceChildren(...parts);
    for (const [i, kind] of kinds.entries()) {
      try {
        stop.push(await shows[kind](parts[i], `/api/${index}`, about));
      } catch (error) {
        parts[i].textContent = error.message;
      }
    }
  }
  const wanted = Number(location.hash.slice(1)) || 0;
  await show(Math.min(wanted, tabs.length - 1));
}

async function life(part, base) {
  const told = await fetchJson(`${base}/life`);
  const [head, ...rows] = told.rows;
  const table = element("table");
  table.append(element("tr", {}, head.map((text) => element("th", { textContent: text }))));
  for (const row of rows) {
    table.append(element("tr", {}, row.map((text) => element("td", { textContent: text }))));
  }
  card(part, "Does it live, keep its world, and pay?", element("div", { className: "scroll" }, [table]));
  if (told.picture) {
    part.append(element("img", { className: "fit", src: `${base}/picture/${told.picture}`, alt: "strips" }));
  }
  part.append(element("pre", { textContent: told.command }));
}

async function gap(part, base) {
  const link = element("a", { href: `${base}/gap`, textContent: "the report" });
  card(part, "How far agents in the dream are from those in the real environment", link);
}

begin().catch((error) => notice(error.message, true));
