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

-- Deliveries, pending and finished ones: what the log shows of them. Only those
-- that are finished are in the indexes of its listings, so that these pass over
-- no backlog.
CREATE TABLE outhook_deliveries (
	seq           INTEGER PRIMARY KEY,
	id            TEXT NOT NULL UNIQUE,
	event_seq     INTEGER NOT NULL,
	event_id      TEXT NOT NULL,
	event_type    TEXT NOT NULL,
	event_tenant  TEXT NOT NULL,
	endpoint_id   TEXT NOT NULL,
	tenant        TEXT NOT NULL, -- the endpoint's
	state         TEXT NOT NULL, -- pending, delivered, exhausted or cancelled
	origin        TEXT NOT NULL,
	attempts      INTEGER NOT NULL DEFAULT 0,
	last_status   INTEGER NOT NULL DEFAULT 0,
	last_error    TEXT NOT NULL DEFAULT '',
	first_attempt INTEGER,
	created_at    INTEGER NOT NULL,
	updated_at    INTEGER NOT NULL -- when it finished, once it has
) STRICT;
CREATE INDEX outhook_ix_deliveries_event ON outhook_deliveries (event_id);
CREATE INDEX outhook_ix_deliveries_endpoint ON outhook_deliveries (endpoint_id, created_at) WHERE state <> 'pending';
CREATE INDEX outhook_ix_deliveries_failed ON outhook_deliveries (endpoint_id, created_at) WHERE state <> 'pending' AND state <> 'delivered';
CREATE INDEX outhook_ix_deliveries_tenant ON outhook_deliveries (tenant, created_at) WHERE state <> 'pending';
CREATE INDEX outhook_ix_deliveries_created ON outhook_deliveries (created_at) WHERE state <> 'pending';

-- The queue: what changes of a pending delivery until it is settled, in narrow
-- rows with short keys. A finished one has left it. What several rows are changed
-- in at once may be null: a statement that cannot fail midway need not be able to
-- undo a part of what it did.
CREATE TABLE outhook_queue (
	seq     INTEGER PRIMARY KEY, -- the delivery's
	lane    INTEGER NOT NULL,
	due     INTEGER,          -- the end of the lease while leased
	lease   INTEGER,          -- the fencing token
	leased  INTEGER,
	expired INTEGER,          -- leases that ran out
	logged  INTEGER NOT NULL DEFAULT 0, -- an attempt, at least
	outside INTEGER NOT NULL, -- born leased: outside the order
	chain   TEXT,             -- the ordering key, of an ordered endpoint only
	head    INTEGER NOT NULL, -- may be claimed: in no chain, or the first of it
	size    INTEGER NOT NULL  -- of the event's data
) STRICT;
CREATE INDEX outhook_ix_queue_due ON outhook_queue (lane, head, due);
CREATE INDEX outhook_ix_queue_chain ON outhook_queue (lane, chain) WHERE chain IS NOT NULL;

-- The attempts of a delivery are those whose numbers lie between its own, times
-- 2^24, and the next: the table is its own index, to which one that settles adds
-- at the end, nearly.
CREATE TABLE outhook_log (
	seq              INTEGER PRIMARY KEY,
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
CREATE VIEW outhook_attempts AS
	SELECT l.seq, d.id AS delivery_id, l.id, l.number, l.started_at, l.duration_us, l.url, l.status, l.error,
		l.request_headers, l.response_headers, l.body_sha256, l.response_body, l.truncated
	FROM outhook_deliveries d CROSS JOIN outhook_log l ON l.seq >= d.seq << 24 AND l.seq < d.seq + 1 << 24;
CREATE TRIGGER outhook_attempts_delete INSTEAD OF DELETE ON outhook_attempts BEGIN
	DELETE FROM outhook_log WHERE seq = old.seq; END;
CREATE TRIGGER outhook_deliveries_delete AFTER DELETE ON outhook_deliveries BEGIN
	DELETE FROM outhook_log WHERE seq >= old.seq << 24 AND seq < old.seq + 1 << 24; END;

-- The queue's order. A lane is the queue's view of an endpoint: which endpoints
-- have something due, and whose turn it is, without looking at their backlogs. As
-- there is one writer at a time, everything that changes what is pending tells
-- the lane at once, through outhook_alarms.
CREATE TABLE outhook_lanes (
	seq           INTEGER PRIMARY KEY,
	endpoint_id   TEXT NOT NULL UNIQUE,
	tenant        TEXT NOT NULL,
	turn          INTEGER NOT NULL DEFAULT 0, -- the smallest of those awake in its tenant is next
	wake          INTEGER,          -- asleep until then; null: awake
	since         INTEGER NOT NULL, -- nothing that may be claimed fell due before, unannounced
	not_before    INTEGER,
	failing_since INTEGER
) STRICT;
CREATE INDEX outhook_ix_lanes_awake ON outhook_lanes (tenant, turn) WHERE wake IS NULL;
CREATE INDEX outhook_ix_lanes_asleep ON outhook_lanes (wake) WHERE wake IS NOT NULL;

-- A lane stays until nothing is queued in it: outhook_pending needs it.
CREATE TRIGGER outhook_lanes_stay BEFORE DELETE ON outhook_lanes
WHEN EXISTS (SELECT 1 FROM outhook_queue WHERE lane = old.seq) BEGIN
	SELECT RAISE(IGNORE); END;

-- What is inserted here tells a lane that something falls due, and where a chain
-- is named, that its first delivery may be another one now.
CREATE VIEW outhook_alarms (due, endpoint_id, chain) AS SELECT NULL, NULL, NULL WHERE false;
CREATE TRIGGER outhook_alarms_wake INSTEAD OF INSERT ON outhook_alarms BEGIN
	UPDATE outhook_lanes SET since = min(since, new.due), wake = min(wake, max(new.due, coalesce(not_before, 0)))
	WHERE endpoint_id = new.endpoint_id AND (since > new.due OR wake > max(new.due, coalesce(not_before, 0))); END;
CREATE TRIGGER outhook_alarms_chain INSTEAD OF INSERT ON outhook_alarms WHEN new.chain IS NOT NULL BEGIN
	UPDATE outhook_queue SET head = 1
	WHERE seq = (SELECT min(q.seq) FROM outhook_lanes l JOIN outhook_queue q ON q.lane = l.seq AND q.chain = new.chain
		WHERE l.endpoint_id = new.endpoint_id) AND NOT head; END;

-- The deliveries, as an application may read them and as the parts of the package
-- see them that all databases have in common. A "+" keeps from an index that
-- would lead past the finished ones to the few that are pending.
CREATE VIEW outhook_pending AS
	SELECT q.seq, d.id, d.event_id, +d.event_type AS event_type, +d.event_tenant AS event_tenant, l.endpoint_id, +d.tenant AS tenant, d.origin,
		d.attempts, d.last_status, d.last_error, d.first_attempt, q.due AS next_attempt, +d.created_at AS created_at, d.updated_at,
		q.lease, q.leased, q.expired, q.outside, q.chain, q.head, q.size
	FROM outhook_queue q JOIN outhook_deliveries d ON d.seq = q.seq JOIN outhook_lanes l ON l.seq = q.lane;
CREATE VIEW outhook_finished AS
	SELECT seq, id, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
		attempts, last_status, last_error, first_attempt, created_at, updated_at
	FROM outhook_deliveries WHERE state <> 'pending';

-- What happens to them in bulk and seldom. A delivery is finished by what is
-- inserted here and leaves the queue by what is deleted there.
CREATE TRIGGER outhook_finished_insert INSTEAD OF INSERT ON outhook_finished BEGIN
	UPDATE outhook_deliveries SET state = new.state, updated_at = new.updated_at WHERE seq = new.seq; END;
CREATE TRIGGER outhook_finished_delete INSTEAD OF DELETE ON outhook_finished BEGIN
	DELETE FROM outhook_deliveries WHERE seq = old.seq; END;
CREATE TRIGGER outhook_pending_update INSTEAD OF UPDATE ON outhook_pending BEGIN
	UPDATE outhook_queue SET due = new.next_attempt, chain = new.chain, head = new.head WHERE seq = old.seq; END;
CREATE TRIGGER outhook_pending_delete INSTEAD OF DELETE ON outhook_pending BEGIN
	DELETE FROM outhook_deliveries WHERE seq = old.seq AND state = 'pending'; END;
CREATE TRIGGER outhook_pending_leave INSTEAD OF DELETE ON outhook_pending BEGIN
	DELETE FROM outhook_queue WHERE seq = old.seq; DELETE FROM outhook_lanes
	WHERE endpoint_id = old.endpoint_id AND NOT EXISTS (SELECT 1 FROM outhook_endpoints WHERE id = old.endpoint_id); END;

-- The dispatchers that run, so that they can share out limits.
CREATE TABLE outhook_dispatchers (
	id    TEXT PRIMARY KEY,
	until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO outhook_schema (version) VALUES (1);
