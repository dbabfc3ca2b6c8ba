"""Tests of monai_tumor.dicom; a package, so that its modules keep their names to themselves."""
