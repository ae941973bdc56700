"""What a caller may choose about the files of a result; apart, so that the command's help stays quick."""

DEFAULT_FORMAT = "wav"
FORMATS = (DEFAULT_FORMAT, "flac", "mp3", "ogg")
MAX_COUNT_IN_BARS = 8
