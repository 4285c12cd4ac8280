"""All findings about a surveyed folder, the most serious first."""

from dinonat.survey.finding import SEVERITIES, Finding, Seen
from dinonat.survey.findings_files import of_files, of_mixes
from dinonat.survey.findings_looks import of_looks
from dinonat.survey.findings_pixels import of_frames, of_values
from dinonat.survey.findings_sets import of_duplicates, of_recordings, of_twins

SOURCES = (of_files, of_mixes, of_looks, of_frames, of_duplicates, of_values, of_recordings, of_twins)


def findings_of(seen: Seen) -> tuple[Finding, ...]:
    """Return what there is to say about a folder; nothing where nothing is odd."""
    found = [finding for source in SOURCES for finding in source(seen)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
