"""How workers of a cluster are set up; tests/integration/test_ray_engine.py has the cluster."""

from dusha_ser.engines.cluster import worker_variables

SHAPES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def test_workers_keep_few_prepared_shapes_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv(SHAPES, raising=False)
    assert worker_variables() == {SHAPES: "64"}
    monkeypatch.setenv(SHAPES, "1024")
    assert worker_variables() == {SHAPES: "1024"}
