-- Settled items to another stage of the settled ones.
-- $1 owner, $2 items, $3 stage to settle in, $4 reason, $5 stage (NULL = whichever)
WITH before AS (
    SELECT item, stage, coalesce(reason, '') AS reason
    FROM {settled}
    WHERE owner = $1 AND item = ANY($2::text[]) AND ($5::text IS NULL OR stage = $5)
    ORDER BY item
    FOR UPDATE
), changed AS (
    UPDATE {settled} AS settled
    SET stage = $3, reason = nullif($4, ''), settled_at = now()
    FROM before WHERE settled.owner = $1 AND settled.item = before.item AND before.stage <> $3
    RETURNING before.stage, before.reason
), counted AS (
    INSERT INTO {counts} (owner, stage, reason, at, change)
    SELECT $1, stage, reason, now(), -count(*) FROM changed GROUP BY stage, reason
    UNION ALL
    SELECT $1, $3, $4, now(), count(*) FROM changed HAVING count(*) > 0
)
SELECT item FROM before
