"""Parts of the score whose form is given, so that a few numbers are left to learn: taste, and what is linear.

Beside them ``reader_features``: what the user tower sees of a reader besides the clicks.
May import what the towers see (``features``), nothing above. A part's columns stand at the end of v' and u'.
"""
