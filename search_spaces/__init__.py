"""Search spaces; published networks are named points of them."""
