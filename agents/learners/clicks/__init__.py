"""Clicks as examples: how many a reader gives, how many go to an article, and those of whole histories.

May import what learners may.
"""
