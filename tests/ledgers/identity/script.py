"""A training of the user's own."""

from script_helper import loss

print(loss(0.1))
