-- Items that are neither waiting nor settled. Returns those that are new.
-- $1 owner, $2 items, $3 stage
INSERT INTO {queue} (owner, item, stage, due_at, entered_at)
SELECT $1, item, $3, now(), now()
FROM unnest($2::text[]) AS item
WHERE NOT EXISTS (
    SELECT FROM {settled} AS settled WHERE settled.owner = $1 AND settled.item = item.item
)
ON CONFLICT (owner, item) DO NOTHING
RETURNING item
