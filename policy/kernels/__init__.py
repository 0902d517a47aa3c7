"""The policy at serving speed: numba functions over float32, one thread, nothing allocated.

`request` holds the two entry points; the others are its steps, one file each. What the numbers mean
stands in `policy.reference`; how they lie in memory, in `layout` and `scratch`.
"""
