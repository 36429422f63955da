"""Where each paper and its release differ, and what is the default here."""
