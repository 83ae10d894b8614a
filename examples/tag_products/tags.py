"""The rule."""

from __future__ import annotations

from layer_sdk import PermanentError, udf


@udf(output="price_class")
def tag_price(price: float | None) -> str:
    if price is None:
        raise PermanentError("it has no price")
    if price < 20:
        return "budget"
    return "standard" if price < 100 else "premium"
