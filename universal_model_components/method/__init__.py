# SPDX-License-Identifier: Apache-2.0
"""The paper and nothing else, in reading order; it imports nothing else of this package.

`unet` (E and G, IV-B.2), `heads` (S and D with gradient reversal, III-B, III-C), `models` (the networks of Fig. 1 and
of the target tasks), `losses` (Eq. 1 to 4), `corruptions` and `local_shuffling` (τ as arithmetic, III-A), `genesis`,
`block_sampling` and `counter_rng` (random sampling of τ's parameters), `trainer` (one backward pass for every part).
"""
