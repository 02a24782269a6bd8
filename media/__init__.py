"""Films and numbered pictures in and out, by PyAV: frames one after the other, never the whole film."""

from .join import Piece, join_pieces
from .library import FilmError, pyav
from .prefetch import Loaded, WriterThread, estimated, prefetch
from .presets import PRESETS, Preset, at_rate, cropped, in_groups
from .read import Film, Frame, film_header, read_frames
from .sequences import find_pictures, is_sequence, numbered, numbered_files, read_sequence, reads, sequence_header
from .sound import Sound, check_sound
from .write import CODECS, CONTAINERS, FilmWriter, check_codec

__all__ = [
    "CODECS",
    "CONTAINERS",
    "PRESETS",
    "Film",
    "FilmError",
    "FilmWriter",
    "Frame",
    "Loaded",
    "Piece",
    "Preset",
    "Sound",
    "WriterThread",
    "at_rate",
    "check_codec",
    "check_sound",
    "cropped",
    "estimated",
    "film_header",
    "find_pictures",
    "in_groups",
    "is_sequence",
    "join_pieces",
    "numbered",
    "numbered_files",
    "prefetch",
    "pyav",
    "read_frames",
    "read_sequence",
    "reads",
    "sequence_header",
]
