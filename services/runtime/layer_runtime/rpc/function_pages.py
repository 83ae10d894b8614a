"""Pages of what the service of functions lists, and the tokens that name where one goes on."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.items import ItemKey

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1000
_Text = Annotated[str, msgspec.Meta(pattern=r"^[^\0]*$")]
_KEY: Final[msgspec.json.Decoder[tuple[_Text, _Text]]] = msgspec.json.Decoder(tuple[_Text, _Text])


def page_size(asked: int) -> int:
    """Return how long a page is to be.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``.
    """
    if asked < 0:
        raise InvalidRequestError("PAGE_SIZE_NEGATIVE", "page_size is not negative.")
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def item_token(key: ItemKey) -> str:
    """Return what names the page after an item."""
    return base64.urlsafe_b64encode(msgspec.json.encode((key.namespace, key.id))).decode()


def parse_item_token(text: str) -> ItemKey | None:
    """Return the item that a page comes after; None for the first page.

    Raises:
        InvalidRequestError: ``PAGE_TOKEN_INVALID``.
    """
    if not text:
        return None
    try:
        return ItemKey(*_KEY.decode(base64.urlsafe_b64decode(text)))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise token_invalid() from error


def token_invalid() -> InvalidRequestError:
    """Return what says that a token is none that was given."""
    return InvalidRequestError(
        "PAGE_TOKEN_INVALID", "The page token is none that an answer has given.", field="page_token"
    )
