# SPDX-License-Identifier: Apache-2.0
"""The supervised systems that the paper compares with (IV-C.1), written from their papers, with public layer names.

`i3d`: Inflated 3D (Carreira and Zisserman 2017). `dense_vnet`: NiftyNet's Dense V-Network (Gibson et al. 2018).
`med3d`: the dilated ResNet of Med3D (Chen et al. 2019). Each is an encoder with a network for segmentation and one
for classification. Their parts are named `encoder`, `decoder` and `classifier` as in `method.models`, so that training
and the loading of weights treat them alike. `decoder`: our U-Net's decoder for encoders of other strides. `inputs`:
what the networks do with an image first. It imports `method`.
"""
