-- name: create
INSERT INTO layer.functions
    (id, stem, spec, is_swept, is_paused, candidate_of, outputs, fires_at, pause_reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $5 THEN 'requested' END)
RETURNING *

-- name: now
SELECT now()

-- name: upsert
INSERT INTO layer.functions AS f
    (id, stem, spec, is_swept, is_paused, candidate_of, outputs, fires_at)
VALUES ($1, $2, $3, $4, false, $5, $6, $7)
ON CONFLICT (id) DO UPDATE
    SET spec = EXCLUDED.spec, is_swept = EXCLUDED.is_swept, fires_at = EXCLUDED.fires_at,
        updated_at = now(), sweep_due_at = now()
    WHERE f.spec <> EXCLUDED.spec
RETURNING *

-- name: retry_failed
UPDATE layer.function_items
SET failed_at = NULL, message = NULL, attempts = 0, due_at = now()
WHERE function = $1 AND failed_at IS NOT NULL

-- name: get
SELECT * FROM layer.functions WHERE id = $1

-- name: page
SELECT * FROM layer.functions WHERE candidate_of IS NULL AND id > $1 ORDER BY id LIMIT $2

-- name: all
SELECT * FROM layer.functions ORDER BY id

-- name: delete
-- What belongs to them goes later, a part at a time; nobody finds it from now on.
WITH gone AS (
    DELETE FROM layer.functions
    WHERE id = $1 OR candidate_of = (SELECT number FROM layer.functions WHERE id = $1)
    RETURNING number
)
INSERT INTO layer.purged_functions (number) SELECT number FROM gone
RETURNING number

-- name: lock_purge
-- One that no other replica is at.
SELECT number FROM layer.purged_functions ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: purge
-- Some of the items of a function that is gone. $1 function, $2 limit
WITH gone AS (
    DELETE FROM layer.function_items WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM layer.function_items WHERE function = $1
        ORDER BY namespace, id LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING 1
)
SELECT count(*) FROM gone

-- name: forget_purge
WITH completed AS (
    DELETE FROM layer.function_completions WHERE function = $1
), counted AS (
    DELETE FROM layer.function_item_counts WHERE function = $1
)
DELETE FROM layer.purged_functions WHERE number = $1

-- name: set_paused
UPDATE layer.functions
SET updated_at = CASE WHEN is_paused = $2 THEN updated_at ELSE now() END, is_paused = $2,
    pause_reason = CASE WHEN $2 THEN $3 END
WHERE id = $1
RETURNING *

-- name: due_sweeps
SELECT f.* FROM layer.functions f
WHERE (f.is_swept OR f.firing_count > f.swept_firing_count)
    AND NOT f.is_paused AND f.sweep_due_at <= now()
    AND NOT EXISTS (
        SELECT FROM layer.function_duties d
        WHERE d.function = f.number AND d.duty = 'sweep' AND d.until > now()
    )
ORDER BY f.sweep_due_at LIMIT $1

-- name: swept
-- A firing that came while it was swept is swept for at once.
UPDATE layer.functions
SET sweep_count = sweep_count + 1, sweep_failures = 0, swept_at = now(), active_namespaces = $2,
    sweep_due_at = CASE WHEN firing_count > $4 THEN now() ELSE now() + make_interval(secs => $3) END,
    swept_firing_count = greatest(swept_firing_count, $4)
WHERE number = $1

-- name: sweep_failed
UPDATE layer.functions
SET sweep_failures = sweep_failures + 1, sweep_due_at = now() + make_interval(secs => $2)
WHERE number = $1

-- name: take_duty
INSERT INTO layer.function_duties AS d (function, duty, holder, until)
SELECT number, $2, $3, now() + make_interval(secs => $4) FROM layer.functions WHERE number = $1
ON CONFLICT (function, duty) DO UPDATE
    SET holder = EXCLUDED.holder, until = EXCLUDED.until
    WHERE d.until <= now() OR d.holder = EXCLUDED.holder
RETURNING true

-- name: give_up_duty
DELETE FROM layer.function_duties WHERE function = $1 AND duty = $2 AND holder = $3

-- name: due_firings
SELECT number, spec, now() AS now FROM layer.functions
WHERE fires_at <= now() AND NOT is_paused
ORDER BY fires_at LIMIT $1
FOR UPDATE SKIP LOCKED

-- name: fire
UPDATE layer.functions
SET firing_count = firing_count + 1, fired_at = now(), fires_at = $2, sweep_due_at = now()
WHERE number = $1

-- name: settle_firings
UPDATE layer.functions f
SET settled_firing_count = swept_firing_count
WHERE f.firing_count > f.settled_firing_count AND f.firing_count = f.swept_firing_count
    AND NOT EXISTS (
        SELECT FROM layer.function_items i
        WHERE i.function = f.number AND i.lease IS NULL AND i.failed_at IS NULL
    )
    AND NOT EXISTS (
        SELECT FROM layer.function_items i WHERE i.function = f.number AND i.lease IS NOT NULL
    )
