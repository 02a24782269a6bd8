"""Puts the packets of a video on one clock, even where a recording's clock restarts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

# FFmpeg's AVFMT_TS_DISCONT.
_TS_DISCONT = 0x200
# Limits for packets of one clock, in seconds: ahead of and behind all streams, and back within their own stream.
_AHEAD, _BEHIND, _BACK = 10, 5, 1


def is_recording(container: Any) -> bool:
    """True for formats whose streams can begin, change and jump in time: transport and program streams, Ogg."""
    return bool(int(container.format.flags) & _TS_DISCONT)


def packets_in_time(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """Demuxes streams in file order, with all times on one clock. One empty packet a stream at the end flushes its decoder.

    PyAV's container is at its beginning, or, in formats whose clock cannot jump, after a seek. The streams are the same for all readers of
    a container, so that they detect the same jumps.
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
            return  # after a stream that appeared midway PyAV would read past its end


class _Clocks:
    """Removes the jumps of a recording's clock; nothing is changed if the format's clock cannot jump.

    The clock restarts where recordings were concatenated, and in a transport stream after 26.5 hours. The first stream that jumps defines
    the new clock; the others follow when they jump, so that audio and images stay in sync.

    Source:
        The limit of 10 seconds is ffmpeg's `-dts_delta_threshold`; ffmpeg, however, lets each stream jump by itself.
    """

    def __init__(self, may_jump: bool) -> None:
        self._may_jump = may_jump
        self._offsets = [Fraction(0)]
        self._clock: dict[int, int] = {}
        self._times: dict[int, Fraction] = {}
        self._lengths: dict[int, Fraction] = {}

    def place(self, packet: Any) -> None:
        """Shifts a packet's times to continue the previous ones if its stream jumped."""
        if not self._may_jump or packet.dts is None:
            return
        stream, base, newest = packet.stream.index, Fraction(packet.time_base), len(self._offsets) - 1
        if packet.pts is not None and abs(packet.pts - packet.dts) * base > _BEHIND:
            packet.pts = None  # damaged
        own = packet.dts * base
        clock = self._clock.get(stream, newest)
        if not self._goes_on(stream, own + self._offsets[clock]):
            clock = newest
            if not self._goes_on(stream, own + self._offsets[clock]):
                # The end of all packets: the demuxer still holds back one packet of each other stream.
                end = max(time + self._lengths[each] * (1 if each == stream else 2) for each, time in self._times.items())
                self._offsets.append(end - own)
                clock += 1
        self._clock[stream] = clock
        shift = round(self._offsets[clock] / base)
        packet.dts += shift
        if packet.pts is not None:
            packet.pts += shift
        # Packets of a transport stream may lack a duration: take the distance to the one before.
        length = (
            packet.duration * base if packet.duration else max(Fraction(0), packet.dts * base - self._times.get(stream, packet.dts * base))
        )
        self._times[stream], self._lengths[stream] = packet.dts * base, length

    def _goes_on(self, stream: int, time: Fraction) -> bool:
        if not self._times:
            return True
        last = max(self._times.values())
        return last - _BEHIND <= time <= last + _AHEAD and time >= self._times.get(stream, time) - _BACK
