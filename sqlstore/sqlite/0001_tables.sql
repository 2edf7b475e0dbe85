-- The tables of Outhook. All names begin with the table prefix; what an
-- application may read is described in the documentation of package sqlstore.
-- Times are microseconds since 1970.

CREATE TABLE outhook_schema (
	version    INTEGER PRIMARY KEY,
	applied_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER) * 1000000)
) STRICT;

-- In this and the other tables, seq numbers the rows in the order of their
-- insertion, which breaks the ties between equal times.
CREATE TABLE outhook_endpoints (
	seq             INTEGER PRIMARY KEY,
	id              TEXT NOT NULL UNIQUE,
	tenant          TEXT NOT NULL,
	all_tenants     INTEGER NOT NULL,
	patterns        TEXT NOT NULL, -- as a JSON array
	ordered         INTEGER NOT NULL,
	disabled        INTEGER NOT NULL,
	disabled_reason TEXT NOT NULL,
	created_at      INTEGER NOT NULL,
	updated_at      INTEGER NOT NULL,
	rev             INTEGER NOT NULL,
	config          BLOB NOT NULL
) STRICT;
CREATE INDEX outhook_ix_endpoints_tenant ON outhook_endpoints (tenant, created_at);

-- Which endpoints an event reaches: plain set membership. The tenant is "*" for
-- an endpoint of all tenants.
CREATE TABLE outhook_subscriptions (
	tenant      TEXT NOT NULL,
	pattern     TEXT NOT NULL,
	endpoint_id TEXT NOT NULL,
	PRIMARY KEY (tenant, pattern, endpoint_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX outhook_ix_subscriptions_endpoint ON outhook_subscriptions (endpoint_id);

CREATE TABLE outhook_events (
	seq          INTEGER PRIMARY KEY,
	id           TEXT NOT NULL UNIQUE,
	key          TEXT,
	type         TEXT NOT NULL,
	tenant       TEXT NOT NULL,
	ordering_key TEXT NOT NULL,
	time         INTEGER NOT NULL,
	created_at   INTEGER NOT NULL,
	test         INTEGER NOT NULL,
	sum          BLOB NOT NULL,
	data         BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX outhook_ix_events_key ON outhook_events (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX outhook_ix_events_tenant ON outhook_events (tenant, created_at);
CREATE INDEX outhook_ix_events_created ON outhook_events (created_at);

-- Pending deliveries: the queue. Finished ones move to outhook_finished and keep
-- their seq, so that this table and its indexes stay small.
CREATE TABLE outhook_pending (
	seq           INTEGER PRIMARY KEY AUTOINCREMENT,
	id            TEXT NOT NULL UNIQUE,
	event_id      TEXT NOT NULL,
	event_type    TEXT NOT NULL,
	event_tenant  TEXT NOT NULL,
	endpoint_id   TEXT NOT NULL,
	tenant        TEXT NOT NULL, -- the endpoint's
	origin        TEXT NOT NULL,
	attempts      INTEGER NOT NULL DEFAULT 0,
	last_status   INTEGER NOT NULL DEFAULT 0,
	last_error    TEXT NOT NULL DEFAULT '',
	first_attempt INTEGER,
	next_attempt  INTEGER NOT NULL, -- the end of the lease while leased
	created_at    INTEGER NOT NULL,
	updated_at    INTEGER NOT NULL,
	lease         INTEGER NOT NULL, -- the fencing token
	leased        INTEGER NOT NULL,
	expired       INTEGER NOT NULL DEFAULT 0,
	outside       INTEGER NOT NULL, -- born leased: outside the order
	chain         TEXT,             -- the ordering key, of an ordered endpoint only
	head          INTEGER NOT NULL, -- may be claimed: in no chain, or the first of it
	size          INTEGER NOT NULL  -- of the event's data
) STRICT;
CREATE INDEX outhook_ix_pending_due ON outhook_pending (endpoint_id, head, next_attempt);
CREATE INDEX outhook_ix_pending_chain ON outhook_pending (endpoint_id, chain) WHERE chain IS NOT NULL;
CREATE INDEX outhook_ix_pending_event ON outhook_pending (event_id);

-- Finished deliveries.
CREATE TABLE outhook_finished (
	seq           INTEGER PRIMARY KEY,
	id            TEXT NOT NULL UNIQUE,
	event_id      TEXT NOT NULL,
	event_type    TEXT NOT NULL,
	event_tenant  TEXT NOT NULL,
	endpoint_id   TEXT NOT NULL,
	tenant        TEXT NOT NULL,
	state         TEXT NOT NULL, -- delivered, exhausted or cancelled
	origin        TEXT NOT NULL,
	attempts      INTEGER NOT NULL,
	last_status   INTEGER NOT NULL,
	last_error    TEXT NOT NULL,
	first_attempt INTEGER,
	created_at    INTEGER NOT NULL,
	updated_at    INTEGER NOT NULL -- when it finished
) STRICT;
CREATE INDEX outhook_ix_finished_endpoint ON outhook_finished (endpoint_id, created_at);
CREATE INDEX outhook_ix_finished_failed ON outhook_finished (endpoint_id, created_at) WHERE state <> 'delivered';
CREATE INDEX outhook_ix_finished_tenant ON outhook_finished (tenant, created_at);
CREATE INDEX outhook_ix_finished_created ON outhook_finished (created_at);
CREATE INDEX outhook_ix_finished_event ON outhook_finished (event_id);

CREATE TABLE outhook_attempts (
	seq              INTEGER PRIMARY KEY,
	delivery_id      TEXT NOT NULL,
	id               TEXT NOT NULL,
	number           INTEGER NOT NULL,
	started_at       INTEGER NOT NULL,
	duration_us      INTEGER NOT NULL,
	url              TEXT NOT NULL,
	status           INTEGER NOT NULL,
	error            TEXT NOT NULL,
	request_headers  TEXT NOT NULL, -- as a JSON object
	response_headers TEXT NOT NULL,
	body_sha256      BLOB NOT NULL,
	response_body    BLOB NOT NULL,
	truncated        INTEGER NOT NULL
) STRICT;
CREATE INDEX outhook_ix_attempts_delivery ON outhook_attempts (delivery_id);

-- The queue's order. A lane is the queue's view of an endpoint: which endpoints
-- have something due, and whose turn it is, without looking at their backlogs. As
-- there is one writer at a time, everything that changes what is pending tells
-- the lane at once, through outhook_alarms.
CREATE TABLE outhook_lanes (
	endpoint_id   TEXT PRIMARY KEY,
	tenant        TEXT NOT NULL,
	turn          INTEGER NOT NULL DEFAULT 0, -- the smallest of those awake in its tenant is next
	wake          INTEGER,          -- asleep until then; null: awake
	since         INTEGER NOT NULL, -- nothing pending has an earlier next_attempt
	not_before    INTEGER,
	failing_since INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX outhook_ix_lanes_awake ON outhook_lanes (tenant, turn) WHERE wake IS NULL;
CREATE INDEX outhook_ix_lanes_asleep ON outhook_lanes (wake) WHERE wake IS NOT NULL;

-- What is inserted here tells a lane that something falls due, and where a chain
-- is named, that its first delivery may be another one now.
CREATE VIEW outhook_alarms (due, endpoint_id, chain) AS SELECT NULL, NULL, NULL WHERE false;
CREATE TRIGGER outhook_alarms_wake INSTEAD OF INSERT ON outhook_alarms BEGIN
	UPDATE outhook_lanes SET since = min(since, new.due), wake = min(wake, max(new.due, coalesce(not_before, 0)))
	WHERE endpoint_id = new.endpoint_id AND (since > new.due OR wake > max(new.due, coalesce(not_before, 0))); END;
CREATE TRIGGER outhook_alarms_chain INSTEAD OF INSERT ON outhook_alarms WHEN new.chain IS NOT NULL BEGIN
	UPDATE outhook_pending SET head = 1
	WHERE seq = (SELECT min(seq) FROM outhook_pending WHERE endpoint_id = new.endpoint_id AND chain = new.chain) AND NOT head; END;

INSERT INTO outhook_schema (version) VALUES (1);
