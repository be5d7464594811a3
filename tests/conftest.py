"""For all tests."""

import pytest

# An assertion of a helper shows its values, too.
pytest.register_assert_rewrite("helpers")
