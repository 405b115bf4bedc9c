// Pictures, curves and the map.

const style = getComputedStyle(document.documentElement);
export const colour = (name) => style.getPropertyValue(`--${name}`).trim();

/** Draw a picture's bytes; a later picture is never overtaken by an earlier one. */
export class Screen {
  constructor(figure) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.asked = 0;
    this.drawn = 0;
  }

  async show(bytes) {
    const number = ++this.asked;
    const type = bytes[0] === 0x89 ? "image/png" : "image/jpeg";
    const image = await createImageBitmap(new Blob([bytes], { type }));
    if (number < this.drawn) return false;
    this.drawn = number;
    if (this.canvas.width !== image.width || this.canvas.height !== image.height) {
      this.canvas.width = image.width;
      this.canvas.height = image.height;
    }
    this.context.drawImage(image, 0, 0);
    image.close();
    return true;
  }
}

/** A curve over the steps with a mark at the present one; values may be null. With `fit` the range
 * is that of the values, else it holds 0, `low` and `high`. */
export function curve(canvas, values, at, { low, high, line, fit }) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const finite = values.filter((value) => value !== null && value !== undefined);
  const least = finite.reduce((a, b) => Math.min(a, b), Infinity);
  const most = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  const bottom = low ?? (fit && finite.length ? least : Math.min(0, least));
  const top = Math.max(fit ? most : Math.max(high ?? 0, most), bottom + 1e-6);
  const x = (i) => 1 + (i / Math.max(1, values.length - 1)) * (width - 2);
  const y = (value) => height - 3 - ((value - bottom) / (top - bottom)) * (height - 6);
  context.strokeStyle = colour("line");
  context.beginPath();
  context.moveTo(0, y(bottom));
  context.lineTo(width, y(bottom));
  context.stroke();
  context.strokeStyle = line;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  let open = false;
  values.forEach((value, i) => {
    if (value === null || value === undefined) open = false;
    else if (open) context.lineTo(x(i), y(value));
    else {
      context.moveTo(x(i), y(value));
      open = true;
    }
  });
  context.stroke();
  const now = values[at];
  if (now !== null && now !== undefined) {
    context.fillStyle = line;
    context.beginPath();
    context.arc(x(at), y(now), 2.6, 0, 7);
    context.fill();
  }
}

/** Seen from above: walls, the way that was gone, and where the dreamer believes to be. */
export function drawMap(canvas, layout, rows, at) {
  const context = canvas.getContext("2d");
  const size = canvas.width;
  context.clearRect(0, 0, size, size);
  const truth = rows.slice(0, at + 1).map((row) => row?.real?.truth).filter((x) => x?.agent_pos);
  const beliefs = rows.slice(0, at + 1).map((row) => row?.dream?.pose).filter(Boolean);
  if (!truth.length && !beliefs.length) return false;
  const placed = align(beliefs, truth[0]);
  const points = [...truth.map((one) => one.agent_pos), ...placed];
  let view = layout ? [0, 0, layout[0].length, layout.length] : bounds(points);
  const scale = size / Math.max(view[2] - view[0], view[3] - view[1]);
  const place = ([x, y]) => [(x - view[0]) * scale, size - (y - view[1]) * scale];
  context.fillStyle = colour("paper");
  context.fillRect(0, 0, size, size);
  layout?.forEach((row, y) =>
    row.forEach((free, x) => {
      if (free) return;
      const [left, bottom] = place([x, y]);
      context.fillStyle = colour("line");
      context.fillRect(left, bottom - scale, scale + 0.5, scale + 0.5);
    }),
  );
  const last = truth.at(-1);
  last?.targets_pos?.forEach((position, i) => {
    const [x, y] = place(position);
    context.beginPath();
    context.arc(x, y, scale * 0.2, 0, 7);
    context.fillStyle = i === last.target_index ? "#d29a35" : colour("soft");
    context.fill();
  });
  for (const [rank, mark] of (rows[at]?.dream?.landmarks ?? []).entries()) {
    const [x, y] = place(alignOne(mark, beliefs[0], truth[0]));
    context.beginPath();
    context.arc(x, y, scale * 0.13 + 4, 0, 7);
    context.strokeStyle = `rgba(210,154,53,${1 / (1 + rank / 3)})`;
    context.lineWidth = 3;
    context.stroke();
  }
  way(context, truth.map((one) => place(one.agent_pos)), colour("real"));
  way(context, placed.map(place), colour("dream"));
  if (last?.agent_dir) arrow(context, place(last.agent_pos), last.agent_dir, colour("real"), scale);
  const here = placed.at(-1);
  if (here) {
    arrow(context, place(here), [Math.cos(here[2]), Math.sin(here[2])], colour("dream"), scale);
  }
  return true;
}

/** Poses (x, y, angle) of the dreamer's own frame, laid so that the first is the true one. */
function align(beliefs, first) {
  return beliefs.map((pose) => alignOne(pose, beliefs[0], first));
}

function alignOne(pose, origin, first) {
  if (!first?.agent_dir || !origin) return pose;
  const turn = Math.atan2(first.agent_dir[1], first.agent_dir[0]) - origin[2];
  const dx = pose[0] - origin[0], dy = pose[1] - origin[1];
  return [
    first.agent_pos[0] + Math.cos(turn) * dx - Math.sin(turn) * dy,
    first.agent_pos[1] + Math.sin(turn) * dx + Math.cos(turn) * dy,
    pose[2] + turn,
  ];
}

function bounds(points) {
  const xs = points.map((point) => point[0]), ys = points.map((point) => point[1]);
  const side = Math.max(2, Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)) + 1;
  const x = (Math.max(...xs) + Math.min(...xs)) / 2, y = (Math.max(...ys) + Math.min(...ys)) / 2;
  return [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
}

function way(context, points, line) {
  context.strokeStyle = line;
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.globalAlpha = 0.75;
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
  context.globalAlpha = 1;
}

function arrow(context, [x, y], [dx, dy], fill, scale) {
  const size = Math.max(9, scale * 0.28);
  context.save();
  context.translate(x, y);
  context.rotate(Math.atan2(-dy, dx));
  context.fillStyle = fill;
  context.beginPath();
  context.moveTo(size, 0);
  context.lineTo(-size * 0.7, size * 0.65);
  context.lineTo(-size * 0.35, 0);
  context.lineTo(-size * 0.7, -size * 0.65);
  context.fill();
  context.restore();
}
