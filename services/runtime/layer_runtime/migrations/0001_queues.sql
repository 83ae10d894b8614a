-- Queues: one set of three tables for the documents of pipelines, one for the items of functions.
-- The statements over them are in adapters/postgres/queue, shared by both.

CREATE SEQUENCE layer.leases;

-- Work that is not done. Narrow, and small: what is done leaves it.
CREATE TABLE layer.document_queue (
    owner integer NOT NULL,              -- number of the pipeline
    item text COLLATE "C" NOT NULL,      -- id of the document
    stage text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,         -- waiting: claimable from then on; leased: until then
    entered_at timestamptz NOT NULL,     -- when it came into its stage
    lease bigint,                        -- token of the claim that holds it, NULL while it waits
    lease_s integer,                     -- seconds for which it was claimed
    worker text,                         -- who holds it
    claimed_from text,                   -- the stage it goes back to when that goes wrong
    attempts integer NOT NULL DEFAULT 0, -- that failed, or whose lease ran out
    reason text,                         -- why the last of them did
    payload bytea,                       -- what the owner wants to know of it
    PRIMARY KEY (owner, item)
);
-- A row is in one of these two, so that a claim reads what is free and nothing else.
CREATE INDEX document_queue_waiting ON layer.document_queue (owner, stage, due_at)
    WHERE lease IS NULL;
CREATE INDEX document_queue_leased ON layer.document_queue (owner, due_at, stage)
    WHERE lease IS NOT NULL;

-- Work that is done or given up. Written once, read by id.
CREATE TABLE layer.document_settled (
    owner integer NOT NULL,
    item text COLLATE "C" NOT NULL,
    stage text COLLATE "C" NOT NULL,     -- indexed or failed
    settled_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    reason text,                         -- of one that failed
    payload bytea,
    PRIMARY KEY (owner, item)
);
CREATE INDEX document_settled_failed ON layer.document_settled (owner, item)
    WHERE stage = 'failed';

-- How many items are settled, as changes that are summed and folded: no row that all workers
-- would have to wait for. Changes of the last minutes are the rate.
CREATE TABLE layer.document_counts (
    owner integer NOT NULL,
    stage text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,    -- empty for one that did not fail
    at timestamptz NOT NULL,
    change bigint NOT NULL
);
CREATE INDEX document_counts_at ON layer.document_counts (owner, at);

CREATE TABLE layer.item_queue (LIKE layer.document_queue INCLUDING ALL);
CREATE TABLE layer.item_settled (LIKE layer.document_settled INCLUDING ALL);
CREATE TABLE layer.item_counts (LIKE layer.document_counts INCLUDING ALL);

-- Every row of a queue dies soon. Vacuum comes by count and not by share, is not held back, and
-- finds pages with room for the next versions.
ALTER TABLE layer.document_queue SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE layer.item_queue SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE layer.document_counts SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE layer.item_counts SET (
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
