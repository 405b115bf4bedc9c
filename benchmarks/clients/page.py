"""The table of clients for `docs/clients.md`."""

from __future__ import annotations

from typing import Any

HEADER = ("client", "what ran", "dream", "maze", "to change")


def table(result: dict[str, Any]) -> str:
    """A row for each check, as Markdown."""
    rows = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for client in result["clients"].values():
        name = f"{client['client']}<br>{client['versions']}"
        if "missing" in client:
            rows.append(f"| {name} | could not be imported: {client['missing']} | – | – | – |")
        for check in client["checks"]:
            cells = [check["what"], *(_cell(check.get(world)) for world in result["worlds"])]
            rows.append(f"| {name} | {' | '.join([*cells, check['change']])} |")
            name = ""
    return "\n".join(rows) + "\n"


def _cell(outcome: str | None) -> str:
    return "–" if outcome is None else outcome.replace("|", "\\|")
