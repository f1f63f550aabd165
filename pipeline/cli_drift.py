"""The command that looks for drift."""

from pipeline.cli_options import ConfigFile, DryRun, IntervalOption, Json, Overrides, Symbols, Workdir


def drift(
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    workdir: Workdir = None,
) -> None:
    """Compare the newest bars with what the bundle was trained on; exit 1 if they have drifted away.

    Example: pipeline drift -c configs/demo.yaml --set drift.window=14d
    """
    from pipeline.stages.drift import drift
    from pipeline.stages.runner import Options

    drift(Options(config, symbol or (), interval, set_ or (), dry_run, json, workdir))
