"""The words for a scene or a piece: what a listener would write, worded differently from clip to clip.

Everything that a caption says was drawn for the clip and can be heard in it; the wording is drawn by the caller's
generator, so that captions are as deterministic as the audio.
"""

from __future__ import annotations

from whisper_aut.demo.draw import Draw
from whisper_aut.demo.environment import Scene
from whisper_aut.demo.music import Piece

# Most captions name the sound and no more, as people's do; a run of a few minutes learns the names and little else
# (docs/experiments.md).
_TERSE = 0.75

# kind -> clauses with a finite verb, and noun phrases
_HEARD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "rain": (("rain falls", "rain comes down", "it rains"), ("rainfall", "the sound of rain", "raindrops")),
    "wind": (("wind blows", "the wind howls", "a wind whistles"), ("blowing wind", "howling wind", "wind noise")),
    "sea waves": (
        ("waves break on a shore", "sea waves roll in", "the surf washes ashore"),
        ("ocean waves", "surf on a beach", "breaking sea waves"),
    ),
    "thunder": (
        ("thunder rumbles", "thunder rolls", "thunder claps"),
        ("thunder", "a thunderclap", "rumbling thunder"),
    ),
    "bubbling water": (
        ("water bubbles", "bubbles rise in water", "water gurgles"),
        ("bubbling water", "gurgling water", "water bubbles popping"),
    ),
    "crackling fire": (
        ("a fire crackles", "wood burns and crackles", "a campfire pops and crackles"),
        ("a crackling fire", "a burning campfire", "crackling flames"),
    ),
    "engine": (
        ("an engine runs", "a motor runs", "a vehicle engine rumbles"),
        ("a running engine", "an engine rumbling", "the drone of a motor"),
    ),
    "helicopter": (
        ("a helicopter flies", "helicopter blades chop the air", "a helicopter's rotor beats"),
        ("a helicopter", "helicopter rotor blades", "the chopping of a helicopter"),
    ),
    "siren": (
        ("a siren wails", "an emergency siren sounds", "a police siren blares"),
        ("a wailing siren", "an emergency siren", "an ambulance siren"),
    ),
    "church bell": (
        ("a church bell tolls", "a bell rings", "a large bell is struck"),
        ("a tolling church bell", "a ringing bell", "church bell strokes"),
    ),
    "clock ticking": (
        ("a clock ticks", "a clock is ticking", "a watch ticks"),
        ("a ticking clock", "the ticking of a clock", "tick-tock of a clock"),
    ),
    "footsteps": (
        ("someone walks", "a person walks", "footsteps pass"),
        ("footsteps", "the steps of a person", "someone's footsteps"),
    ),
    "dog barking": (("a dog barks", "a dog is barking"), ("a barking dog", "dog barks", "the barking of a dog")),
    "birdsong": (
        ("a bird sings", "a bird chirps", "a songbird twitters"),
        ("birdsong", "a chirping bird", "bird calls"),
    ),
    "crickets": (
        ("crickets chirp", "insects chirr", "crickets are calling"),
        ("chirping crickets", "insects", "the chirr of crickets"),
    ),
    "alarm beeping": (
        ("an alarm beeps", "an electronic alarm goes off", "an alarm clock beeps"),
        ("a beeping alarm", "electronic beeps of an alarm", "an alarm clock"),
    ),
    "hammering": (
        ("someone hammers", "a hammer strikes", "a hammer pounds"),
        ("hammering", "hammer blows", "the pounding of a hammer"),
    ),
    "knocking": (
        ("someone knocks on a door", "a door is knocked on", "knocks sound on a wooden door"),
        ("knocking on a door", "a knock at the door", "door knocks"),
    ),
    "hand saw": (
        ("someone saws wood", "a hand saw cuts wood", "wood is being sawn"),
        ("sawing of wood", "a hand saw", "a saw cutting wood"),
    ),
    "car horn": (
        ("a car horn honks", "a car honks", "a driver sounds the horn"),
        ("a honking car", "a car horn", "car honking"),
    ),
}

_PLACE_PHRASES = {
    "nothing else": ("", "", "in a quiet place", "and nothing else"),
    "traffic": ("over the rumble of traffic", "beside a road with traffic", "with traffic noise"),
    "a crowd": ("in a crowd of talking people", "while many people talk", "amid a babbling crowd"),
    "an electric hum": ("over an electric hum", "with mains hum", "while something electric hums"),
    "a fan": ("next to a fan", "over the noise of a fan", "while a fan runs"),
    "a busy room": ("in a room with a few people talking", "over murmured conversation", "with voices in the room"),
}


def scene_caption(draw: Draw, scene: Scene) -> str:
    """Describe an environmental clip: kind, manner, distance, loudness over the place, what is behind."""
    clauses, nouns = _HEARD[scene.kind]
    place = draw.choice(_PLACE_PHRASES[scene.place])
    if scene.distant:
        where = draw.choice(["in the distance", "far away", "from afar"])
    else:
        where = draw.choice(["nearby", "close by", "", "close to the microphone"])
    loudness = "faintly" if scene.snr_db < 1 else "loudly" if scene.snr_db > 9 and not scene.distant else ""
    if scene.manner.endswith("ly"):  # "softly faintly" is no English
        loudness = ""
    behind = ""
    if scene.behind:
        other_clauses, other_nouns = _HEARD[scene.behind]
        behind = draw.choice(
            [
                f"while {draw.choice(other_clauses)} more quietly",
                f"with {draw.choice(other_nouns)} in the background",
                f"and behind it {draw.choice(other_nouns)}",
            ]
        )
    if draw.chance(_TERSE):
        return _sentence(draw.choice(nouns))
    if draw.chance(0.5):
        return _sentence(draw.choice(clauses), scene.manner, loudness, where, place, behind)
    heard = draw.choice(["is heard", "can be heard", "is audible"])
    noun = f"{draw.choice(['the sound of', 'a recording of', 'the noise of'])} {draw.choice(_plain(nouns))}"
    return _sentence(noun, heard, loudness, where, place, behind)


def _plain(nouns: tuple[str, ...]) -> tuple[str, ...]:
    """Noun phrases that may follow 'the sound of': those that do not begin with it themselves."""
    return tuple(noun for noun in nouns if not noun.startswith("the "))


def _sentence(*parts: str) -> str:
    text = " ".join(part for part in parts if part)
    return text[0].upper() + text[1:] + "."


def piece_caption(draw: Draw, piece: Piece) -> str:
    """Describe a musical clip: style, tempo, mode, instruments, drums, recording."""
    speed = _speed(piece.tempo_bpm)
    tempo = draw.choice(
        [
            f"at a {speed} tempo",
            f"at about {round(piece.tempo_bpm / 5) * 5} beats per minute",
            f"around {round(piece.tempo_bpm / 5) * 5} BPM",
            "",
        ]
    )
    mode = draw.choice([f"in {piece.key} {piece.scale}", _mode(piece.scale), ""])
    style = draw.choice([f"{piece.style} music", f"{_article(piece.style)} {piece.style} piece", f"{piece.style}"])
    players = _players(draw, piece)
    if draw.chance(_TERSE):
        return _sentence(f"{piece.style} music")
    if draw.chance(0.5):
        lead = f"{_article(speed)} {speed} {piece.style} {draw.choice(['track', 'tune', 'piece', 'instrumental'])}"
        return _sentence(lead, mode, f"with {players}", piece.recording)
    verb = draw.choice(["played by", "featuring", "with"])
    return _sentence(style, tempo, mode, f"{verb} {players}", piece.recording)


def _players(draw: Draw, piece: Piece) -> str:
    parts = []
    if piece.melody:
        parts.append(f"{_article(piece.melody)} {piece.melody} {draw.choice(['melody', 'lead', 'playing the tune'])}")
    if piece.chords:
        word = draw.choice(["chords", "accompaniment", "playing chords"])
        parts.append(f"{piece.chords} {word}")
    if piece.bass:
        parts.append(f"{_article(piece.bass)} {piece.bass}{'' if 'bass' in piece.bass else ' on the bass line'}")
    parts.append(draw.choice(["drums", "a drum beat", "percussion"]) if piece.drums else "no drums")
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def _speed(tempo_bpm: float) -> str:
    return "slow" if tempo_bpm < 85 else "fast" if tempo_bpm > 130 else "moderate"


def _mode(scale: str) -> str:
    return {
        "major": "in a bright major key",
        "minor": "in a dark minor key",
        "dorian": "in the dorian mode",
        "blues": "on the blues scale",
        "pentatonic": "on a pentatonic scale",
    }[scale]


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"
