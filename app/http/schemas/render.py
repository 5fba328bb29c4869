"""How kinds of number print: addresses, descriptors and raw registers as lowercase "0x..."."""


def hex_of(value: int) -> str:
    """Print an address, a descriptor or a raw register."""
    return f"{value:#x}"
