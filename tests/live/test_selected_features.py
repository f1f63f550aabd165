"""Models that use some of the features score live as they do over a table."""

from pathlib import Path

from live.batch import LAYOUT, MODELS, config, run_batch, write_downloads

from pipeline.models.bundle import read_manifest
from pipeline.stages import serve


def test_models_with_features_of_their_own_replay_to_the_last_bit(workspace: Path) -> None:
    selection = {"method": "mrmr", "keep": 3, "max_rows": 2000}
    declared = config(MODELS, train=MODELS["train"] | {"selection": selection})
    write_downloads(declared, 2000, native="1h")
    run_batch(declared)
    manifest = read_manifest(LAYOUT.trained)
    own = [facts["features"] for facts in manifest["models"].values()]
    assert all(1 <= len(names) <= 3 for names in own)
    assert len(manifest["features"]) < 11 and {tuple(names) for names in own} != {tuple(manifest["features"])}
    for restart_every in (None, 333):
        _, table = serve.run_replay(serve.within(declared, ("2024-01-01", "2024-02-01")), LAYOUT, restart_every)
        assert {line.what: line.line() for line in table if line.differing} == {}
        assert all(line.compared for line in table)
