"""Puts the packets of a video on one clock, even where a recording's clock restarts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

# FFmpeg's AVFMT_TS_DISCONT.
_TS_DISCONT = 0x200
# Seconds by which a packet of the same clock is ahead of all others, behind all others, and behind its own stream at most.
_AHEAD, _BEHIND, _BACK = 10, 5, 1


def is_recording(container: Any) -> bool:
    """True if streams can begin, change and jump in time in the middle: transport and program streams, Ogg."""
    return bool(int(container.format.flags) & _TS_DISCONT)


def packets_in_time(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """The packets of some streams as they lie in the container, their times brought to one clock.

    At the end comes one empty packet a stream, with which its decoder gives what it holds back.

    Args:
        container: PyAV's, at its beginning.
        streams: The streams to read; the same for all readers of a container, so that they find the same clocks.
    """
    clocks = _Clocks(is_recording(container))
    unfinished = {stream.index for stream in streams}
    for packet in container.demux(*streams):
        if packet.dts is None and not packet.size:
            unfinished.discard(packet.stream.index)
        else:
            clocks.place(packet)
        yield packet
        if not unfinished:
            return  # where a stream came in the middle PyAV would go on, beyond what it knows


class _Clocks:
    """Finds the jumps in a recording's clock, and removes them.

    Recordings put one behind the other begin anew, and the clock of a transport stream does after 26.5 hours. The first stream that is seen
    to jump begins a clock; the others follow when they jump, so that sound and images stay together.

    Source:
        The limit of 10 seconds is that of the program ffmpeg (`-dts_delta_threshold`), which however lets each stream jump by itself.

    Args:
        may_jump: Whether the container is of a kind whose clock can jump; else nothing is changed.
    """

    def __init__(self, may_jump: bool) -> None:
        self._may_jump = may_jump
        self._offsets = [Fraction(0)]
        self._clock: dict[int, int] = {}
        self._times: dict[int, Fraction] = {}
        self._lengths: dict[int, Fraction] = {}

    def place(self, packet: Any) -> None:
        """Moves a packet's times to where the packets before leave off, if its stream jumped."""
        if not self._may_jump or packet.dts is None:
            return
        stream, base, newest = packet.stream.index, Fraction(packet.time_base), len(self._offsets) - 1
        own = packet.dts * base
        clock = self._clock.get(stream, newest)
        if not self._goes_on(stream, own + self._offsets[clock]):
            clock = newest
            if not self._goes_on(stream, own + self._offsets[clock]):
                self._offsets.append(self._end(stream) - own)
                clock += 1
        self._clock[stream] = clock
        shift = round(self._offsets[clock] / base)
        packet.dts += shift
        if packet.pts is not None:
            packet.pts += shift
        # Packets of a transport stream may lack a duration: as long as the one before.
        length = (
            packet.duration * base if packet.duration else max(Fraction(0), packet.dts * base - self._times.get(stream, packet.dts * base))
        )
        self._times[stream], self._lengths[stream] = packet.dts * base, length

    def _goes_on(self, stream: int, time: Fraction) -> bool:
        if not self._times:
            return True
        last = max(self._times.values())
        return last - _BEHIND <= time <= last + _AHEAD and time >= self._times.get(stream, time) - _BACK

    def _end(self, stream: int) -> Fraction:
        """The end of all packets so far, when a stream is the first to jump: the demuxer still holds back a packet of each other one."""
        return max(time + self._lengths[each] * (1 if each == stream else 2) for each, time in self._times.items())
