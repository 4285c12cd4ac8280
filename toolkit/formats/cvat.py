"""CVAT for images 1.1: ``annotations.xml``, with the labels that a task needs first beside it.

To give labels to an existing task: paste ``cvat_labels.json`` into the "Raw" tab of its label constructor
(CVAT drops attributes, and refuses labels, that were not declared), then upload ``annotations.xml``. CVAT
finds frames by name, so ``name`` is the picture's path as the task knows it, folders included, and never
holds the split. Where images are split, each has its ``subset`` and the head is that of a project, as CVAT's
own exports of projects are and as datumaro's importer reads them; the pictures then lie in
``images/SPLIT/NAME``, else in ``images/NAME``.

Source: CVAT's documentation of the format, ``cvat/apps/dataset_manager/formats/cvat.py`` for what its
importer needs (``occluded``, ``label``), and datumaro's importer. Masks: see `cvat_masks`.
"""

from dinonat.formats.cvat_reading import read
from dinonat.formats.cvat_rules import faults
from dinonat.formats.cvat_writing import picture, write

__all__ = ["faults", "picture", "read", "write"]
