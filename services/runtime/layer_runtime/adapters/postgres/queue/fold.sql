-- Sums the changes that are older than any window of a rate.
-- $1 owner, $2 seconds
WITH old AS (
    DELETE FROM {counts}
    WHERE owner = $1 AND at < now() - $2 * interval '1 second'
    RETURNING stage, reason, at, change
)
INSERT INTO {counts} (owner, stage, reason, at, change)
SELECT $1, stage, reason, min(at), sum(change)
FROM old GROUP BY stage, reason HAVING sum(change) <> 0
