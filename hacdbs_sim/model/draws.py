"""Draws that depend on nothing but a seed and a counter, so that any stretch of them can be made.

All arithmetic is modulo 2**64; `mix` is the finaliser of splitmix64:

    mix(z): z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
            z = (z ^ z >> 27) * 0x94D049BB133111EB
            z ^ z >> 31

    draw(seed, i) = mix(mix(seed) + 0x9E3779B97F4A7C15 * (i + 1))

The upper half of a draw chooses a page, the lower half decides a share.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_U64: Final = (1 << 64) - 1
_GAMMA: Final = 0x9E3779B97F4A7C15
_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB
HALF: Final = 32
"""Bits in each half of a draw."""

LOWER: Final = np.uint64((1 << HALF) - 1)


def mix(z: int) -> int:
    """Return splitmix64's finaliser of one number."""
    z = (z ^ z >> 30) * _FIRST & _U64
    z = (z ^ z >> 27) * _SECOND & _U64
    return z ^ z >> 31


def derived_seed(seed: int, ordinal: int) -> int:
    """Return the seed of a machine's n-th workload: 53 bits, so that JSON carries it exactly."""
    return mix(mix(seed) + _GAMMA * ordinal & _U64) >> 11


def draws(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """Make `count` draws of a seed, the first of them the one numbered `first`."""
    z = np.arange(count, dtype=np.uint64)
    z *= np.uint64(_GAMMA)
    z += np.uint64(mix(seed) + _GAMMA * (first + 1) & _U64)
    shifted = z >> np.uint64(30)
    z ^= shifted
    z *= np.uint64(_FIRST)
    np.right_shift(z, np.uint64(27), out=shifted)
    z ^= shifted
    z *= np.uint64(_SECOND)
    np.right_shift(z, np.uint64(31), out=shifted)
    z ^= shifted
    return z


def below(draw: NDArray[np.uint64], bound: int) -> NDArray[np.uint64]:
    """Turn the upper halves of draws into numbers below `bound`, itself below 2**32."""
    chosen = draw >> np.uint64(HALF)
    chosen *= np.uint64(bound)
    chosen >>= np.uint64(HALF)
    return chosen
