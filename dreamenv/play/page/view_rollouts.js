// Episodes of a rollout store: frames to scroll through, rewards, actions, and the way on the map.

import { drawMap } from "./draw.js";
import { Curve, card, element, fetchJson } from "./parts.js";

const CHUNK = 64; // frames that are fetched at once

export async function showRollouts(part, base) {
  const store = await fetchJson(`${base}/rollouts`);
  const list = element("table", { className: "list" });
  list.append(element("tr", {}, ["#", "policy", "steps", "return", "rewards"].map((text) => element("th", { textContent: text }))));
  const player = element("div");
  const rows = store.episodes.map((episode, number) => {
    const cells = [number, episode.policy || "–", episode.steps, episode.return, episode.events];
    const row = element("tr", {}, cells.map((text) => element("td", { textContent: text ?? "–" })));
    row.onclick = () => choose(number);
    return row;
  });
  list.append(...rows);
  const about = element("details", {}, [element("summary", { textContent: "about this store" }), element("pre", { textContent: store.about })]);
  card(part, `Rollouts of ${store.env}`, element("div", { className: "two" }, [list, player]), about);

  let playing = null;
  async function choose(number) {
    playing?.stop();
    rows.forEach((row, i) => row.classList.toggle("chosen", i === number));
    playing = new Episode(player, `${base}/rollouts/${number}`, store, await fetchJson(`${base}/rollouts/${number}`), store.episodes[number]);
    await playing.show(0);
  }
  if (rows.length) await choose(0);
  const keys = (event) => {
    if (event.target.closest("input, select") || !playing) return;
    const by = { ArrowRight: 1, ArrowLeft: -1, ".": 1, ",": -1 }[event.key];
    if (by) playing.show(playing.at + by * (event.shiftKey ? 10 : 1));
    else if (event.key === " ") playing.toggle();
    else return;
    event.preventDefault();
  };
  addEventListener("keydown", keys);
  return () => {
    playing?.stop();
    removeEventListener("keydown", keys);
  };
}

class Episode {
  constructor(node, base, store, told, about) {
    Object.assign(this, { base, store, told, last: about.steps, at: 0, chunks: new Map() });
    this.canvas = element("canvas", { width: store.size[1], height: store.size[0] });
    this.slider = element("input", { type: "range", min: 0, max: this.last, value: 0 });
    this.slider.setAttribute("aria-label", "step");
    this.button = element("button", { textContent: "Play", className: "main" });
    this.text = element("span", { className: "quiet" });
    this.rewards = new Curve("return so far");
    this.map = element("canvas", { className: "map", width: 480, height: 480, hidden: !told.poses });
    let sum = 0;
    this.returns = [0, ...told.rewards.map((reward) => (sum += reward))];
    // In the form in which a session tells where it has been.
    this.rows = (told.poses ?? []).map((pose) => ({ real: { truth: { agent_pos: pose, agent_dir: pose.length > 3 ? pose.slice(2) : null } } }));
    this.slider.oninput = () => this.show(Number(this.slider.value));
    this.button.onclick = () => this.toggle();
    const bar = element("div", { className: "bar" }, [this.button, this.slider]);
    bar.style.flex = "1 1 100%";
    this.slider.style.flex = "1";
    const side = element("div", { className: "side" }, [this.text, this.rewards.node, this.map]);
    node.replaceChildren(element("div", { className: "player" }, [this.canvas, side, bar]));
  }

  chunk(number) {
    if (!this.chunks.has(number)) {
      const image = new Image();
      image.src = `${this.base}/frames?start=${number * CHUNK}&count=${CHUNK}`;
      this.chunks.set(number, image.decode().then(() => image));
      if (this.chunks.size > 40) this.chunks.delete(this.chunks.keys().next().value);
    }
    return this.chunks.get(number);
  }

  async show(step) {
    this.at = Math.max(0, Math.min(this.last, step));
    const wanted = this.at, number = Math.floor(wanted / CHUNK);
    this.slider.value = wanted;
    const image = await this.chunk(number);
    if ((number + 1) * CHUNK <= this.last) this.chunk(number + 1).catch(() => {});
    if (wanted !== this.at) return;
    const { width, height } = this.canvas;
    this.canvas.getContext("2d").drawImage(image, 0, (wanted % CHUNK) * height, width, height, 0, 0, width, height);
    const action = this.told.actions[wanted - 1];
    const name = this.store.actions[action] ?? JSON.stringify(action);
    const reward = this.told.rewards[wanted - 1];
    const end = wanted === this.last ? (this.told.terminated ? " · terminated" : " · cut off") : "";
    this.text.textContent = wanted ? `step ${wanted} of ${this.last} · after ${name} · reward ${reward}${end}` : `step 0 of ${this.last} · the beginning`;
    this.rewards.draw(this.returns, wanted);
    if (this.told.poses) drawMap(this.map, this.told.layout, this.rows, wanted);
  }

  toggle() {
    if (this.timer) return this.stop();
    this.button.textContent = "Pause";
    if (this.at >= this.last) this.at = -1;
    this.timer = setInterval(() => (this.at < this.last ? this.show(this.at + 1) : this.stop()), 70);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }
}
