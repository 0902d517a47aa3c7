"""What the policy is: features, network, candidates, the Plackett-Luce draw, snapshots, registry.

One definition three times: `policy.reference` (float64, the definition), `policy.torch_network`
(training),
`policy.kernels` (numba, serving; no torch). `tests/contracts/test_policy.py` holds the three
together.
"""
