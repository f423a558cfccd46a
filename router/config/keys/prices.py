"""`backends[].price`: what tokens cost, so that usage is told in money, too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from router.config.keys.groups import mapping
from router.config.keys.section import Section, setting
from router.config.keys.values import Number

_Money = Annotated[Number, Field(ge=0, le=1_000_000)]


class PriceConfig(Section):
    """Money for a million tokens, in any one currency. Usage has it beside tokens, and keys' budgets count it.

    Where requests for a model are sent to several backends, each has its own price: a server in the next room none.
    """

    example: ClassVar[str] = """\
backends:
  - url: https://api.example.com/v1
    api_key: ${EXAMPLE_KEY:-}
    models: [small, big]
    price: {input: 0.15, output: 0.60, cached: 0.075}
    prices:
      big: {input: 2.50, output: 10}
"""

    input: _Money = setting(0.0, "For a million tokens of prompts.")
    output: _Money = setting(0.0, "For a million generated tokens.")
    cached: _Money | None = setting(
        None, "For a million tokens of prompts that were in the engine's cache, if it tells them; else as `input`."
    )


Prices = Annotated[
    Mapping[str, PriceConfig],
    BeforeValidator(mapping),
    AfterValidator(MappingProxyType),
    PlainSerializer(dict, return_type=dict[str, PriceConfig], when_used="json"),
]
