"""The worlds themselves: facts of ``measured``, statistical power, real articles."""
