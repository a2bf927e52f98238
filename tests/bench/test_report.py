"""The table of an experiment says what the service says."""

import json
from pathlib import Path

from app.bench.plan import MANIFEST
from app.bench.report import summarise_results


def test_the_table_has_the_headline_dice_of_the_rounds(tmp_path: Path) -> None:
    def run(strategy: str, **dice: float | None) -> dict[str, object]:
        # Of volumes with .9 and nothing, and with .5 and .7, the headline is .75; a mean of classes would be .7.
        return {"strategy": strategy, "rounds": {budget[1:]: {"summary": {"dice": dice[budget]}} for budget in dice}}

    runs = {"a": run("gcl", b2=0.75, b3=None), "b": run("gcl", b2=0.25, b3=0.5), "c": run("random", b2=0.5)}
    (tmp_path / MANIFEST).write_text(json.dumps({"runs": runs}), encoding="utf-8")
    assert summarise_results(tmp_path) == {"gcl": {2.0: 0.5, 3.0: 0.5}, "random": {2.0: 0.5}}
