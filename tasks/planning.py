"""The tasks that decide what to try next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

if TYPE_CHECKING:
    from llmastool.candidate import Candidate
    from llmastool.search import Search


# Neither cached nor retried: the search keeps what it decided in its run folder, and decides alike when asked again.
@task(name="plan", task_run_name="plan-round-{search.round}", tags=["planning"], cache_policy=NO_CACHE)
def ask(search: Search) -> list[Candidate]:
    """Update the posterior, choose plans, have them filled in, and return the candidates that are to be trained."""
    return search.ask()


@task(name="plan-ahead", task_run_name="plan-round-{search.ahead}", tags=["planning"], cache_policy=NO_CACHE)
def ask_ahead(search: Search) -> None:
    """Do the same for the next round while this one trains; `ask` then returns what was decided."""
    search.ask_ahead()
