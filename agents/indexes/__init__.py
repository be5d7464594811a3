"""Indexes of live articles: one protocol, an exact slot array beside it, and what is worth its price at other sizes."""
