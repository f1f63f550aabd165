"""The leak detector: one check a module, all of pure functions over tables; the stage `verify` runs them."""
