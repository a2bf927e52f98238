"""axe-core over a page as it stands: what it calls serious or critical, and text whose contrast is too low."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_SERIOUS = {"serious", "critical"}
_RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


def serious_violations(page: Page) -> list[str]:
    """Rule and place of every serious violation; contrast (WCAG AA) is one of them."""
    found = Axe().run(page, options=_RULES)
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found.response["violations"]
        if each["impact"] in _SERIOUS
        for node in each["nodes"]
    ]
