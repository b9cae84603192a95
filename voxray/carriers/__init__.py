"""Answer documents, signatures and REST control of the telephone carriers."""
