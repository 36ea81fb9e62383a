from whisper_aut.demo.captions import piece_caption, scene_caption
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.environment import KIND_NAMES, PLACES, Scene
from whisper_aut.demo.music import STYLE_NAMES, Piece


def captions_of(scene, count=80):
    return [scene_caption(Draw(0, "train", "caption", i), scene) for i in range(count)]


def test_every_kind_has_captions_of_its_own_in_varied_wording():
    said = {}
    for kind in KIND_NAMES:
        texts = set(captions_of(Scene(kind, "", False, None, "nothing else", 5.0)))
        assert len(texts) >= 12
        said[kind] = texts
    everything = [text for texts in said.values() for text in texts]
    assert len(everything) == len(set(everything)), "two kinds share a caption"


def test_captions_say_what_is_heard():
    everything = captions_of(Scene("siren", "in two tones", True, "rain", "traffic", -2.0), 200)
    assert all("siren" in text.lower() for text in everything)
    far = [text for text in everything if "rain" in text.lower()]
    assert 0.1 < len(far) / len(everything) < 0.4  # the others name the sound and no more
    assert all(any(w in text.lower() for w in ("distance", "far away", "from afar")) for text in far)
    assert any("faintly" in text for text in far) and any("in two tones" in text for text in far)
    assert any("traffic" in text for text in far)
    near = captions_of(Scene("siren", "", False, None, "nothing else", 12.0))
    assert not any("distance" in text or "rain" in text for text in near)


def test_captions_are_sentences():
    for kind in KIND_NAMES:
        for place in PLACES:
            for text in captions_of(Scene(kind, "slowly", True, "engine", place, 0.0), 6):
                assert text[0].isupper() and text.endswith(".") and "  " not in text and len(text) < 300


def test_music_captions_name_the_style_and_vary():
    for style in STYLE_NAMES:
        piece = Piece(style, 122.0, "A", "minor", "flute", "organ", None, True, "")
        texts = [piece_caption(Draw(0, "train", "caption", i), piece) for i in range(240)]
        assert all(style in text.lower() for text in texts)
        assert len(set(texts)) >= 25
        assert any("120" in text for text in texts) and any("flute" in text for text in texts)
        assert any("A minor" in text for text in texts)
