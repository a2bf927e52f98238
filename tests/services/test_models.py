"""Which model version is in use when several people decide at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from app.db.models import Model, Project, Round
from app.db.session import Database
from app.names import ModelKind
from app.outbox import SilentBell, unit_of_work
from app.protocols import resolve_protocol
from app.services import models
from tests.rows import add_project


def test_of_two_who_roll_back_at_once_each_goes_one_back(database: Database) -> None:
    with unit_of_work(database, SilentBell()) as session:
        project = add_project(session)
        project.protocol = resolve_protocol("tiny").as_json()
        for number in (1, 2, 3):
            round_ = Round(
                project_id=project.id, number=number, budget_percent=2.0, target=1, state="closed", strategy="x", seed=7
            )
            session.add(round_)
            session.flush()
            model = Model(project_id=project.id, round_id=round_.id, kind=ModelKind.SEGMENTATION, weights_key="")
            model.config, model.manifest, model.metrics = {}, {}, {}
            session.add(model)
    decided = threading.Event()

    def roll_back(first: bool) -> int:
        if not first:
            assert decided.wait(10)
        with unit_of_work(database, SilentBell()) as session:
            found = session.scalars(select(Project)).one()
            chosen = models.roll_back(session, found, "anna").round_id
            if first:
                decided.set()
                time.sleep(0.5)  # the other one asks while this decision is not written yet
            return next(each.number for each in models.list_versions(session, found) if each.round_.id == chosen)

    with ThreadPoolExecutor(2) as crowd:
        assert list(crowd.map(roll_back, (True, False))) == [2, 1]
