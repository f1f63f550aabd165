import contextlib, tempfile
from evaluation.leaks import world
from pipeline.stages.verify import certify
def test_x(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels=[{"highlow2": {"thresholds": [0.8], "tolerance": 0.5, "horizon": "3h", "names": ["up"]}}, {"meta": {"horizon": "3h", "cost": 0.0}}]
    d=world.config(labels=labels, meta={"algorithm":{"name":"second","rounds":5}, "folds":3}, sizing={"probability":{"floor":0.2}}, signals={"steps": [{"threshold": {"column": "up_gb", "buy": 0.2, "sell": 0.1}}]})
    world.run(d,"download","merge",*world.CHAIN)
    c=certify(d, world.LAYOUT, "fast")
    for f in c.failures: print(f)
    print(len(c.findings), sorted({x.column for x in c.findings}))
    assert not c.failures
