"""What a run of a deployment changes in the parameters: typed, checked by Prefect, shown as a form on its page."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from llmastool.params import Params
from llmastool.search_config import Name

Count = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class SearchChanges(BaseModel):
    """Changes of a search. What is left out is as `params.yaml` says; a change that matters begins a search anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Number | None = Field(default=None, description="Seed of everything that is random.")
    rounds: Number | None = Field(default=None, description="Rounds of evolution after the start population.")
    per_round: Count | None = Field(default=None, description="Candidates in a round.")
    strategy: Name | None = Field(default=None, description="What decides what is tried next.")
    workers: Count | None = Field(default=None, description="Candidates that train at the same time.")
    seconds: Seconds | None = Field(default=None, description="Wall time of one training, in seconds.")

    def applied(self, params: Params) -> Params:
        """Return the changed parameters.

        Raises:
            ConfigError: the changes do not go together with the rest.
        """
        search = {n: v for n in ("rounds", "per_round", "strategy") if (v := getattr(self, n)) is not None}
        training = {n: v for n in ("workers", "seconds") if (v := getattr(self, n)) is not None}
        return replace(
            params,
            seed=params.seed if self.seed is None else self.seed,
            search=replace(params.search, **search),
            training=replace(params.training, **training),
        )


class FinalChanges(BaseModel):
    """Changes of the final stage. What is left out is as `params.yaml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top: Count | None = Field(default=None, description="How many networks are trained again, the best first.")
    seeds: tuple[Number, ...] | None = Field(default=None, description="Seeds of their trainings.")
    epochs: Count | None = Field(default=None, description="Epochs of these trainings.")

    def applied(self, params: Params) -> Params:
        """Return the changed parameters.

        Raises:
            ConfigError: the changes do not go together with the rest.
        """
        changed = {n: v for n in ("top", "seeds", "epochs") if (v := getattr(self, n)) is not None}
        return replace(params, final=replace(params.final, **changed))
