# SPDX-License-Identifier: Apache-2.0
"""How bright each tissue is: Hounsfield units for CT, shares of the brightest tissue for MRI."""

from __future__ import annotations

# Hounsfield units without contrast medium; a contrast-filled heart changes the blood.
CT = {
    "air": -1000, "skin": 20, "fat": -100, "muscle": 52, "mediastinum": -85, "heart_fat": -90, "lung": -860,
    "vessel": 40, "airway": -990, "cortical": 720, "marrow": 230, "cartilage": 110, "disc": 75, "cord": 35,
    "liver": 62, "spleen": 52, "myocardium": 48, "blood_left": 40, "blood_right": 40, "blood_aorta": 42,
    "nodule": 45, "ground_glass": -520,
}  # fmt: skip
# Share of the brightest tissue, balanced steady-state images of the heart.
HEART_MRI = {
    "air": 0.02, "skin": 0.6, "fat": 0.85, "muscle": 0.28, "mediastinum": 0.62, "heart_fat": 0.7, "lung": 0.06,
    "vessel": 0.55, "airway": 0.02, "cortical": 0.05, "marrow": 0.45, "cartilage": 0.3, "disc": 0.4, "cord": 0.5,
    "liver": 0.38, "spleen": 0.5, "myocardium": 0.34, "blood_left": 0.98, "blood_right": 0.92, "blood_aorta": 0.95,
    "nodule": 0.4, "ground_glass": 0.15,
}  # fmt: skip
HEAD_MRI = {
    "t1": {
        "air": 0.01, "skin": 0.55, "fat": 1.0, "muscle": 0.38, "skull": 0.06, "marrow": 0.5, "fluid": 0.14,
        "gray": 0.47, "deep": 0.56, "white": 0.72, "stem": 0.66, "eye": 0.2, "plexus": 0.3, "lesion": 0.42,
        "rim": 0.9, "core": 0.25,
    },
    "t2": {
        "air": 0.01, "skin": 0.4, "fat": 0.62, "muscle": 0.22, "skull": 0.05, "marrow": 0.35, "fluid": 1.0,
        "gray": 0.55, "deep": 0.44, "white": 0.38, "stem": 0.4, "eye": 0.98, "plexus": 0.7, "lesion": 0.76,
        "rim": 0.62, "core": 0.9,
    },
    "flair": {
        "air": 0.01, "skin": 0.4, "fat": 0.62, "muscle": 0.28, "skull": 0.05, "marrow": 0.3, "fluid": 0.08,
        "gray": 0.5, "deep": 0.46, "white": 0.4, "stem": 0.42, "eye": 0.1, "plexus": 0.4, "lesion": 0.95,
        "rim": 0.72, "core": 0.22,
    },
}  # fmt: skip
