"""``feedgym embed``: vectors of articles and readers, the projector's files, and a worked use of them downstream.

May import ``runs`` and what is below it.
"""
