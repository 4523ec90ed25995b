# SPDX-License-Identifier: Apache-2.0
"""The paper and nothing else; it imports nothing of ours from elsewhere. To read in this order:

`unet`: encoder E and decoder G (IV-B.2). `heads`: gradient reversal and modality discriminator D (III-B, Eq. 2), scale
classifier S (III-C, Eq. 3). `models`: Fig. 1 made of these parts, and the networks of the target tasks (IV-C.2).
`losses`: the objective (Eq. 1 to 4). `corruptions` and `local_shuffling`: what τ does to a cube (III-A). `genesis`,
`block_sampling` and `counter_rng`: its random sampling, a function of each cube's seed. `trainer`: one backward pass
for all parts (Eq. 4), with their learning rates (IV-B.2).
"""
