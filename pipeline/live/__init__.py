"""Live: what `serve` adds to the trading core. Time, network and disk reach it through `seams` only."""
