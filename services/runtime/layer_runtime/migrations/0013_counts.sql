-- How much waits, as changes like those of document_counts: a status sums what was not folded yet,
-- however long the queue is, and no row is one that all workers would have to wait for. Triggers
-- note them, so that whatever changes a queue is counted, that of an earlier release too.

CREATE TABLE layer.document_queue_counts (
    pipeline integer NOT NULL,
    stage text COLLATE "C" NOT NULL,
    is_leased boolean NOT NULL,
    change bigint NOT NULL
);
CREATE INDEX document_queue_counts_pipeline ON layer.document_queue_counts (pipeline);

CREATE TABLE layer.function_item_counts (
    function integer NOT NULL,
    state text COLLATE "C" NOT NULL,     -- pending, processing or failed
    change bigint NOT NULL
);
CREATE INDEX function_item_counts_function ON layer.function_item_counts (function);

ALTER TABLE layer.document_queue_counts SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE layer.function_item_counts SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE FUNCTION layer.state_of(lease bigint, failed_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN lease IS NOT NULL THEN 'processing' WHEN failed_at IS NOT NULL THEN 'failed'
        ELSE 'pending' END
$$;

CREATE FUNCTION layer.count_documents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO layer.document_queue_counts
        SELECT pipeline, stage, lease IS NOT NULL, count(*) FROM came GROUP BY 1, 2, 3;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO layer.document_queue_counts
        SELECT pipeline, stage, lease IS NOT NULL, -count(*) FROM went GROUP BY 1, 2, 3;
    ELSE
        INSERT INTO layer.document_queue_counts
        SELECT pipeline, stage, is_leased, sum(change) FROM (
            SELECT pipeline, stage, lease IS NOT NULL AS is_leased, 1 AS change FROM came
            UNION ALL
            SELECT pipeline, stage, lease IS NOT NULL, -1 FROM went
        ) AS both_ways GROUP BY 1, 2, 3 HAVING sum(change) <> 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION layer.count_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO layer.function_item_counts
        SELECT function, layer.state_of(lease, failed_at), count(*) FROM came GROUP BY 1, 2;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO layer.function_item_counts
        SELECT function, layer.state_of(lease, failed_at), -count(*) FROM went GROUP BY 1, 2;
    ELSE
        INSERT INTO layer.function_item_counts
        SELECT function, state, sum(change) FROM (
            SELECT function, layer.state_of(lease, failed_at) AS state, 1 AS change FROM came
            UNION ALL
            SELECT function, layer.state_of(lease, failed_at), -1 FROM went
        ) AS both_ways GROUP BY 1, 2 HAVING sum(change) <> 0;
    END IF;
    RETURN NULL;
END
$$;

-- Nobody changes a queue between the triggers and the count of what is in it.
LOCK TABLE layer.document_queue, layer.function_items IN SHARE ROW EXCLUSIVE MODE;

CREATE TRIGGER count_came AFTER INSERT ON layer.document_queue
    REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION layer.count_documents();
CREATE TRIGGER count_went AFTER DELETE ON layer.document_queue
    REFERENCING OLD TABLE AS went FOR EACH STATEMENT EXECUTE FUNCTION layer.count_documents();
CREATE TRIGGER count_changed AFTER UPDATE ON layer.document_queue
    REFERENCING OLD TABLE AS went NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION layer.count_documents();

CREATE TRIGGER count_came AFTER INSERT ON layer.function_items
    REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION layer.count_items();
CREATE TRIGGER count_went AFTER DELETE ON layer.function_items
    REFERENCING OLD TABLE AS went FOR EACH STATEMENT EXECUTE FUNCTION layer.count_items();
CREATE TRIGGER count_changed AFTER UPDATE ON layer.function_items
    REFERENCING OLD TABLE AS went NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION layer.count_items();

INSERT INTO layer.document_queue_counts
SELECT pipeline, stage, lease IS NOT NULL, count(*) FROM layer.document_queue GROUP BY 1, 2, 3;
INSERT INTO layer.function_item_counts
SELECT function, layer.state_of(lease, failed_at), count(*) FROM layer.function_items GROUP BY 1, 2;

-- What is copied in names no moments.
ALTER TABLE layer.document_queue
    ALTER COLUMN due_at SET DEFAULT now(), ALTER COLUMN entered_at SET DEFAULT now();
ALTER TABLE layer.function_items ALTER COLUMN due_at SET DEFAULT now();

-- Functions that were deleted and whose items are still to go.
CREATE TABLE layer.purged_functions (
    number integer PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
