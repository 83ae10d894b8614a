-- Some of the rows of an owner that is gone. $1 owner, $2 limit
WITH queued AS (
    DELETE FROM {queue} WHERE owner = $1 AND item = ANY(ARRAY(
        SELECT item FROM {queue} WHERE owner = $1 ORDER BY item LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING 1
), settled AS (
    DELETE FROM {settled} WHERE owner = $1 AND item = ANY(ARRAY(
        SELECT item FROM {settled} WHERE owner = $1 ORDER BY item LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING 1
), counted AS (
    DELETE FROM {counts} WHERE owner = $1
)
SELECT (SELECT count(*) FROM queued) + (SELECT count(*) FROM settled)
