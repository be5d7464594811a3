"""``feedgym check-reader my_module:MyReader``: is a reader model of your own fit for the Feed?"""

import sys
from collections.abc import Sequence

USAGE = """usage: feedgym check-reader MODULE:CLASS

Lets a reader model of your own live on a small site, and says in plain words all that is wrong with it: what its
methods return, global randomness, dependence on the batch or on the row, state that cannot be restored, and more.
The current folder is searched first. Exit status 0: fit for the Feed. 1: something has to be mended.

  feedgym check-reader night_owl:NightOwl
  feedgym compare --reader-model night_owl:NightOwl --agents random,recent,popular"""


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    words = sys.argv[1:] if args is None else list(args)
    if len(words) != 1 or words[0].startswith("-"):
        # Not tyro: one word, and an answer at once.
        print(USAGE)
        sys.exit(0 if words in (["-h"], ["--help"]) else 2)
    # Late: help needs none of it.
    from feedgym.env.check_reader import check_reader_model
    from feedgym.experiments.runs import load_reader_model

    try:
        model = load_reader_model(words[0])
    except Exception as error:  # the user's module may raise anything, and its text is what helps
        told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        sys.exit(f"feedgym check-reader: {told}")
    report = check_reader_model(model)
    print(report)
    if report.ok:
        print(f"It is fit for the Feed: feedgym compare --reader-model {words[0]}")
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
