"""Words for procedural singers: lines of any number of syllables from a small vocabulary of our own."""

import numpy as np

# Words by part of speech and number of syllables, as CMU's pronunciations count them.
_WORDS: dict[str, dict[int, tuple[str, ...]]] = {
    "noun": {
        1: (
            "night", "day", "light", "rain", "road", "heart", "moon", "sea", "wind", "stone", "house", "train",
            "dream", "song", "home", "door", "star", "boat", "snow", "field", "bell", "town", "glass", "leaf", "bread",
            "bird", "wave", "hill", "street", "clock", "smoke", "thread", "ghost", "world", "shoe", "guy", "voice",
        ),
        2: (
            "river", "morning", "summer", "garden", "window", "mountain", "shadow", "silver", "weather", "paper",
            "thunder", "ocean", "evening", "harbor", "engine", "baby", "money", "story", "pocket", "valley", "letter",
        ),
        3: ("yesterday", "tomorrow", "melody", "factory", "piano", "direction", "October", "radio"),
    },
    "verb": {
        1: (
            "know", "see", "love", "hold", "find", "leave", "keep", "hear", "chase", "break", "call", "need", "want",
            "lose", "build", "paint", "feel", "reach", "cross", "shake", "thank", "wash", "teach", "join",
        ),
        2: ("remember", "follow", "carry", "believe", "discover", "forgive", "cover", "borrow", "enjoy", "imagine"),
    },
    "adjective": {
        1: (
            "cold", "bright", "long", "blue", "old", "young", "low", "wild", "sweet", "strange", "loud", "small",
            "good",
        ),
        2: ("golden", "empty", "lonely", "hollow", "gentle", "yellow", "early", "broken", "happy", "hidden"),
    },
    "subject": {1: ("I", "you", "we", "they", "she", "he"), 2: ("no one", "the sun", "my friend", "the boys")},
    "article": {1: ("the", "a", "my", "your", "this")},
    "place": {1: ("in", "on", "through", "by", "from", "with", "past"), 2: ("under", "over", "before", "beyond")},
    "call": {1: ("oh", "so", "and", "but", "now", "yeah", "hey"), 2: ("maybe", "away", "again", "alone", "tonight")},
}  # fmt: skip
# "remember", "discover" and "imagine" have three.
_THREE = ("remember", "discover", "imagine")
_ORDER = ("subject", "verb", "article", "adjective", "noun", "place", "article", "noun", "call")


def count_syllables(word: str) -> int:
    """Syllables of a word of the vocabulary.

    Raises:
        ValueError: If it is another word.
    """
    if word in _THREE:
        return 3
    for words in _WORDS.values():
        for num_syllables, choices in words.items():
            if word in choices:
                return num_syllables
    raise ValueError(f"`word` must be one of the vocabulary, got {word!r}.")


def write_line(rng: np.random.Generator, num_syllables: int) -> list[str]:
    """Words with so many syllables together, in the order of an English sentence.

    Raises:
        ValueError: If `num_syllables` is below 1.
    """
    if num_syllables < 1:
        raise ValueError(f"`num_syllables` must be at least 1, got {num_syllables}.")
    line: list[str] = []
    left, place = num_syllables, int(rng.choice([0, 0, 0, 5, 8]))
    while left > 0:
        kind = _ORDER[place % len(_ORDER)]
        if kind in ("adjective", "call") and rng.random() < 0.5:
            place += 1
            continue
        if left == 1 and kind in ("article", "place", "subject", "verb"):
            kind = "noun"  # no line ends on "the"
        sized = [(word, count_syllables(word)) for words in _WORDS[kind].values() for word in words]
        fitting = [word for word, size in sized if size <= left]
        line.append(str(fitting[int(rng.integers(len(fitting)))]))
        left -= count_syllables(line[-1])
        place += 1
    return line
