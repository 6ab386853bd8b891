-- Times are milliseconds since 1970.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY, -- the order of acceptance
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    conversation TEXT,
    order_key BLOB, -- the jobs that share it run one after the other
    revision TEXT NOT NULL,
    seed BLOB NOT NULL,
    status INTEGER NOT NULL, -- 0 waiting, 1 retrying, 2 running, 3 delivered, 4 dead
    attempts INTEGER NOT NULL DEFAULT 0,
    leases INTEGER NOT NULL DEFAULT 0,
    accepted_at INTEGER NOT NULL,
    due_at INTEGER, -- may be leased from then on; NULL for finished jobs, and for ordered ones behind another
    retry_for INTEGER NOT NULL,
    retry_until INTEGER NOT NULL,
    finished_at INTEGER,
    reason TEXT,
    payload BLOB NOT NULL
);
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_in_order ON jobs (order_key, seq) WHERE order_key IS NOT NULL AND status < 3;
CREATE UNIQUE INDEX jobs_one_at_a_time ON jobs (order_key) WHERE order_key IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX jobs_by_status ON jobs (status, accepted_at);
CREATE INDEX jobs_delivered ON jobs (finished_at) WHERE status = 3;

CREATE TABLE conversations (
    key BLOB PRIMARY KEY,
    platform TEXT NOT NULL,
    conversation TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX conversations_by_id ON conversations (conversation);
CREATE INDEX conversations_expired ON conversations (expires_at);

CREATE TABLE memories (
    key BLOB NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    bytes INTEGER NOT NULL, -- what counts against the limit
    is_trusted INTEGER NOT NULL,
    is_sensitive INTEGER NOT NULL,
    PRIMARY KEY (key, name)
) WITHOUT ROWID;

CREATE TABLE calls (
    key BLOB PRIMARY KEY,
    token INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    unconfirmed_until INTEGER, -- set once something may have been sent
    answer BLOB,
    kept_until INTEGER NOT NULL DEFAULT 0,
    purge_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX calls_expired ON calls (purge_at);
