# SPDX-License-Identifier: Apache-2.0
"""DICOM series in, DICOM SEG out, by a segmentation bundle in MONAI Deploy App SDK 4.0.

BUNDLE=…/left_atrium_ct_segmentation python deploy_segmentation.py -i SERIES_FOLDER -o RESULT_FOLDER

BUNDLE is the bundle's folder (with models/model.pt) or a model.ts that `monai.bundle ckpt_export` has written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application
from monai.deploy.core.domain import Image
from monai.deploy.core.io_type import IOType
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator
from pydicom.sr.coding import Code

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
CODES = {  # what the bundles' metadata call their foreground
    "left atrium": (ANATOMY, Code("82471001", "SCT", "Left atrium")),
    "whole tumor": (ABNORMAL, Code("108369006", "SCT", "Neoplasm")),
}


def read_metadata(bundle: Path) -> dict:
    """Read metadata.json from a bundle's folder, or from a TorchScript file that contains it."""
    if bundle.is_dir():
        return json.loads((bundle / "configs/metadata.json").read_text())
    with ZipFile(bundle) as archive:
        name = next(name for name in archive.namelist() if name.endswith("extra/metadata.json"))
        return json.loads(archive.read(name))


class SeriesToVolume(DICOMSeriesToVolumeOperator):
    """App SDK 4.0's operator swaps the spacings of rows and columns; this one corrects the affines."""

    def compute_affine_transform(self, s_1, s_n, n, series) -> None:
        """Scale the first two columns of both affines; nothing changes where pixels are square."""
        super().compute_affine_transform(s_1, s_n, n, series)
        rows, columns = map(float, s_1[0x0028, 0x0030].value)
        right = np.diag([columns / rows, rows / columns, 1, 1])
        series.dicom_affine_transform = series.dicom_affine_transform @ right
        series.nifti_affine_transform = series.nifti_affine_transform @ right


class SegmentationApp(Application):
    """Loader → series selector → volume → bundle → SEG writer."""

    def compose(self) -> None:
        """Build the graph."""
        context: AppContext = Application.init_app_context(self.argv)
        bundle = Path(os.environ["BUNDLE"])
        metadata = read_metadata(bundle)
        channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        segments = [
            SegmentDescription(
                name, *CODES[name], algorithm_name=metadata["name"], algorithm_version=metadata["version"]
            )
            for value, name in sorted(channels.items())
            if value != "0"
        ]
        loader = DICOMDataLoaderOperator(
            self, CountCondition(self, 1), input_folder=Path(context.input_path), name="loader"
        )
        selector = DICOMSeriesSelectorOperator(self, name="selector")
        volume = SeriesToVolume(self, name="volume")
        inference = MonaiBundleInferenceOperator(
            self,
            app_context=context,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=bundle,
            name="inference",
        )
        writer = DICOMSegmentationWriterOperator(
            self, segment_descriptions=segments, output_folder=Path(context.output_path), name="writer"
        )
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, volume, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(volume, inference, {("image", "image")})
        self.add_flow(inference, writer, {("pred", "seg_image")})
        self.add_flow(selector, writer, {("study_selected_series_list", "study_selected_series_list")})


if __name__ == "__main__":
    SegmentationApp().run()
