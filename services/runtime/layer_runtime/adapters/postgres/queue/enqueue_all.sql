-- Items of which none is settled ever, or whose settling does not matter. Counts those that are new.
-- $1 owner, $2 items, $3 stage
INSERT INTO {queue} (owner, item, stage, due_at, entered_at)
SELECT $1, item, $3, now(), now()
FROM unnest($2::text[]) AS item
ON CONFLICT (owner, item) DO NOTHING
