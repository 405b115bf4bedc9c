// A checkpoint: its facts and card, and dreams that are made now: strips, and how they age.

import { colour } from "./draw.js";
import { Curve, card, element, fetchJson } from "./parts.js";
import { unpack } from "./wire.js";

const CURVES = {
  trust: { title: "trust", low: 0, high: 1, line: "dream" },
  uncertainty: { title: "uncertainty", low: 0, line: "soft" },
  sharpness: { title: "sharpness, share of the real frames'", low: 0, high: 1, line: "accent" },
  motion: { title: "motion, share of the real frames'", low: 0, high: 1, line: "real" },
  expected: { title: "expected reward per step", low: 0, line: "accent" },
};

export async function showCheckpoint(part, base) {
  const told = await fetchJson(`${base}/checkpoint`);
  const facts = element("table", {}, told.facts.map((row) => element("tr", {}, row.map((text) => element("td", { textContent: text })))));
  const strips = element("div", { className: "scroll" });
  const charts = element("div", { className: "charts" });
  const passes = element("input", { type: "number", min: 1, max: 64, placeholder: "own" });
  const seed = element("input", { type: "number", min: 0, value: 0 });
  const button = element("button", { textContent: "Dream", className: "main" });
  const actions = element("div", { className: "actions" }, [
    button,
    element("label", {}, ["passes K", passes]),
    element("label", {}, ["seed", seed]),
  ]);
  card(
    part,
    "Checkpoint",
    element("div", { className: "two" }, [facts, element("details", { open: told.card.length < 1500 }, [element("summary", { textContent: "card" }), element("pre", { textContent: told.card || "no card" })])]),
    element("h2", { textContent: "Eight dreams under sticky random actions, from spawns; above each column its imagined step" }),
    actions,
    strips,
    charts,
    ...told.pictures.map((name) => element("img", { className: "fit", src: `${base}/picture/${name}`, alt: name })),
  );
  const curves = new Map();
  async function dream() {
    button.disabled = true;
    strips.replaceChildren(element("p", { className: "quiet", textContent: "dreaming …" }));
    try {
      const answer = await fetch(`${base}/glimpse?passes=${passes.value || 0}&seed=${seed.value || 0}`);
      if (!answer.ok) throw new Error((await answer.json()).error ?? answer.statusText);
      const [header, [png]] = unpack(await answer.arrayBuffer());
      const image = await createImageBitmap(new Blob([png], { type: "image/png" }));
      strips.replaceChildren(labelled(image, header.labels));
      for (const [name, { title, line, ...range }] of Object.entries(CURVES)) {
        if (!header.curves[name]) continue;
        if (!curves.has(name)) {
          curves.set(name, new Curve(title, { ...range, line: colour(line) }));
          charts.append(curves.get(name).node);
        }
        curves.get(name).draw(header.curves[name], undefined, header.curves[name].map((_, i) => i));
      }
    } catch (error) {
      strips.replaceChildren(element("p", { className: "quiet", textContent: error.message }));
    }
    button.disabled = false;
  }
  button.onclick = dream;
  await dream();
}

/** The strips with the step above each column. */
function labelled(image, labels) {
  const head = 22, canvas = element("canvas", { width: image.width, height: image.height + head });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, head);
  context.fillStyle = colour("soft");
  context.font = "13px system-ui, sans-serif";
  context.textAlign = "center";
  labels.forEach((text, i) => context.fillText(text, ((i + 0.5) * image.width) / labels.length, 15));
  return canvas;
}
