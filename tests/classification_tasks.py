# SPDX-License-Identifier: Apache-2.0
"""The classification bundles in the tests: their small settings and synthetic data."""

from __future__ import annotations

import nibabel
from luna import write_datalist

from universal_model_components.phantom import draw_brain_mri

LNC, ADC = "lung_nodule_ct_classification", "alzheimers_mri_classification"


SMALL = {
    LNC: {"patch_size": [16, 16, 16], "batch_size": 4},
    ADC: {"patch_size": [24, 24, 24], "spacing": [8.0, 8.0, 8.0], "batch_size": 2},
}


def write_adni(folder):
    """Heads with and without a large lesion, which stands for the disease, under ADNI's kind of name."""
    entries = []
    for number in range(8):
        phantom = draw_brain_mri(number, (32, 32, 24), contrast="t1", tumor=number % 2 == 1)
        name = f"ADNI_{136 + number:03d}_S_0{number}86_MR_MPR__GradWarp__B1_Correction__N3__Scaled.nii.gz"
        nibabel.save(nibabel.Nifti1Image(phantom.image, phantom.affine), folder / name)
        entries.append({"image": name, "modality": "mri", "case": f"subject_{number}", "label": number % 2})
    return write_datalist(folder, entries[:4], entries[4:6], entries[6:])
