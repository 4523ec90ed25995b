# SPDX-License-Identifier: Apache-2.0
"""Universal Model for 3D Medical Image Analysis, as components that MONAI bundles name in JSON.

A scan (`imaging`, `datalists`) becomes multi-scale sub-volumes (`cubes`), which `method`, the paper and nothing else,
corrupts and learns to restore; the weights (`weights`) start the target tasks (`tasks`, `training`, `inference`,
`evaluation`); `comparisons` are the systems that the paper compares with. What JSON and users name is
`universal_model_components.<Name>`, loaded when it is first used: importing the package does nothing, and a module can
be split without breaking a config.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# package.module → the public names that live there
_PUBLIC = {
    "comparisons.dense_vnet": "DenseVNetClassification DenseVNetSegmentation",
    "comparisons.i3d": "I3DClassification I3DSegmentation",
    "comparisons.med3d": "Med3DClassification Med3DSegmentation",
    "cubes.preparation": "prepare_cubes",
    "cubes.index": "read_index",
    "cubes.store": "CubeDataset cube_records cubes_identity",
    "evaluation.classification": "ClassificationReport",
    "evaluation.classification_metrics": "probabilities_and_labels probability_cross_entropy scores_and_labels",
    "evaluation.live_probe": "FeatureProbe",
    "evaluation.pretext": "PretextEvaluation",
    "evaluation.restoration": "RestorationEvaluation",
    "evaluation.segmentation": "OriginalLabeld SegmentationReport",
    "evaluation.store_report": "write_store_report",
    "evaluation.trained_corruption": "decreasing_share mask_share mask_side trained_corruption",
    "figures.curves": "MetricCurves",
    "figures.label_noise": "LabelNoisePicture",
    "figures.overlays": "ValidationOverlays",
    "figures.panels": "RestorationPanels draw_panel",
    "imaging.components": "LargestComponentd",
    "imaging.reading": "ScanReader",
    "imaging.transforms": "NormalizeScand ReadScand ToOriginalSpaced",
    "imaging.writers": "AtomicNibabelWriter",
    "inference.classification": "CandidateInferer CandidateVoxelsd CenterPatchd",
    "inference.features": "PooledFeatures SaveFeaturesd",
    "inference.inputs": "list_candidates list_scans",
    "inference.neighbors": "samples_at_a_time",
    "inference.naming": "ResultName",
    "inference.onnx": "OnnxNetwork",
    "inference.predictions": "SavePredictionsd",
    "inference.pretrained": "UniversalModel",
    "inference.runner": "ScanLoader run_inference",
    "inference.sliding_window": "FastSlidingWindowInferer",
    "method.genesis": "GenesisCorruption",
    "method.losses": "UniversalObjective restoration_loss",
    "method.models": "ClassificationModel SegmentationModel",
    "method.trainer": "PretrainingTrainer parameter_groups",
    "method.unet": "Decoder Encoder UNet",
    "pretext.jigsaw": "JigsawModel JigsawTask",
    "pretext.objective": "PretextObjective",
    "pretext.rotation": "RotationModel RotationTask",
    "tasks.augmentation": "RandSymmetryd",
    "tasks.checks": "check_cases",
    "tasks.classification_data": "ClassificationDataset read_classes",
    "tasks.empty_masks": "with_foreground",
    "tasks.label_noise": "LabelNoiseReport PerturbLabeld",
    "tasks.scan_cache": "ScanCache",
    "tasks.segmentation_data": "CaseDataset cases_identity read_cases share_of_rank take_label_fraction",
    "tasks.settings": "check_settings",
    "training.alarms": "ChanceAlarm PretrainingAlarm",
    "training.best_model": "BestModel LastModel",
    "training.checkpoints": "TrainingCheckpoint",
    "training.handlers": "EarlyStop Progress TrainingAlarm use_handler",
    "training.loss_record": "LossRecorder loss_values",
    "training.metrics": "PredictedClasses at_least_as_good constant_error input_and_target logits_and_targets "
    "lower_is_better read_metric",
    "training.mixed_precision": "MixedPrecisionInferer",
    "training.overlap": "ForegroundDice ForegroundIoU",
    "training.reversal": "ReversalRamp",
    "training.run": "place_network run_training",
    "training.schedules": "FineTuningSchedule fine_tuning_groups",
    "training.sampling": "BalancedBatchSampler SamplerStep",
    "training.statistics": "ReestimatedStatistics",
    "utils.command_line": "check_command_line",
    "utils.errors": "show_user_errors",
    "utils.files": "make_folders",
    "utils.settings": "to_bool",
    "inference.encoder": "encoder",
    "weights.continuation": "continue_pretraining",
    "weights.hub": "find_weights",
    "weights.loading": "load_pretrained",
    "weights.provenance": "pretraining_provenance task_provenance",
    "weights.recipe": "image_recipe trained_with",
    "weights.strict": "load_weights",
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names.split()}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Import a public name from its module, once (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
