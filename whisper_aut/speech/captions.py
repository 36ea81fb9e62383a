"""How near a caption is to its reference: chrF (Popović 2015), by sacrebleu.

Of the libraries that were looked at in 2026: sacrebleu 2.6 (Apache-2.0, 100 kB, alive, small packages below it, Python
3.9 and later) signs what it computed, so that a number can be compared with others'. CIDEr-D and SPICE, which
captioning papers report, come in pycocoevalcap (a wheel of 104 MB) and aac-metrics (MIT); both start Java for their
tokenizer and for SPICE. torchmetrics (Apache-2.0, 1 MB) has chrF and BLEU as well, but no signature, and brings
Lightning's utilities. chrF rather than BLEU, since captions of five words often share no four words in a row with their
reference, and BLEU of a single clip is then zero or a matter of smoothing.
"""

from __future__ import annotations

from sacrebleu.metrics.chrf import CHRF


class CaptionScore:
    """chrF2 of single captions, 0 to 100; case does not count."""

    def __init__(self) -> None:
        self._metric = CHRF(lowercase=True)

    @property
    def signature(self) -> str:
        """What was computed, with the library's version: ``chrF2|nrefs:1|case:lc|...|version:2.6.0``."""
        # The signature names the number of references, which is known once something was scored.
        return f"{self._metric.sentence_score('a', ['a']).name}|{self._metric.get_signature().format()}"

    def __call__(self, written: str, reference: str) -> float:
        """Score of what was written against one reference."""
        return float(self._metric.sentence_score(written, [reference]).score)
