from whisper_aut.demo.sentences import NUM_SENTENCES, sentence


def test_no_sentence_comes_twice():
    assert len({sentence(index, seed=4) for index in range(NUM_SENTENCES)}) == NUM_SENTENCES >= 20_000


def test_sentences_are_sentences():
    for index in range(60):
        text = sentence(index, seed=0)
        assert text[0].isupper() and text[-1] in ".?" and "  " not in text and 4 <= len(text.split()) <= 20


def test_another_seed_says_something_else():
    assert [sentence(i, 0) for i in range(24)] != [sentence(i, 1) for i in range(24)]
