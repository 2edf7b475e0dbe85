-- The tables of Outhook. All names begin with the table prefix; what an
-- application may read is described in the documentation of package sqlstore.

CREATE TABLE outhook_schema (
	version    integer PRIMARY KEY,
	applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One sequence numbers endpoints, events, deliveries and attempts in the order
-- of their insertion, which breaks the ties between equal times.
CREATE SEQUENCE outhook_seq;

CREATE TABLE outhook_endpoints (
	id              text COLLATE "C" PRIMARY KEY,
	seq             bigint NOT NULL DEFAULT nextval('outhook_seq'),
	tenant          text COLLATE "C" NOT NULL,
	all_tenants     boolean NOT NULL,
	patterns        text NOT NULL, -- as a JSON array
	ordered         boolean NOT NULL,
	disabled        boolean NOT NULL,
	disabled_reason text NOT NULL,
	created_at      timestamptz NOT NULL,
	updated_at      timestamptz NOT NULL,
	rev             bigint NOT NULL,
	config          bytea NOT NULL
);
CREATE INDEX outhook_ix_endpoints_tenant ON outhook_endpoints (tenant, created_at, seq);

-- Which endpoints an event reaches: plain set membership. The tenant is "*" for
-- an endpoint of all tenants.
CREATE TABLE outhook_subscriptions (
	tenant      text COLLATE "C" NOT NULL,
	pattern     text COLLATE "C" NOT NULL,
	endpoint_id text COLLATE "C" NOT NULL,
	PRIMARY KEY (tenant, pattern, endpoint_id)
);
CREATE INDEX outhook_ix_subscriptions_endpoint ON outhook_subscriptions (endpoint_id);

CREATE TABLE outhook_events (
	id           text COLLATE "C" PRIMARY KEY,
	seq          bigint NOT NULL DEFAULT nextval('outhook_seq'),
	key          text COLLATE "C",
	type         text NOT NULL,
	tenant       text COLLATE "C" NOT NULL,
	ordering_key text NOT NULL,
	time         timestamptz NOT NULL,
	created_at   timestamptz NOT NULL,
	test         boolean NOT NULL,
	data         bytea NOT NULL,
	sum          bytea NOT NULL
);
CREATE UNIQUE INDEX outhook_ix_events_key ON outhook_events (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX outhook_ix_events_tenant ON outhook_events (tenant, created_at, seq);
CREATE INDEX outhook_ix_events_created ON outhook_events (created_at, seq);

-- Pending deliveries: the queue. Finished ones move to outhook_finished, so that
-- this table stays small. A claim changes nothing that an index has, and pages
-- are half empty for it: its rows are rewritten in place (HOT).
CREATE TABLE outhook_pending (
	id            uuid PRIMARY KEY,
	seq           bigint NOT NULL DEFAULT nextval('outhook_seq'),
	event_id      text COLLATE "C" NOT NULL,
	event_type    text COLLATE "C" NOT NULL,
	event_tenant  text COLLATE "C" NOT NULL,
	endpoint_id   text COLLATE "C" NOT NULL,
	tenant        text COLLATE "C" NOT NULL, -- the endpoint's
	origin        text NOT NULL,
	attempts      integer NOT NULL DEFAULT 0,
	last_status   integer NOT NULL DEFAULT 0,
	last_error    text NOT NULL DEFAULT '',
	first_attempt timestamptz,
	due           timestamptz NOT NULL, -- its place in the queue, with seq
	next_attempt  timestamptz NOT NULL, -- the end of the lease while leased, else as due
	created_at    timestamptz NOT NULL,
	updated_at    timestamptz NOT NULL,
	lease         bigint NOT NULL DEFAULT 0, -- the fencing token
	leased        boolean NOT NULL DEFAULT false,
	expired       integer NOT NULL DEFAULT 0,
	outside       boolean NOT NULL DEFAULT false, -- born leased: outside the order
	chain         text COLLATE "C", -- the ordering key, of an ordered endpoint only
	head          boolean NOT NULL DEFAULT true, -- may be claimed: in no chain, or the first of it
	size          integer NOT NULL -- of the event's data
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX outhook_ix_pending_due ON outhook_pending (endpoint_id, head, due, seq);
CREATE INDEX outhook_ix_pending_created ON outhook_pending (endpoint_id, created_at, seq, event_type);
CREATE INDEX outhook_ix_pending_chain ON outhook_pending (endpoint_id, chain, seq) WHERE chain IS NOT NULL;
CREATE INDEX outhook_ix_pending_heads ON outhook_pending (endpoint_id, chain) WHERE head AND chain IS NOT NULL;
CREATE INDEX outhook_ix_pending_event ON outhook_pending (event_id);

-- Finished deliveries, in the order in which they finished.
CREATE TABLE outhook_finished (
	id            uuid PRIMARY KEY,
	seq           bigint NOT NULL,
	event_id      text COLLATE "C" NOT NULL,
	event_type    text COLLATE "C" NOT NULL,
	event_tenant  text COLLATE "C" NOT NULL,
	endpoint_id   text COLLATE "C" NOT NULL,
	tenant        text COLLATE "C" NOT NULL,
	state         text NOT NULL, -- delivered, exhausted or cancelled
	origin        text NOT NULL,
	attempts      integer NOT NULL,
	last_status   integer NOT NULL,
	last_error    text NOT NULL,
	first_attempt timestamptz,
	created_at    timestamptz NOT NULL,
	updated_at    timestamptz NOT NULL -- when it finished
);
-- A page of an endpoint's log is read from an index that has its order, and behind
-- that what else is asked for, so that what is rare is found without reading the
-- rows that lie between. A type may be that of one row in millions, and has an index.
CREATE INDEX outhook_ix_finished_endpoint ON outhook_finished (endpoint_id, created_at, seq, state);
CREATE INDEX outhook_ix_finished_type ON outhook_finished (event_type, endpoint_id, created_at, seq, state);
CREATE INDEX outhook_ix_finished_failed ON outhook_finished (endpoint_id, created_at, seq, state, event_type) WHERE state <> 'delivered';
CREATE INDEX outhook_ix_finished_tenant ON outhook_finished (tenant, created_at, seq);
CREATE INDEX outhook_ix_finished_tenant_failed ON outhook_finished (tenant, created_at, seq, state) WHERE state <> 'delivered';
CREATE INDEX outhook_ix_finished_created ON outhook_finished (created_at, seq);
CREATE INDEX outhook_ix_finished_event ON outhook_finished (event_id);

CREATE TABLE outhook_attempts (
	delivery_id      uuid NOT NULL,
	id               text COLLATE "C" NOT NULL,
	seq              bigint NOT NULL DEFAULT nextval('outhook_seq'),
	number           integer NOT NULL,
	started_at       timestamptz NOT NULL,
	duration_us      bigint NOT NULL,
	url              text NOT NULL,
	status           integer NOT NULL,
	error            text NOT NULL,
	request_headers  text NOT NULL, -- as a JSON object
	response_headers text NOT NULL,
	body_sha256      bytea NOT NULL,
	response_body    bytea NOT NULL,
	truncated        boolean NOT NULL
);
CREATE INDEX outhook_ix_attempts_delivery ON outhook_attempts (delivery_id);

-- The queue's order. A lane is the queue's view of an endpoint: which endpoints
-- have something due, and whose turn it is, without looking at their backlogs.
-- Only claims and changes of an endpoint's health write it. Publishing and
-- retrying never do: they leave an alarm, which the next claim after its time
-- folds into the lane. No lane is missed: an alarm becomes
-- visible together with what it announces, and whoever takes it away holds the
-- lane's lock, under which a later statement looks at the deliveries.
CREATE TABLE outhook_lanes (
	endpoint_id   text COLLATE "C" PRIMARY KEY,
	tenant        text COLLATE "C" NOT NULL,
	turn          timestamptz NOT NULL DEFAULT clock_timestamp(), -- the smallest in its tenant is next
	wake          timestamptz,          -- asleep until then; null: awake
	since         timestamptz NOT NULL, -- what is before this place in the queue is
	since_seq     bigint NOT NULL DEFAULT 0, -- leased, or waits in its chain
	not_before    timestamptz,
	failing_since timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX outhook_ix_lanes_awake ON outhook_lanes (tenant, turn) WHERE wake IS NULL;
CREATE INDEX outhook_ix_lanes_asleep ON outhook_lanes (wake) WHERE wake IS NOT NULL;

CREATE TABLE outhook_alarms (
	due         timestamptz NOT NULL,
	seq         bigint GENERATED ALWAYS AS IDENTITY,
	endpoint_id text COLLATE "C" NOT NULL,
	chain       text COLLATE "C", -- whose first delivery may have changed
	PRIMARY KEY (due, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- The leases. When one ends, a claim returns to the queue what is not settled.
-- Up to 100 deliveries share a row, so that it is stored in one piece.
CREATE TABLE outhook_leases (
	until timestamptz NOT NULL,
	seq   bigint GENERATED ALWAYS AS IDENTITY,
	ids   uuid[] NOT NULL,
	PRIMARY KEY (until, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- The dispatchers that run, so that they can share out limits.
CREATE TABLE outhook_dispatchers (
	id    text COLLATE "C" PRIMARY KEY,
	until timestamptz NOT NULL
);

INSERT INTO outhook_schema (version) VALUES (1);
