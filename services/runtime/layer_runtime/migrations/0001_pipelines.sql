-- Pipelines and the queue of their documents. The statements over it are in
-- adapters/postgres/sql/documents.sql.

CREATE SEQUENCE layer.document_leases;

-- Work that is not done. Narrow, and small: what is done leaves it.
CREATE TABLE layer.document_queue (
    pipeline integer NOT NULL,           -- its number
    document text COLLATE "C" NOT NULL,  -- its id
    stage text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,         -- waiting: claimable from then on; leased: until then
    entered_at timestamptz NOT NULL,     -- when it came into its stage
    lease bigint,                        -- token of the claim that holds it, NULL while it waits
    lease_s integer,                     -- seconds for which it was claimed
    worker text,                         -- who holds it
    claimed_from text,                   -- the stage it goes back to when that goes wrong
    attempts integer NOT NULL DEFAULT 0, -- that failed, or whose lease ran out
    reason text,                         -- why the last of them did
    payload bytea,                       -- names its chunks in the object store; NULL without
    PRIMARY KEY (pipeline, document)
);
-- A row is in one of these two, so that a claim reads what is free and nothing else.
CREATE INDEX document_queue_waiting ON layer.document_queue (pipeline, stage, due_at)
    WHERE lease IS NULL;
CREATE INDEX document_queue_leased ON layer.document_queue (pipeline, due_at, stage)
    WHERE lease IS NOT NULL;

-- Work that is done or given up. Written once, read by id.
CREATE TABLE layer.document_settled (
    pipeline integer NOT NULL,
    document text COLLATE "C" NOT NULL,
    stage text COLLATE "C" NOT NULL,     -- indexed or failed
    settled_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    reason text,                         -- of one that failed
    payload bytea,
    PRIMARY KEY (pipeline, document)
);
CREATE INDEX document_settled_failed ON layer.document_settled (pipeline, document)
    WHERE stage = 'failed';

-- How many documents are settled, as changes that are summed and folded: no row that all workers
-- would have to wait for. Changes of the last minutes are the rate.
CREATE TABLE layer.document_counts (
    pipeline integer NOT NULL,
    stage text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,    -- empty for one that did not fail
    at timestamptz NOT NULL,
    change bigint NOT NULL
);
CREATE INDEX document_counts_at ON layer.document_counts (pipeline, at);

-- Every row of a queue dies soon. Vacuum comes by count and not by share, is not held back, and
-- finds pages with room for the next versions.
ALTER TABLE layer.document_queue SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE layer.document_counts SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE layer.pipelines (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    target_namespace text NOT NULL,
    distance_metric text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Pipelines that were deleted and whose documents and chunks are still to go.
CREATE TABLE layer.purged_pipelines (
    number integer PRIMARY KEY,
    id text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
