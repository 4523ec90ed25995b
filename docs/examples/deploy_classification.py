# SPDX-License-Identifier: Apache-2.0
"""DICOM series in, DICOM structured report and JSON out, by a classification bundle in MONAI Deploy App SDK 4.0.

BUNDLE=…/alzheimers_mri_classification python deploy_classification.py -i SERIES_FOLDER -o RESULT_FOLDER

BUNDLE is the bundle's folder (with models/model.pt) or a model.ts that `monai.bundle ckpt_export` has written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from deploy_segmentation import SeriesToVolume, read_metadata
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Fragment, Operator, OperatorSpec
from monai.deploy.core.domain import Image
from monai.deploy.core.io_type import IOType
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_text_sr_writer_operator import DICOMTextSRWriterOperator
from monai.deploy.operators.dicom_utils import ModelInfo
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator


class ReportOperator(Operator):
    """Turn probabilities into the text of a report, and write them as JSON."""

    def __init__(self, fragment: Fragment, *args, names: list[str], file: Path, **kwargs) -> None:
        self.names, self.file = names, file
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """One input, one output."""
        spec.input("pred")
        spec.output("text")

    def compute(self, op_input, op_output, context) -> None:
        """Name each class's probability."""
        values = op_input.receive("pred")["probabilities"]
        scores = {name: round(float(value), 6) for name, value in zip(self.names, values, strict=True)}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"probabilities": scores}, indent=4))
        lines = [f"{name}: {value:.1%}" for name, value in scores.items()]
        op_output.emit("\n".join([*lines, "Research software, not for clinical use."]), "text")


class ClassificationApp(Application):
    """Loader → series selector → volume → bundle → report → SR writer."""

    def compose(self) -> None:
        """Build the graph."""
        context: AppContext = Application.init_app_context(self.argv)
        bundle, output = Path(os.environ["BUNDLE"]), Path(context.output_path)
        metadata = read_metadata(bundle)
        names = list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
        loader = DICOMDataLoaderOperator(
            self, CountCondition(self, 1), input_folder=Path(context.input_path), name="loader"
        )
        selector = DICOMSeriesSelectorOperator(self, name="selector")
        volume = SeriesToVolume(self, name="volume")
        inference = MonaiBundleInferenceOperator(
            self,
            app_context=context,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", dict, IOType.IN_MEMORY)],
            bundle_path=bundle,
            name="inference",
        )
        report = ReportOperator(self, names=names, file=output / "report.json", name="report")
        model = ModelInfo("the universal-model-components authors", metadata["name"], metadata["version"])
        writer = DICOMTextSRWriterOperator(self, output_folder=output, model_info=model, name="writer")
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, volume, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(volume, inference, {("image", "image")})
        self.add_flow(inference, report, {("pred", "pred")})
        self.add_flow(report, writer, {("text", "text")})
        self.add_flow(selector, writer, {("study_selected_series_list", "study_selected_series_list")})


if __name__ == "__main__":
    ClassificationApp().run()
