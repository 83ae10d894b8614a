-- name: create
INSERT INTO layer.pipelines (id, target_namespace, distance_metric) VALUES ($1, $2, $3)
ON CONFLICT (id) DO NOTHING
RETURNING number, id, target_namespace, distance_metric, created_at

-- name: get
SELECT number, id, target_namespace, distance_metric, created_at
FROM layer.pipelines WHERE id = $1

-- name: page
SELECT number, id, target_namespace, distance_metric, created_at
FROM layer.pipelines WHERE id > $1 ORDER BY id LIMIT $2

-- name: delete
-- What belongs to it goes later, a part at a time; nobody finds it from now on.
WITH gone AS (
    DELETE FROM layer.pipelines WHERE id = $1 RETURNING number, id
)
INSERT INTO layer.purged_pipelines (number, id) SELECT number, id FROM gone
RETURNING number

-- name: lock_purge
-- One that no other replica is at.
SELECT number, id FROM layer.purged_pipelines ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: forget_purge
DELETE FROM layer.purged_pipelines WHERE number = $1
