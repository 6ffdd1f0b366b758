"""Corrections of COCO annotation files: what was decided, applied; all else stays as it is."""
