-- name: create
INSERT INTO layer.pipelines (id, target_namespace, distance_metric, cron, fires_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO NOTHING
RETURNING *

-- name: now
SELECT now()

-- name: get
SELECT * FROM layer.pipelines WHERE id = $1

-- name: page
SELECT * FROM layer.pipelines WHERE id > $1 ORDER BY id LIMIT $2

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

-- name: due_firings
SELECT number, cron, now() AS now FROM layer.pipelines
WHERE fires_at <= now() ORDER BY fires_at LIMIT $1
FOR UPDATE SKIP LOCKED

-- name: fire
UPDATE layer.pipelines SET fired_at = now(), fires_at = $2, is_window_open = true WHERE number = $1

-- name: close_windows
UPDATE layer.pipelines p SET is_window_open = false
WHERE p.is_window_open AND p.fired_at < now() - make_interval(secs => $1)
    AND NOT EXISTS (SELECT FROM layer.document_queue d WHERE d.pipeline = p.number)
