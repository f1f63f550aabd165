"""Models: fits on rows binned once, bundles that prove themselves whole, scores equal bit for bit."""
