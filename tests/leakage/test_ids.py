"""Recording ids in the names of public corpora, and names that only look like ids."""

import pytest

from whisper_aut.leakage.ids import recording_ids


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("1-30344-A-0.wav",), {"freesound:30344"}),  # ESC-50
        (("1-30344-A", "audio/1-30344-A.ogg"), {"freesound:30344"}),
        (("us8k-30344-3-0-4", "audio/us8k-30344-3-0-4.ogg"), {"freesound:30344"}),  # UrbanSound8K
        (("30344-3-0-4.wav",), {"freesound:30344"}),
        (("FSD50K.dev_audio/30344.wav",), {"freesound:30344"}),
        (("fsd50k-30344",), {"freesound:30344"}),
        (("kitchen-3-389493-A-8",), {"freesound:389493"}),
        (("30344__someone__dog.wav",), {"freesound:30344"}),
        (("freesound_30344.flac",), {"freesound:30344"}),
        (("Y--0w1YA1Hm4_30.wav",), {"youtube:--0w1YA1Hm4"}),  # AudioSet, AudioCaps
        (("audio/dQw4w9WgXcQ_30000_40000.flac",), {"youtube:dQw4w9WgXcQ"}),
        (("dQw4w9WgXcQ_30.000.wav",), {"youtube:dQw4w9WgXcQ"}),
        (("audioset-dQw4w9WgXcQ",), {"youtube:dQw4w9WgXcQ"}),
        (("Some title [dQw4w9WgXcQ].m4a",), {"youtube:dQw4w9WgXcQ"}),
    ],
)
def test_names_of_public_corpora(names, found):
    assert recording_ids(*names) == found


@pytest.mark.parametrize(
    "name",
    [
        "30344.wav", "000123.mp3", "environment_001.wav", "environment_30_40", "sc-one-fbb2f6cc_nohash_2",
        "fsdd-0_jackson_0", "phil-bass-clarinet_As4_05_mezzo-forte_normal", "speech-012", "a.wav", "2024-05-17",
        "common_voice_en_12345.mp3", "19-198-0000.flac", "Ynothing", "guitar_acoustic_001-060-100",
    ],
)  # fmt: skip
def test_names_that_only_look_like_ids(name):
    assert recording_ids(name) == set()


def test_a_bare_number_is_freesounds_where_the_corpus_says_so():
    assert recording_ids("30344", "audio/30344.wav", corpus="fsd50k") == {"freesound:30344"}
    assert recording_ids("30344", "audio/30344.wav", corpus="fma") == set()
