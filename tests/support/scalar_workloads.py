"""Workloads one write at a time, straight from the formulas of docs/workloads.md: the oracle."""

from hacdbs_sim.model import Burst, HotSet, Moving, Sequential, Uniform

U64 = (1 << 64) - 1


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & U64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & U64
    return z ^ (z >> 31)


def draw(seed: int, i: int) -> int:
    return mix((mix(seed) + 0x9E3779B97F4A7C15 * (i + 1)) & U64)


def page_of(
    pattern: Sequential | Uniform | HotSet | Moving, seed: int, num_pages: int, i: int
) -> int:
    """The page of write number i."""
    upper, lower = divmod(draw(seed, i), 1 << 32)
    match pattern:
        case Sequential():
            return i % num_pages
        case Uniform():
            return upper * num_pages >> 32
        case HotSet(hot_fraction=hot_fraction, hot_share=hot_share):
            hot = max(1, round(hot_fraction * num_pages))
            if lower < round(hot_share * (1 << 32)) or hot == num_pages:
                return upper * hot >> 32
            return hot + (upper * (num_pages - hot) >> 32)
        case Moving(
            set_pages=set_pages,
            move_every_writes=move_every_writes,
            step_pages=step_pages,
        ):
            base = i // move_every_writes * step_pages
            return (base + (upper * set_pages >> 32)) % num_pages


def writes_by(time_ns: int, writes_per_second: int, burst: Burst | None) -> int:
    """Writes of the first `time_ns`, by counting each period of a burst."""
    if burst is None:
        return time_ns * writes_per_second // 10**9
    on = 0
    while time_ns > 0:
        on += min(time_ns, burst.on_ns)
        time_ns -= burst.on_ns + burst.off_ns
    return on * writes_per_second // 10**9
