"""The table of clients for `docs/clients.md`."""

from __future__ import annotations

from typing import Any

from experiments.markdown import MISSING, table

HEADER = ("client", "what ran", "dream", "maze", "to change")


def clients_table(result: dict[str, Any]) -> str:
    """A row for each check, as Markdown."""
    rows = []
    for client in result["clients"].values():
        name = f"{client['client']}<br>{client['versions']}"
        if "missing" in client:
            rows.append([name, f"could not be imported: {client['missing']}", *[MISSING] * 3])
        for check in client["checks"]:
            cells = [check["what"], *(check.get(world) or MISSING for world in result["worlds"])]
            rows.append([name, *cells, check["change"]])
            name = ""
    return table(HEADER, rows, texts=len(HEADER))
