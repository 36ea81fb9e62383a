"""``python -m whisper_aut``, which is how launchers start one process per rank."""

from whisper_aut.cli import main

if __name__ == "__main__":
    main()
