"""The commands that ask how far a result can be trusted."""

from pipeline.cli_options import ConfigFile, DryRun, IntervalOption, Json, Overrides, Symbols, Workdir


def cross_validate(
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    workdir: Workdir = None,
) -> None:
    """Score and trade many histories of out-of-sample groups: the spread of the result, not one number.

    Example: pipeline cross-validate -c configs/demo.yaml --set cross_validation.groups=6
    """
    from pipeline.stages.runner import Options, run_stages

    run_stages(["cross-validate"], Options(config, symbol or (), interval, set_ or (), dry_run, json, workdir))
