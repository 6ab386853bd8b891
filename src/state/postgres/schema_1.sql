-- Times are milliseconds since 1970, of the server's clock.
CREATE TABLE jackfield_jobs (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of acceptance
    id text COLLATE "C" NOT NULL UNIQUE,
    kind text NOT NULL,
    name text NOT NULL,
    platform text NOT NULL,
    conversation text,
    order_key bytea, -- the jobs that share it run one after the other
    revision text NOT NULL,
    seed bytea NOT NULL,
    status smallint NOT NULL, -- 0 waiting, 1 retrying, 2 running, 3 delivered, 4 dead
    attempts integer NOT NULL DEFAULT 0,
    leases integer NOT NULL DEFAULT 0,
    accepted_at bigint NOT NULL,
    due_at bigint, -- may be leased from then on; NULL for finished jobs, and for ordered ones behind another
    held_by bigint, -- the instance that accepted it and may lease it before it is due
    retry_for bigint NOT NULL,
    retry_until bigint NOT NULL,
    finished_at bigint,
    reason text,
    payload bytea NOT NULL
);
CREATE INDEX jackfield_jobs_due ON jackfield_jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jackfield_jobs_in_order ON jackfield_jobs (order_key, seq) WHERE order_key IS NOT NULL AND status < 3;
CREATE UNIQUE INDEX jackfield_jobs_one_at_a_time ON jackfield_jobs (order_key)
    WHERE order_key IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX jackfield_jobs_by_status ON jackfield_jobs (status, accepted_at);
CREATE INDEX jackfield_jobs_delivered ON jackfield_jobs (finished_at) WHERE status = 3;

CREATE TABLE jackfield_conversations (
    key bytea PRIMARY KEY,
    platform text NOT NULL,
    conversation text NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX jackfield_conversations_by_id ON jackfield_conversations (conversation);
CREATE INDEX jackfield_conversations_expired ON jackfield_conversations (expires_at);

CREATE TABLE jackfield_memories (
    key bytea NOT NULL REFERENCES jackfield_conversations (key) ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    bytes bigint NOT NULL, -- what counts against the limit
    is_trusted boolean NOT NULL,
    is_sensitive boolean NOT NULL,
    PRIMARY KEY (key, name)
);

CREATE TABLE jackfield_calls (
    key bytea PRIMARY KEY,
    token bigint NOT NULL,
    lease_until bigint NOT NULL,
    unconfirmed_until bigint, -- set once something may have been sent
    answer bytea,
    kept_until bigint NOT NULL DEFAULT 0,
    is_followed boolean NOT NULL DEFAULT false,
    purge_at bigint NOT NULL
);
CREATE INDEX jackfield_calls_expired ON jackfield_calls (purge_at);
