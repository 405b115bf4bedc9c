"""Draws the pictures of docs/how_it_works.md as SVG: `python scripts/draw_pictures.py`.

Fixed sizes, no fonts of its own, a white ground so that dark pages show them too.
"""

from __future__ import annotations

import random
from pathlib import Path

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
INK, SOFT, LINE, ARROW = "#1f2937", "#6b7280", "#94a3b8", "#64748b"
DREAM, REAL, MEMORY, JUDGE = "#4f46e5", "#0d9488", "#64748b", "#d97706"
FILL = {DREAM: "#eef2ff", REAL: "#f0fdfa", MEMORY: "#f8fafc", JUDGE: "#fffbeb"}
WIDTH = 752


def box(x: float, y: float, w: float, h: float, kind: str = DREAM) -> str:
    """A rounded rectangle in the colour of what it holds."""
    return (
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{FILL[kind]}" '
        f'stroke="{kind}" stroke-width="1.5"/>'
    )


def text(
    x: float, y: float, said: str, size: float = 14, fill: str = INK, at: str = "middle"
) -> str:
    """A line of text; headings are larger than 15."""
    weight = 600 if size >= 15 else 400
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{at}" '
        f'font-weight="{weight}">{said}</text>'
    )


def note(x: float, y: float, said: str, at: str = "middle") -> str:
    """A small remark."""
    return text(x, y, said, 13, SOFT, at)


def arrow(path: str, dashed: bool = False) -> str:
    """An arrow along an SVG path."""
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="{ARROW}" stroke-width="1.8"{dashes} '
        'marker-end="url(#to)"/>'
    )


def scene(x: float, y: float, size: int, nearer: float, kind: str, grain: float = 0) -> str:
    """A corridor with a ball, seen from `nearer`; `grain` of it is covered by noise."""
    cells = random.Random(f"{x} {y}")
    parts = [
        f'<g transform="translate({x} {y})">',
        f'<rect width="{size}" height="{size}" fill="{FILL[kind]}"/>',
        f'<path d="M0 {size} {20 + nearer} 40H{46 - nearer / 2}L{size} {size}z" fill="{LINE}" '
        'opacity=".6"/>',
        f'<path d="M0 4 {20 + nearer} 24H{46 - nearer / 2}L{size} 4" fill="none" stroke="{LINE}"/>',
        f'<circle cx="{34 - nearer}" cy="42" r="{4 + 0.8 * nearer}" fill="#ef4444"/>',
    ]
    for cell in range(64 if grain else 0):
        grey = cells.randint(60, 235)
        parts.append(
            f'<rect x="{cell % 8 * size / 8}" y="{cell // 8 * size / 8}" width="{size / 8}" '
            f'height="{size / 8}" fill="rgb({grey},{grey},{grey})" opacity="{grain}"/>'
        )
    edge = "" if kind == REAL else ' stroke-dasharray="5 3"'
    parts.append(
        f'<rect width="{size}" height="{size}" rx="3" fill="none" stroke="{kind}" '
        f'stroke-width="1.8"{edge}/></g>'
    )
    return "".join(parts)


def flow() -> tuple[int, list[str]]:
    """From the real environment to agents, and the comparison below."""
    rooms = [("real env", "Gymnasium", REAL), ("rollouts", "the truth", REAL)]
    rooms += [("world model", "predicts", DREAM), ("dream", "Gymnasium again", DREAM)]
    rooms += [("agents", "act and learn", DREAM)]
    parts = []
    for i, (name, does, kind) in enumerate(rooms):
        x = 20 + 148 * i
        parts += [box(x, 20, 120, 64, kind), text(x + 60, 47, name, 16), note(x + 60, 69, does)]
        if i < 4:
            parts.append(arrow(f"M{x + 120} 52H{x + 146}"))
        if i in (0, 3):
            parts.append(arrow(f"M{x + 60} 84V124"))
    said = "evaluation: the same agents from the same places in both worlds"
    parts += [box(20, 126, 564, 48, JUDGE), text(302, 155, said), arrow("M672 84V150H587")]
    return 192, parts


def episode() -> tuple[int, list[str]]:
    """Real frames that are watched, then imagined ones."""
    parts = [text(127, 30, "a spawn: real frames", 15, REAL), text(490, 30, "imagined", 15, DREAM)]
    parts.append(f'<path d="M252 18V202" stroke="{LINE}" stroke-dasharray="4 4"/>')
    places = [20 + 76 * i for i in range(3)] + [272 + 124 * i for i in range(4)]
    for i, x in enumerate(places):
        parts += [scene(x, 46, 62, i, REAL if i < 3 else DREAM), arrow(f"M{x + 31} 110V150")]
        if i > 3:
            parts += [arrow(f"M{x - 60} 78H{x - 3}"), note(x - 31, 68, "action")]
            parts.append(note(x + 24, 134, "reward, end?", "end"))
    parts += [box(20, 152, 712, 46, MEMORY)]
    said = "memory of fixed size: the scans' states, keys and values of the last frames"
    return 216, [*parts, text(376, 180, said)]


def frame() -> tuple[int, list[str]]:
    """From noise to a frame in K passes."""
    parts = []
    for i, (grain, said) in enumerate(
        [(1, "noise"), (0.7, "pass 1"), (0.35, "pass 2"), (0, "pass K")]
    ):
        x = 40 + 150 * i
        parts += [scene(x, 38, 64, 3, DREAM, grain), note(x + 32, 27, said)]
        if i:
            parts += [arrow(f"M{x - 84} 70H{x - 3}"), arrow(f"M{x + 32} 168V106", dashed=True)]
            parts.append(note(x + 40, 142, "reads", "start"))
    parts += [arrow("M556 70H645"), note(600, 60, "is written"), box(648, 40, 84, 60)]
    parts += [text(690, 66, "reward"), text(690, 87, "end?"), arrow("M690 100V166")]
    parts += [note(682, 142, "writes", "end"), box(40, 168, 692, 44, MEMORY)]
    return 230, [*parts, text(386, 195, "memory, and the action that leads to this frame")]


def blocks(x: float, y: float, side: int) -> str:
    """A grid of 4 × 4 tokens, cut into blocks."""
    shades = ("#c7d2fe", "#99f6e4", "#fde68a", "#fecaca")
    parts = []
    for token in range(16):
        i, j = token % 4, token // 4
        shade = shades[(i // side + 2 * (j // side)) % 4]
        parts.append(
            f'<rect x="{x + 15 * i}" y="{y + 15 * j}" width="15" height="15" fill="{shade}" '
            'stroke="#ffffff"/>'
        )
    for i in range(0, 4, side):
        for j in range(0, 4, side):
            parts.append(
                f'<rect x="{x + 15 * i}" y="{y + 15 * j}" width="{15 * side}" '
                f'height="{15 * side}" fill="none" stroke="{DREAM}" stroke-width="1.6"/>'
            )
    return "".join(parts)


def layer() -> tuple[int, list[str]]:
    """What is in a layer of the network."""
    parts = [text(20, 28, "1. scan through time, block by block", 15, at="start")]
    for row, (side, said) in enumerate([(4, "one block"), (2, "four"), (1, "sixteen")]):
        y = 46 + 74 * row
        parts += [note(84, y + 28, said, "end"), note(84, y + 46, f"{side} × {side}", "end")]
        for t in range(3):
            parts.append(blocks(98 + 84 * t, y, side))
            if t < 2:
                parts.append(arrow(f"M{160 + 84 * t} {y + 30}H{180 + 84 * t}"))
    parts.append(note(20, 290, "time goes right; large and small blocks alternate", "start"))
    parts.append(text(376, 28, "2. attention, last frames", 15, at="start"))
    for t in range(4):
        parts.append(box(380 + 46 * t, 74, 34, 34, REAL if t < 3 else DREAM))
    for t in range(3):
        x = 397 + 46 * t
        parts.append(arrow(f"M535 72C{525 - 8 * t} {56 - 6 * (3 - t)} {x + 8} {44} {x} 70"))
    parts += [note(376, 130, "a ring: the oldest falls out", "start")]
    parts += [text(376, 176, "3. MLP", 15, at="start"), box(380, 190, 172, 40, JUDGE)]
    parts += [text(466, 215, "each token by itself"), box(600, 66, 132, 164, MEMORY)]
    parts += [
        text(666, 96, "adaptive norm", 15),
        text(666, 128, "noise level"),
        text(666, 150, "+"),
    ]
    parts += [text(666, 172, "action"), note(666, 208, "tell every part")]
    parts += [arrow("M600 92H562"), arrow("M600 210H556")]
    return 308, parts


def main() -> None:
    """Write all of them."""
    PICTURES.mkdir(exist_ok=True)
    for draw in (flow, episode, frame, layer):
        height, parts = draw()
        said = (draw.__doc__ or "").rstrip(".")
        body = "\n".join(parts)
        (PICTURES / f"{draw.__name__}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{said}" '
            'font-family="Roboto,Helvetica,Arial,sans-serif">\n'
            '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{ARROW}"/>'
            "</marker></defs>\n"
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#ffffff"/>\n{body}\n</svg>\n',
            "utf-8",
        )


if __name__ == "__main__":
    main()
