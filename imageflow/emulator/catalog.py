"""What products there are in the emulated world: names that follow from a number, so that nothing has to be kept.

The ERP and Omnitron agree on them: product 1 is `SKU-000001` of `BASE-00001`, and four products share a base code.
"""

from __future__ import annotations

import re

SKUS_PER_BASE_CODE = 4

_SKU = re.compile(r"SKU-(\d{6,9})", re.ASCII)
_BASE_CODE = re.compile(r"BASE-(\d{5,9})", re.ASCII)


def sku_of(index: int) -> str:
    """The SKU of product `index`, counted from 1."""
    return f"SKU-{index:06d}"


def base_code_of(index: int) -> str:
    """The base code of product `index`, counted from 1."""
    return f"BASE-{(index - 1) // SKUS_PER_BASE_CODE + 1:05d}"


def index_of(sku: str) -> int | None:
    """The product that a SKU names; None when it is not one of `sku_of`."""
    match = _SKU.fullmatch(sku)
    return int(match[1]) if match and sku_of(int(match[1])) == sku else None


def indices_of(base_code: str) -> range:
    """The products of a base code; empty when it is not one of `base_code_of`."""
    match = _BASE_CODE.fullmatch(base_code)
    if match is None or int(match[1]) < 1:
        return range(0)
    first = (int(match[1]) - 1) * SKUS_PER_BASE_CODE + 1
    return range(first, first + SKUS_PER_BASE_CODE)
