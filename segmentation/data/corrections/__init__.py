"""Applies decisions to COCO annotation files; everything else in them stays as it is."""
