"""Public corpora as manifests: a YAML file says where one lives and what its columns mean; no code per corpus.

One way through: ``spec`` (the YAML) → a reader (``folders``, ``hub``, ``nemo``, ``lhotse``, ``kaldi``) gives rows →
``clips`` makes a clip of each, with ``cleanup``, ``templates`` and ``paths`` → ``parts`` keeps what is finished →
``build`` runs it in several processes → ``summary`` counts.
"""
