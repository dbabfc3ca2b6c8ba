"""What can go wrong, as a tree.

    MonaiTumorError      a user can mend it; the message says what failed, was found, to do
    |-- InputError       a file or folder given is not what is needed
    |   |-- StudyError   a study: missing modality, unequal grids, NaN, unknown labels, ...
    |   |-- DicomError   a DICOM file or series
    |   `-- ImageError   a 2D picture
    |-- SchemeError      label values and regions do not fit, or the scheme cannot be known
    |-- BundleError      a bundle: not found, not trusted, weights missing or of another network
    |-- TrainingError    training cannot go on
    |-- PacsError        a PACS cannot be reached, or refuses
    `-- DependencyError  an optional package is needed

The command line prints the message as one line and exits with the class's `exit_code`.
"""


class MonaiTumorError(Exception):
    """Something a user can mend. The message is one line."""

    exit_code = 1


class InputError(MonaiTumorError):
    """A file or folder given is not what is needed."""

    exit_code = 4


class StudyError(InputError):
    """A study cannot be used: a missing modality, unequal grids, NaN, unknown labels."""


class DicomError(InputError):
    """A DICOM file or series cannot be used."""


class ImageError(InputError):
    """A 2D picture cannot be used."""


class SchemeError(MonaiTumorError):
    """Label values and regions do not fit, or the label scheme cannot be known."""

    exit_code = 4


class BundleError(MonaiTumorError):
    """A bundle is not found, not trusted, or its weights are missing or do not fit."""

    exit_code = 5


class TrainingError(MonaiTumorError):
    """Training cannot go on."""

    exit_code = 6


class PacsError(MonaiTumorError):
    """A PACS cannot be reached, or refuses."""

    exit_code = 8


class DependencyError(MonaiTumorError):
    """An optional package is needed; the message ends in the command that installs it."""

    exit_code = 7
