"""What people look at and operate: experiment, policies, explain, learning page, storefront."""
