"""What people run: ``compare``, ``train``, ``offline``, smaller commands, benchmarks, studies. May import all of it."""
