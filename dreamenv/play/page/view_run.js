// A training: its metrics while it goes on. TensorBoard shows more, and is linked.

import { colour } from "./draw.js";
import { Curve, card, element, fetchJson } from "./parts.js";

const EVERY = 5000; // milliseconds between two looks

export async function showRun(part, base, about) {
  const line = element("p", { className: "quiet" });
  const body = element("div");
  const more = about.tensorboard
    ? element("a", { href: about.tensorboard, textContent: "TensorBoard", target: "_blank", rel: "noopener" })
    : element("pre");
  card(part, "Training", line, body, element("h2", { textContent: "strips and everything else" }), more);
  const curves = new Map();
  let records = 0;

  async function look() {
    if (document.hidden && records) return;
    const told = await fetchJson(`${base}/run?after=${records}`);
    if (!about.tensorboard) more.textContent = `tensorboard --logdir ${told.logs}`;
    if (told.records === records) return;
    records = told.records;
    const hours = (told.seconds ?? 0) / 3600;
    line.textContent = `${told.stage ?? "nothing noted yet"} · update ${told.step ?? 0} · ${hours < 1 ? `${(hours * 60).toFixed(0)} minutes` : `${hours.toFixed(1)} hours`}`;
    for (const [title, chart] of Object.entries(told.charts)) {
      if (!curves.has(title)) {
        const grid = element("div", { className: "charts" });
        body.append(element("h2", { textContent: title }), grid);
        curves.set(title, { grid, each: new Map() });
      }
      const { grid, each } = curves.get(title);
      for (const [name, points] of Object.entries(chart)) {
        if (!each.has(name)) {
          each.set(name, new Curve(name.replaceAll("_", " "), { line: colour("accent"), fit: true }));
          grid.append(each.get(name).node);
        }
        each.get(name).draw(points.map((point) => point[1]), undefined, points.map((point) => point[0]));
      }
    }
  }
  await look();
  const timer = setInterval(() => look().catch(() => {}), EVERY);
  return () => clearInterval(timer);
}
