"""Settings of a model server: what every stage that asks one says about it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_serializer

from diglot.base.format import public_address
from diglot.recipe.common import Count, Settings

# What a server's answers don't depend on.
NEUTRAL = frozenset(
    {"max_cost", "max_total_tokens"}
    | {
        f"endpoint.{name}"
        for name in ("url", "key_variable", "price_in", "price_out", "concurrency", "timeout", "retries")
    }
)


class Endpoint(Settings):
    """An OpenAI-compatible model server."""

    url: str = Field(
        description="Its base address, such as http://127.0.0.1:8000/v1.", examples=["http://127.0.0.1:8000/v1"]
    )
    model: str = Field(description="What the server calls the model.", examples=["gemma-3-12b"])
    key_variable: str = Field("OPENAI_API_KEY", description="The environment variable that holds the key, if any.")
    price_in: Annotated[float, Field(ge=0)] = Field(0.0, description="Cost of a million prompt tokens.")
    price_out: Annotated[float, Field(ge=0)] = Field(0.0, description="Cost of a million completion tokens.")
    concurrency: Count = Field(8, description="Requests at a time.")
    timeout: Annotated[float, Field(gt=0)] = Field(
        120.0, description="Seconds that a request may take, from finding the server to the last byte of its answer."
    )
    retries: int = Field(5, ge=0, description="Tries after a failure, ever more seconds apart.")

    @field_serializer("url")
    def _written(self, url: str) -> str:
        """Manifests, reports and the run's recipe hold the address without a password or a key."""
        return public_address(url)
