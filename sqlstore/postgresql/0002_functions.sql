-- What publishing, claiming and settling do is one statement each for the
-- client: a call of one of these functions. Their plans are cached within the
-- session whatever the driver or a pooler does with prepared statements, and are
-- made to last while empty tables grow: what is looked up by key is so by
-- construction (OFFSET 0 keeps the planner from joining whole tables), and a
-- backlog is read in the order of its index: without sorting and bitmaps off, a
-- plan that was made while it was short sorts all of it in every claim. Every
-- statement of a function sees what was committed before it began, on which the
-- lanes rest: READ COMMITTED is required where that matters.

-- outhook_id returns a new UUID, version 7.
CREATE FUNCTION outhook_id(_at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
	SELECT (overlay(lpad(to_hex((extract(epoch FROM _at) * 1000)::bigint), 12, '0') PLACING '-' FROM 9 FOR 0)
		|| '-7' || substr(gen_random_uuid()::text, 16))::uuid
$$;

-- outhook_enqueue stores publications and their deliveries. _calls says which
-- of them belong together: a call with a conflict leaves nothing. All IDs and
-- keys in it are different. One row is returned for each publication, in their
-- order; the deliveries of those that are addressed to certain endpoints are left
-- to outhook_address.
--
-- _places says how many of a publication's deliveries may be handed over to the
-- caller: born leased for _leases microseconds. That is for where nothing waits
-- that would be overtaken, as far as the queue has been looked at: the lane is
-- asleep and healthy and has no order. What came to the queue since the last claim
-- is an alarm yet, which only the next one folds into the lane: so long, and no
-- longer, it may be overtaken. Each is a row of its publication, with the endpoint's
-- record. behind says of how many of the first _places that are not handed over the
-- lane is awake, or rests, and so is looked at by claims; it may just have been so.
CREATE FUNCTION outhook_enqueue(
	_now timestamptz, _lock_timeout text, _calls integer[], _ids text[], _keys text[], _types text[], _tenants text[],
	_ordering_keys text[], _times timestamptz[], _tests boolean[], _data bytea, _offsets integer[], _sizes integer[], _sums bytea,
	_patterns text[], _lineages text[], _origins text[], _addressed boolean[], _places integer[], _leases bigint[]
) RETURNS TABLE (
	n bigint, event_id text, status text, deliveries integer, behind integer,
	id uuid, created_at timestamptz, next_attempt timestamptz, endpoint_id text, tenant text, all_tenants boolean, patterns text,
	failing_since timestamptz, endpoint_created_at timestamptz, endpoint_updated_at timestamptz, rev bigint, config bytea
)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	_at     timestamptz := coalesce(_now, clock_timestamp());
	_fresh  text[]; -- the IDs of the events that are stored now
	_status text[] := array_fill('new'::text, ARRAY[cardinality(_ids)]);
	_firsts text[] := _ids;
	_bad    integer[] := '{}'; -- the calls that failed
	_n      integer;
	_by_id  record;
	_by_key record;
BEGIN
	IF _lock_timeout IS NOT NULL THEN
		PERFORM set_config('lock_timeout', _lock_timeout, true);
	END IF;

	-- In the order of their IDs, so that two calls do not wait for each other
	-- because of these.
	WITH numbered AS MATERIALIZED (
		SELECT nextval('outhook_seq') AS seq, p.*
		FROM unnest(_ids, _keys, _types, _tenants, _ordering_keys, _times, _tests, _offsets, _sizes)
			WITH ORDINALITY AS p (id, key, type, tenant, ordering_key, time, test, position, size, n)
	), inserted AS (
		INSERT INTO outhook_events (id, seq, key, type, tenant, ordering_key, time, created_at, test, data, sum)
		SELECT id, seq, key, type, tenant, ordering_key, time, _at, test,
			substring(_data FROM position + 1 FOR size), substring(_sums FROM n::integer * 32 - 31 FOR 32)
		FROM numbered ORDER BY id
		ON CONFLICT DO NOTHING RETURNING id
	)
	SELECT coalesce(array_agg(id), '{}') INTO _fresh FROM inserted;

	IF cardinality(_fresh) < cardinality(_ids) THEN
		FOR _n IN 1 .. cardinality(_ids) LOOP
			CONTINUE WHEN _ids[_n] = ANY (_fresh);
			SELECT id, sum INTO _by_id FROM outhook_events WHERE id = _ids[_n];
			SELECT id, sum INTO _by_key FROM outhook_events WHERE tenant = _tenants[_n] AND key = _keys[_n];
			IF _by_id.id IS NULL AND _by_key.id IS NULL THEN
				-- What was in the way has been purged meanwhile.
				RAISE EXCEPTION 'event % was purged meanwhile', _ids[_n] USING ERRCODE = 'serialization_failure';
			ELSIF _addressed[_n] AND _by_id.id IS NOT NULL THEN
				_status[_n] := 'known';
			ELSIF _by_id.id <> _by_key.id THEN
				_status[_n] := 'key of another';
			ELSIF coalesce(_by_id.sum, _by_key.sum) <> substring(_sums FROM _n * 32 - 31 FOR 32) OR _addressed[_n] THEN
				_status[_n] := 'other content';
			ELSE
				_status[_n] := 'duplicate';
				_firsts[_n] := coalesce(_by_id.id, _by_key.id);
			END IF;
			IF _status[_n] IN ('key of another', 'other content') THEN
				_bad := _bad || _calls[_n];
			END IF;
		END LOOP;
		IF _bad <> '{}' THEN
			DELETE FROM outhook_events WHERE id = ANY (_fresh) AND id = ANY (ARRAY(
				SELECT p.id FROM unnest(_ids, _calls) AS p (id, call) WHERE p.call = ANY (_bad)));
			FOR _n IN 1 .. cardinality(_ids) LOOP
				IF _calls[_n] = ANY (_bad) AND _status[_n] NOT IN ('key of another', 'other content') THEN
					_status[_n] := 'undone';
				END IF;
			END LOOP;
		END IF;
	END IF;

	-- The lock keeps an endpoint from being deleted before its deliveries are
	-- visible; nothing else waits for it.
	RETURN QUERY
	WITH publications AS MATERIALIZED (
		SELECT * FROM unnest(_status, _firsts, _types, _tenants, _ordering_keys, _sizes, _patterns, _lineages, _origins, _addressed, _places, _leases)
			WITH ORDINALITY AS p (status, id, type, tenant, ordering_key, size, patterns, lineage, origin, addressed, places, lease, n)
	), matched AS MATERIALIZED (
		SELECT m.n, m.endpoint_id, row_number() OVER (PARTITION BY m.n) <= m.places AS may
		FROM (
			SELECT DISTINCT p.n, p.places, s.endpoint_id
			FROM publications p CROSS JOIN LATERAL unnest(p.lineage::text[]) AS t (tenant) CROSS JOIN LATERAL unnest(p.patterns::text[]) AS q (pattern)
				CROSS JOIN LATERAL (SELECT endpoint_id FROM outhook_subscriptions WHERE tenant = t.tenant AND pattern = q.pattern OFFSET 0) s
			WHERE p.status = 'new' AND NOT p.addressed
		) m
	), reached AS MATERIALIZED (
		SELECT m.n, e.*, l.failing_since, l.idle, m.may AND NOT e.ordered AND l.idle IS TRUE AS leased
		FROM matched m CROSS JOIN LATERAL (
			SELECT id, tenant, all_tenants, patterns, ordered, created_at, updated_at, rev, CASE WHEN m.may THEN config END AS config
			FROM outhook_endpoints WHERE id = m.endpoint_id AND NOT disabled FOR KEY SHARE) e
			LEFT JOIN LATERAL (
				SELECT failing_since, coalesce(wake > _at, false) AND not_before IS NULL AS idle FROM outhook_lanes WHERE m.may AND endpoint_id = m.endpoint_id OFFSET 0) l ON true
	), inserted AS (
		INSERT INTO outhook_pending (id, event_id, event_type, event_tenant, endpoint_id, tenant, origin,
			due, next_attempt, created_at, updated_at, lease, leased, chain, head, size)
		SELECT outhook_id(_at), p.id, p.type, p.tenant, r.id, r.tenant, p.origin,
			_at, CASE WHEN r.leased THEN _at + p.lease * interval '1 microsecond' ELSE _at END, _at, _at, r.leased::integer, r.leased,
			CASE WHEN r.ordered THEN p.ordering_key END, NOT r.ordered, p.size
		FROM reached r JOIN publications p ON p.n = r.n ORDER BY p.n
		RETURNING id, event_id, endpoint_id, chain, leased, next_attempt
	), alarms AS (
		INSERT INTO outhook_alarms (due, endpoint_id, chain) SELECT DISTINCT _at, endpoint_id, chain FROM inserted WHERE NOT leased
	), leases AS (
		INSERT INTO outhook_leases (until, ids)
		SELECT next_attempt, array_agg(id) FROM (
			SELECT id, next_attempt, (row_number() OVER (PARTITION BY next_attempt) - 1) / 100 AS part FROM inserted WHERE leased) i
		GROUP BY next_attempt, part
	), counted AS (
		SELECT n, count(*)::integer AS deliveries, (count(*) FILTER (WHERE NOT idle))::integer AS behind FROM reached GROUP BY n
	)
	SELECT p.n, p.id, p.status, coalesce(c.deliveries, 0), coalesce(c.behind, 0),
		i.id, _at, i.next_attempt, r.id, r.tenant, r.all_tenants, r.patterns, r.failing_since, r.created_at, r.updated_at, r.rev, r.config
	FROM publications p LEFT JOIN counted c ON c.n = p.n
		LEFT JOIN reached r ON r.n = p.n AND r.leased
		LEFT JOIN inserted i ON i.event_id = p.id AND i.endpoint_id = r.id
	ORDER BY p.n;
END $$;

-- outhook_address creates the deliveries of events, all different, to the
-- endpoints that each is addressed to.
CREATE FUNCTION outhook_address(
	_now timestamptz, _ids text[], _origins text[], _endpoints text[], _missing boolean[], _leases bigint[]
) RETURNS TABLE (event_id text, id uuid)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	_at     timestamptz := coalesce(_now, clock_timestamp());
BEGIN
	-- So that of two who look for what is missing only one creates it.
	PERFORM 1 FROM outhook_events WHERE id = ANY (_ids) ORDER BY id FOR NO KEY UPDATE;
	IF (SELECT count(*) FROM outhook_events WHERE id = ANY (_ids)) < cardinality(_ids) THEN
		RAISE EXCEPTION 'an event was purged meanwhile' USING ERRCODE = 'serialization_failure';
	END IF;

	RETURN QUERY
	WITH wanted AS MATERIALIZED (
		SELECT p.n, p.id, p.origin, p.missing, p.lease, w.endpoint_id, w.m
		FROM unnest(_ids, _origins, _endpoints, _missing, _leases) WITH ORDINALITY AS p (id, origin, endpoints, missing, lease, n)
			CROSS JOIN LATERAL unnest(p.endpoints::text[]) WITH ORDINALITY AS w (endpoint_id, m)
	), reached AS MATERIALIZED (
		SELECT w.*, e.* FROM wanted w CROSS JOIN LATERAL (
			SELECT tenant, ordered FROM outhook_endpoints WHERE id = w.endpoint_id FOR KEY SHARE) e
		WHERE NOT w.missing
			OR NOT EXISTS (SELECT FROM outhook_pending d WHERE d.event_id = w.id AND d.endpoint_id || '' = w.endpoint_id)
			AND NOT EXISTS (SELECT FROM outhook_finished d WHERE d.event_id = w.id AND d.endpoint_id || '' = w.endpoint_id AND d.state = 'delivered')
	), inserted AS (
		INSERT INTO outhook_pending (id, event_id, event_type, event_tenant, endpoint_id, tenant, origin,
			due, next_attempt, created_at, updated_at, lease, leased, outside, chain, head, size)
		SELECT outhook_id(_at), v.id, v.type, v.tenant, r.endpoint_id, r.tenant, r.origin,
			_at, _at + r.lease * interval '1 microsecond', _at, _at, (r.lease > 0)::integer, r.lease > 0, r.lease > 0,
			CASE WHEN r.ordered AND r.lease = 0 THEN v.ordering_key END, NOT r.ordered OR r.lease > 0, octet_length(v.data)
		FROM reached r JOIN outhook_events v ON v.id = r.id ORDER BY r.n, r.m
		RETURNING event_id, endpoint_id, id, next_attempt, leased, chain
	), alarms AS (
		INSERT INTO outhook_alarms (due, endpoint_id, chain)
		SELECT DISTINCT _at, endpoint_id, chain FROM inserted WHERE NOT leased
	), leases AS (
		INSERT INTO outhook_leases (until, ids) SELECT next_attempt, ARRAY[id] FROM inserted WHERE leased
	)
	SELECT event_id, id FROM inserted;
END $$;

-- outhook_claim leases deliveries that are due. The endpoints that _named gives
-- have the room that _rooms says, all others _room. _after is the tenant that
-- was served last. One row is returned for each delivery, which has the event's
-- data and the endpoint's record where its predecessors have not. Where there is
-- none, one row says in next_us when there may be one, in microseconds.
CREATE FUNCTION outhook_claim(
	_now timestamptz, _max integer, _room integer, _named text[], _rooms integer[], _bytes bigint, _lease bigint, _after text
) RETURNS TABLE (
	next_us bigint, nth bigint, id uuid, origin text, attempts integer, last_status integer, last_error text,
	first_attempt timestamptz, next_attempt timestamptz, created_at timestamptz, updated_at timestamptz, lease bigint, expired integer,
	event_id text, event_type text, event_tenant text,
	key text, ordering_key text, event_time timestamptz, event_created_at timestamptz, test boolean, data bytea, sum bytea,
	endpoint_id text, tenant text, endpoint_tenant text, all_tenants boolean, patterns text, ordered boolean,
	failing_since timestamptz, not_before timestamptz, endpoint_created_at timestamptz, endpoint_updated_at timestamptz, rev bigint, config bytea
)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	_at     timestamptz := coalesce(_now, clock_timestamp());
	_until  timestamptz := _at + _lease * interval '1 microsecond';
	_share  CONSTANT integer := 8; -- of a lane, before it is the next one's turn
	_skip   text[] := ARRAY(SELECT u.id FROM unnest(_named, _rooms) AS u (id, room) WHERE u.room <= 0);
	_held   text[] := '{}'; -- the lanes that have alarms and are locked
	_from   timestamptz := '-infinity'; -- when the alarms are due that are folded
	_more   text[];
	_count  integer;
	_lanes  text[];
	_chains text[];
	_single boolean; -- there is one tenant
	_most   integer; -- lanes of a tenant that are chosen
	_limit  integer; -- and of all
	_wanted integer; -- of these
	_served integer; -- how many of these were looked at
	_lane   record;
	_off    boolean;
	_part   integer; -- of the lane, this time
	_ids    uuid[];  -- what was found in it
	_whose  text[];
	_dues   timestamptz[];
	_seqs   bigint[];
	_sizes  integer[];
	_size   bigint;
	_found  integer;
	_due    timestamptz;
	_left   integer := _max;
	_taken  uuid[] := '{}';
	_events text[] := '{}';    -- whose deliveries these are
	_firsts boolean[] := '{}'; -- whether it is the first of its endpoint
	_sum    bigint := 0;
	_full   boolean := false;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'outhook_claim needs READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
	END IF;

	-- A claim that is lost when the server crashes is as one whose lease has run
	-- out, so nothing needs to wait for the disk. Its lease number may be given
	-- again: then an outcome of the lost claim counts as one of the new.
	PERFORM set_config('synchronous_commit', 'off', true);

	-- Return to the queue what was not settled while it was leased. What another
	-- has locked, who is settling it, is looked at again.
	IF EXISTS (SELECT FROM outhook_leases WHERE until <= _at) THEN
		WITH ended AS MATERIALIZED (
			SELECT until, seq, ids FROM outhook_leases WHERE until <= _at ORDER BY until LIMIT 100 FOR UPDATE SKIP LOCKED
		), unsettled AS MATERIALIZED (
			SELECT id FROM outhook_pending WHERE id = ANY (ARRAY(SELECT unnest(ids) FROM ended)) AND leased AND next_attempt <= _at
		), free AS MATERIALIZED (
			SELECT id FROM outhook_pending WHERE id = ANY (ARRAY(SELECT id FROM unsettled)) AND leased AND next_attempt <= _at FOR UPDATE SKIP LOCKED
		), returned AS (
			UPDATE outhook_pending d SET due = d.next_attempt, leased = false, expired = d.expired + 1
			WHERE d.id = ANY (ARRAY(SELECT id FROM free)) RETURNING d.endpoint_id, d.chain, d.due
		), rung AS (
			INSERT INTO outhook_alarms (due, endpoint_id, chain) SELECT min(due), endpoint_id, chain FROM returned GROUP BY endpoint_id, chain
		), again AS (
			INSERT INTO outhook_leases (until, ids)
			SELECT _at + interval '1 second', ARRAY[id] FROM unsettled WHERE id NOT IN (SELECT id FROM free)
		)
		DELETE FROM outhook_leases l USING ended e WHERE l.until = e.until AND l.seq = e.seq AND l.until = ANY (ARRAY(SELECT until FROM ended));
	END IF;

	-- Wake the lanes whose time has come and fold the alarms into them. What
	-- another has locked keeps its alarms, however many, and does not hide those
	-- of others. Nor do a million that nobody was there to hear hide what is new: where
	-- there are more than one step folds, another one folds the newest.
	WHILE EXISTS (SELECT FROM outhook_alarms WHERE due <= _at) OR EXISTS (SELECT FROM outhook_lanes WHERE wake <= _at) LOOP
		WITH alarms AS MATERIALIZED (
			SELECT due, seq, endpoint_id, chain FROM outhook_alarms
			WHERE due <= _at AND due >= _from AND endpoint_id <> ALL (_held) ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED
		), rung AS MATERIALIZED (
			SELECT endpoint_id, min(due) AS due FROM alarms GROUP BY endpoint_id
		), lanes AS MATERIALIZED (
			SELECT l.endpoint_id, l.wake, l.since, l.not_before FROM outhook_lanes l
			WHERE l.endpoint_id = ANY (ARRAY(
				SELECT endpoint_id FROM rung
				UNION ALL (SELECT endpoint_id FROM outhook_lanes WHERE wake <= _at ORDER BY wake LIMIT 1000)))
			FOR UPDATE SKIP LOCKED
		), woken AS (
			UPDATE outhook_lanes l SET
				since = least(n.since, r.due),
				since_seq = CASE WHEN r.due <= n.since THEN 0 ELSE l.since_seq END,
				wake = CASE WHEN n.not_before > _at THEN n.not_before END,
				turn = CASE WHEN n.wake IS NULL OR n.not_before > _at THEN l.turn ELSE clock_timestamp() END
			FROM lanes n LEFT JOIN rung r ON r.endpoint_id = n.endpoint_id
			WHERE l.endpoint_id = n.endpoint_id AND l.endpoint_id = ANY (ARRAY(SELECT endpoint_id FROM lanes))
				AND (r.due <= n.since OR n.wake <= _at OR r.due IS NOT NULL AND n.wake IS NOT NULL AND (n.not_before > _at) IS NOT TRUE)
		), answered AS (
			DELETE FROM outhook_alarms a USING alarms n
			WHERE a.due = n.due AND a.seq = n.seq AND a.due = ANY (ARRAY(SELECT due FROM alarms))
				AND (n.endpoint_id IN (SELECT endpoint_id FROM lanes)
					OR NOT EXISTS (SELECT FROM outhook_lanes l WHERE l.endpoint_id = n.endpoint_id))
			RETURNING n.endpoint_id, n.chain
		)
		SELECT array_agg(endpoint_id), array_agg(chain), (SELECT count(*) FROM alarms),
			ARRAY(SELECT endpoint_id FROM rung EXCEPT SELECT endpoint_id FROM lanes)
		INTO _lanes, _chains, _count, _more
		FROM (SELECT DISTINCT endpoint_id, chain FROM answered WHERE chain IS NOT NULL) a;

		-- The first of each chain may be claimed from now on, unless one that was
		-- committed before it is under way.
		IF _chains IS NOT NULL THEN
			UPDATE outhook_pending d SET head = (d.id = a.first AND NOT a.busy),
				due = CASE WHEN d.id = a.first AND NOT a.busy THEN greatest(d.due, _at) ELSE d.due END,
				next_attempt = CASE WHEN d.id = a.first AND NOT a.busy THEN greatest(d.due, _at) ELSE d.due END
			FROM (
				SELECT a.endpoint_id, a.chain, f.id AS first, EXISTS (
						SELECT FROM outhook_pending o
						WHERE o.endpoint_id = a.endpoint_id AND o.chain = a.chain AND o.leased AND o.id <> f.id) AS busy
				FROM unnest(_lanes, _chains) AS a (endpoint_id, chain) CROSS JOIN LATERAL (
					SELECT id FROM outhook_pending
					WHERE endpoint_id = a.endpoint_id AND chain = a.chain ORDER BY seq LIMIT 1) f
			) a
			CROSS JOIN LATERAL (
				SELECT a.first AS id UNION SELECT o.id FROM outhook_pending o WHERE o.endpoint_id = a.endpoint_id AND o.chain = a.chain AND o.head
			) r
			WHERE d.id = r.id AND NOT d.leased AND d.head <> (d.id = a.first AND NOT a.busy);
		END IF;
		EXIT WHEN _count < 1000 OR _from > '-infinity';
		_held := _held || _more;
		IF _more = '{}' THEN
			_from := (SELECT due FROM outhook_alarms WHERE due <= _at ORDER BY due DESC OFFSET 199 LIMIT 1);
			EXIT WHEN _from IS NULL;
		END IF;
	END LOOP;

	LOOP
		-- Choose lanes, as many as should do; if they do not, as many as may be
		-- needed. The tenants take turns; of several, none gets more than a
		-- quarter at once.
		SELECT min(tenant) = max(tenant) INTO _single FROM outhook_lanes WHERE wake IS NULL;
		EXIT WHEN _single IS NULL;
		_limit := CASE WHEN _limit IS NULL THEN least(_left, ceil(2.0 * _left / _share)) ELSE _left END;
		_most := CASE WHEN _single THEN _limit ELSE ceil(_limit / 4.0) END;
		_wanted := _left;
		_served := 0;
		FOR _lane IN
			WITH RECURSIVE after AS (
				SELECT (SELECT min(tenant) FROM outhook_lanes WHERE wake IS NULL AND tenant > _after) AS tenant
				UNION ALL
				SELECT (SELECT min(l.tenant) FROM outhook_lanes l WHERE l.wake IS NULL AND l.tenant > t.tenant)
				FROM after t WHERE t.tenant IS NOT NULL
			), before AS (
				SELECT (SELECT min(tenant) FROM outhook_lanes WHERE wake IS NULL AND tenant <= _after) AS tenant
				UNION ALL
				SELECT (SELECT min(l.tenant) FROM outhook_lanes l WHERE l.wake IS NULL AND l.tenant > t.tenant AND l.tenant <= _after)
				FROM before t WHERE t.tenant IS NOT NULL
			), chosen AS (
				SELECT l.*, row_number() OVER (PARTITION BY l.tenant ORDER BY l.nth) AS rank
				FROM (
					SELECT l.*, row_number() OVER () AS nth
					FROM (SELECT tenant FROM after WHERE tenant IS NOT NULL UNION ALL SELECT tenant FROM before WHERE tenant IS NOT NULL) t
						CROSS JOIN LATERAL (
							SELECT endpoint_id, tenant, since, since_seq, not_before FROM outhook_lanes l
							WHERE l.wake IS NULL AND l.tenant = t.tenant AND l.endpoint_id NOT IN (SELECT unnest(_skip))
								AND (_room > 0 OR l.endpoint_id = ANY (_named))
							ORDER BY turn LIMIT _most FOR UPDATE SKIP LOCKED) l
					LIMIT _limit
				) l
			)
			SELECT c.endpoint_id, c.since, c.since_seq, c.not_before, coalesce(u.room, _room) AS room,
				sum(least(coalesce(u.room, _room), _share)) OVER (ORDER BY c.rank, c.nth) - least(coalesce(u.room, _room), _share) AS before,
				count(*) OVER () AS lanes, count(*) OVER () < _limit AND max(c.rank) OVER () < _most AS alone
			FROM chosen c LEFT JOIN unnest(_named, _rooms) AS u (id, room) ON u.id = c.endpoint_id
			ORDER BY c.rank, c.nth
		LOOP
			EXIT WHEN _left = 0 OR NOT _lane.alone AND _lane.before >= _wanted;
			_served := _served + 1;
			_skip := _skip || _lane.endpoint_id;
			_off := (SELECT disabled FROM outhook_endpoints WHERE id = _lane.endpoint_id) IS NOT FALSE;
			_part := CASE
				WHEN _off OR _lane.not_before > _at THEN 0
				WHEN _lane.not_before IS NOT NULL THEN 1
				WHEN _lane.alone THEN least(_lane.room, greatest(_share, ceil(_wanted::numeric / _lane.lanes)))
				ELSE least(_lane.room, _share)
			END;
			IF _part = 0 THEN
				UPDATE outhook_lanes SET wake = CASE WHEN _off THEN 'infinity' ELSE _lane.not_before END WHERE endpoint_id = _lane.endpoint_id;
				CONTINUE;
			END IF;

			-- Take the oldest and see when there will be more. What is read is what
			-- may be taken, and one.
			SELECT array_agg(d.id), array_agg(d.event_id), array_agg(d.due), array_agg(d.seq), array_agg(d.size), sum(d.size), count(*) AS found,
				least(count(*) FILTER (WHERE d.due <= _at), _part, _left) AS taken
			INTO _ids, _whose, _dues, _seqs, _sizes, _size, _found, _count FROM (
				SELECT id, event_id, due, seq, size FROM outhook_pending
				WHERE head AND endpoint_id = _lane.endpoint_id AND (due, seq) >= (_lane.since, _lane.since_seq) AND NOT leased
				ORDER BY due, seq LIMIT least(_part, _left) + 1) d;
			FOR _n IN REVERSE _found .. 1 LOOP
				EXIT WHEN _n <= _count AND (_bytes <= 0 OR _sum + _size <= _bytes OR _n = 1 AND _taken = '{}');
				_full := _full OR _n <= _count;
				_count := least(_count, _n - 1);
				_size := _size - _sizes[_n];
			END LOOP;
			IF _count > 0 THEN
				_taken := _taken || _ids[1:_count];
				_events := _events || _whose[1:_count];
				_firsts := _firsts || true || array_fill(false, ARRAY[_count - 1]);
				_left := _left - _count;
				_sum := _sum + _size;
			END IF;
			_due := CASE WHEN _found > _count THEN _dues[_count + 1] ELSE 'infinity' END;
			IF _count > 0 OR _due > _at THEN
				UPDATE outhook_lanes SET since = _due, since_seq = CASE WHEN _found > _count THEN _seqs[_count + 1] ELSE 0 END,
					turn = CASE WHEN _count > 0 THEN clock_timestamp() ELSE turn END,
					not_before = CASE WHEN _count > 0 AND _lane.not_before IS NOT NULL THEN _until ELSE _lane.not_before END,
					wake = CASE WHEN _count > 0 AND _lane.not_before IS NOT NULL THEN _until WHEN _due > _at THEN _due END
				WHERE endpoint_id = _lane.endpoint_id;
			END IF;
			EXIT WHEN _full;
		END LOOP;
		-- The batch ends before what does not fit, whose turn comes first then.
		EXIT WHEN _served = 0 OR _left = 0 OR _full;
	END LOOP;

	-- What is settled does not need to be woken for. So much is looked at, found
	-- settled or not: with something claimed a little, and anywhere, so that what
	-- hangs at the beginning is not all that is ever looked at.
	_due := CASE WHEN _left < _max THEN _at + random() * (_until - _at) ELSE _at END;
	WITH seen AS MATERIALIZED (
		SELECT until, seq, ids FROM outhook_leases WHERE until >= _due ORDER BY until LIMIT CASE WHEN _left < _max THEN 20 ELSE 1000 END
	), settled AS MATERIALIZED (
		SELECT until, seq FROM seen s WHERE NOT EXISTS (SELECT FROM outhook_pending d WHERE d.id = ANY (s.ids) AND d.leased)
	), mine AS MATERIALIZED (
		SELECT l.until, l.seq FROM settled s CROSS JOIN LATERAL (
			SELECT until, seq FROM outhook_leases WHERE until = s.until AND seq = s.seq FOR UPDATE SKIP LOCKED) l
	)
	DELETE FROM outhook_leases l USING mine m WHERE l.until = m.until AND l.seq = m.seq AND l.until = ANY (ARRAY(SELECT until FROM mine));

	IF _left < _max THEN
		-- Who holds a lane is alone in leasing what is not leased; but what a lease that
		-- ran out has returned may still be settled under it.
		UPDATE outhook_pending d SET next_attempt = _until, lease = d.lease + 1, leased = true
		WHERE d.id = ANY (_taken) AND NOT d.leased AND d.due <= _at;
		GET DIAGNOSTICS _count = ROW_COUNT;
		IF _count < cardinality(_taken) THEN
			RAISE EXCEPTION 'a delivery was removed or settled meanwhile' USING ERRCODE = 'serialization_failure';
		END IF;
		INSERT INTO outhook_leases (until, ids) SELECT _until, _taken[k:k + 99] FROM generate_series(1, cardinality(_taken), 100) AS k;
		RETURN QUERY
		SELECT NULL::bigint, t.n, t.id, d.origin, d.attempts, d.last_status, d.last_error,
			d.first_attempt, d.next_attempt, d.created_at, d.updated_at, d.lease, d.expired,
			d.event_id, d.event_type, d.event_tenant,
			v.key, v.ordering_key, v.time, v.created_at, v.test, v.data, v.sum,
			d.endpoint_id, d.tenant, e.tenant, e.all_tenants, e.patterns, e.ordered, e.failing_since, e.not_before,
			e.created_at, e.updated_at, e.rev, e.config
		FROM (
			SELECT t.*, row_number() OVER (PARTITION BY event_id) AS of_event
			FROM unnest(_taken, _events, _firsts) WITH ORDINALITY AS t (id, event_id, first, n)
		) t
			CROSS JOIN LATERAL (SELECT * FROM outhook_pending WHERE id = t.id OFFSET 0) d
			LEFT JOIN LATERAL (SELECT * FROM outhook_events WHERE t.of_event = 1 AND id = t.event_id OFFSET 0) v ON true
			LEFT JOIN LATERAL (
				SELECT e.*, l.failing_since, l.not_before FROM outhook_endpoints e, outhook_lanes l
				WHERE t.first AND e.id = d.endpoint_id AND l.endpoint_id = d.endpoint_id OFFSET 0) e ON true;
		RETURN;
	END IF;

	-- Lanes that are awake and have room are in the hands of others, who may
	-- leave something.
	RETURN QUERY SELECT CASE
			WHEN EXISTS (SELECT FROM outhook_lanes l WHERE l.wake IS NULL AND l.endpoint_id NOT IN (SELECT unnest(_skip)) AND (_room > 0 OR l.endpoint_id = ANY (_named)))
				OR EXISTS (SELECT FROM outhook_alarms WHERE due <= _at) OR EXISTS (SELECT FROM outhook_leases WHERE until <= _at)
			THEN 20000
			ELSE extract(epoch FROM nullif(least(
				(SELECT min(due) FROM outhook_alarms WHERE due > _at),
				(SELECT min(wake) FROM outhook_lanes WHERE wake > _at),
				(SELECT min(until) FROM outhook_leases WHERE until > _at)), 'infinity') - _at) * 1000000
		END::bigint, NULL::bigint, NULL::uuid, NULL::text, NULL::integer, NULL::integer, NULL::text,
		NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::bigint, NULL::integer,
		NULL::text, NULL::text, NULL::text,
		NULL::text, NULL::text, NULL::timestamptz, NULL::timestamptz, NULL::boolean, NULL::bytea, NULL::bytea,
		NULL::text, NULL::text, NULL::text, NULL::boolean, NULL::text, NULL::boolean, NULL::timestamptz,
		NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::bigint, NULL::bytea;
END $$;

-- outhook_settle applies outcomes; the deliveries are all different. It returns
-- the positions of those that were not applied and why: repeated, if the attempt
-- is stored already; locked, if another transaction has the delivery; or stale.
-- It waits for nobody for long: if a delivery is locked it fails, or is _careful
-- and leaves that one alone; where a transaction keeps an endpoint locked, what
-- an outcome says of its health is left to the next outcome.
CREATE FUNCTION outhook_settle(
	_now timestamptz, _careful boolean, _ids uuid[], _leases bigint[], _states text[], _delays bigint[], _counted boolean[],
	_attempts text[], _numbers integer[], _starts timestamptz[], _durations bigint[], _urls text[], _statuses integer[], _errors text[],
	_requests text[], _responses text[], _sums bytea, _bodies bytea, _offsets integer[], _sizes integer[], _truncated boolean[],
	_healths integer[], _pauses bigint[], _reasons text[], _ifs timestamptz[]
) RETURNS TABLE (n bigint, reason text)
LANGUAGE plpgsql SET lock_timeout = '200ms' SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	_at        timestamptz := coalesce(_now, clock_timestamp());
	_done      bigint[]; -- the positions of what is applied, in the order of the call
	_endpoints text[];   -- and whose they are
	_free      uuid[];
	_changing  text[];
	_endpoint  text;
	_lane      record;
	_reason    text;
	_n         integer;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'outhook_settle needs READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
	END IF;

	IF _careful THEN
		_free := ARRAY(SELECT id FROM outhook_pending WHERE id = ANY (_ids) FOR UPDATE SKIP LOCKED);
	END IF;

	WITH outcomes AS MATERIALIZED (
		SELECT * FROM unnest(_ids, _leases, _states, _delays, _counted, _attempts, _numbers, _starts, _durations, _urls,
				_statuses, _errors, _requests, _responses, _offsets, _sizes, _truncated)
			WITH ORDINALITY AS o (id, lease, state, delay, counted, attempt_id, number, started_at, duration, url,
				status, error, request, response, position, size, truncated, n)
		-- The first lease of a delivery has no attempt before it.
		WHERE (NOT _careful OR id = ANY (_free)) AND (lease <= 1 OR NOT EXISTS (SELECT FROM outhook_attempts a WHERE a.delivery_id = o.id AND a.id = o.attempt_id))
	), removed AS (
		DELETE FROM outhook_pending d USING outcomes o
		WHERE o.state <> 'pending' AND d.id = o.id AND d.lease = o.lease AND (d.leased OR d.expired > 0)
		RETURNING o.n, d.id, d.seq, d.event_id, d.event_type, d.event_tenant, d.endpoint_id, d.tenant, o.state, d.origin, d.created_at, d.chain,
			d.attempts + o.counted::integer AS attempts,
			CASE WHEN o.counted THEN o.status ELSE d.last_status END AS last_status,
			CASE WHEN o.counted THEN o.error ELSE d.last_error END AS last_error,
			CASE WHEN o.counted THEN coalesce(d.first_attempt, o.started_at) ELSE d.first_attempt END AS first_attempt,
			o.attempt_id, o.number, o.started_at, o.duration, o.url, o.status, o.error, o.request, o.response, o.position, o.size, o.truncated
	), finished AS (
		INSERT INTO outhook_finished (id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
			attempts, last_status, last_error, first_attempt, created_at, updated_at)
		SELECT id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
			attempts, last_status, last_error, first_attempt, created_at, _at
		FROM removed
	), again AS (
		UPDATE outhook_pending d SET attempts = d.attempts + o.counted::integer,
			last_status = CASE WHEN o.counted THEN o.status ELSE d.last_status END,
			last_error = CASE WHEN o.counted THEN o.error ELSE d.last_error END,
			first_attempt = CASE WHEN o.counted THEN coalesce(d.first_attempt, o.started_at) ELSE d.first_attempt END,
			due = _at + o.delay * interval '1 microsecond', next_attempt = _at + o.delay * interval '1 microsecond', updated_at = _at,
			lease = d.lease + 1, leased = false, expired = 0
		FROM outcomes o
		WHERE o.state = 'pending' AND d.id = o.id AND d.lease = o.lease AND (d.leased OR d.expired > 0)
		RETURNING o.n, d.id, d.endpoint_id, d.chain, d.due,
			o.attempt_id, o.number, o.started_at, o.duration, o.url, o.status, o.error, o.request, o.response, o.position, o.size, o.truncated
	), held AS MATERIALIZED (
		SELECT n, id, endpoint_id, chain, NULL::timestamptz AS due, attempt_id, number, started_at, duration, url, status, error, request, response, position, size, truncated FROM removed
		UNION ALL SELECT * FROM again
	), logged AS (
		INSERT INTO outhook_attempts (delivery_id, id, number, started_at, duration_us, url, status, error,
			request_headers, response_headers, body_sha256, response_body, truncated)
		SELECT id, attempt_id, number, started_at, duration, url, status, error, request, response,
			substring(_sums FROM n::integer * 32 - 31 FOR 32), substring(_bodies FROM position + 1 FOR size), truncated
		FROM held WHERE attempt_id IS NOT NULL
	), alarms AS (
		INSERT INTO outhook_alarms (due, endpoint_id, chain)
		SELECT min(due), endpoint_id, NULL FROM held WHERE due IS NOT NULL GROUP BY endpoint_id
		UNION ALL
		SELECT DISTINCT _at, endpoint_id, chain FROM held WHERE chain IS NOT NULL
	)
	SELECT coalesce(array_agg(n ORDER BY n), '{}'), coalesce(array_agg(endpoint_id ORDER BY n), '{}') INTO _done, _endpoints FROM held;

	-- The endpoints whose health the outcomes change. Nearly always there are
	-- none: most succeed, and most endpoints are healthy.
	SELECT array_agg(DISTINCT l.endpoint_id) INTO _changing
	FROM (
		SELECT DISTINCT o.endpoint_id, _healths[o.n] AS health, _pauses[o.n] > 0 OR _reasons[o.n] <> '' AS more
		FROM unnest(_done, _endpoints) AS o (n, endpoint_id)
		WHERE _healths[o.n] <> 0 OR _pauses[o.n] > 0 OR _reasons[o.n] <> ''
	) o JOIN outhook_lanes l ON l.endpoint_id = o.endpoint_id
	WHERE o.more OR o.health = 1 AND (l.failing_since IS NOT NULL OR l.not_before IS NOT NULL) OR o.health = 2 AND l.failing_since IS NULL;

	IF _changing IS NOT NULL THEN
		FOR _endpoint IN SELECT c.id FROM unnest(_changing) AS c (id) ORDER BY c.id COLLATE "C" LOOP
			_reason := NULL;
			BEGIN
				SELECT l.not_before, l.failing_since, l.not_before AS was INTO _lane FROM outhook_lanes l WHERE l.endpoint_id = _endpoint FOR UPDATE;
				CONTINUE WHEN NOT FOUND;
				FOR _n IN SELECT o.n FROM unnest(_done, _endpoints) AS o (n, endpoint_id) WHERE o.endpoint_id = _endpoint ORDER BY o.n LOOP
					IF _healths[_n] = 1 THEN
						_lane.not_before := NULL;
						_lane.failing_since := NULL;
					ELSIF _healths[_n] = 2 AND _lane.failing_since IS NULL THEN
						_lane.failing_since := _at;
					END IF;
					IF _pauses[_n] > 0 THEN
						_lane.not_before := _at + _pauses[_n] * interval '1 microsecond';
					END IF;
					IF _reasons[_n] <> '' AND _reason IS NULL AND (_ifs[_n] IS NULL OR _ifs[_n] = _lane.failing_since) THEN
						_reason := _reasons[_n];
					END IF;
				END LOOP;
				UPDATE outhook_lanes l SET not_before = _lane.not_before, failing_since = _lane.failing_since WHERE l.endpoint_id = _endpoint;
				IF _lane.not_before IS DISTINCT FROM _lane.was THEN
					INSERT INTO outhook_alarms (due, endpoint_id) VALUES (coalesce(_lane.not_before, _at), _endpoint);
				END IF;
			EXCEPTION WHEN lock_not_available THEN
				CONTINUE;
			END;
			BEGIN
				IF _reason IS NOT NULL THEN
					UPDATE outhook_endpoints e SET disabled = true, disabled_reason = _reason, updated_at = _at, rev = e.rev + 1
					WHERE e.id = _endpoint AND NOT e.disabled;
				END IF;
			EXCEPTION WHEN lock_not_available THEN
				NULL;
			END;
		END LOOP;
	END IF;

	IF cardinality(_done) < cardinality(_ids) THEN
		RETURN QUERY
		SELECT o.n, CASE
				WHEN EXISTS (SELECT FROM outhook_attempts a WHERE a.delivery_id = o.id AND a.id = o.attempt_id) THEN 'repeated'
				WHEN EXISTS (SELECT FROM outhook_pending d WHERE d.id = o.id AND d.lease = o.lease AND (d.leased OR d.expired > 0)) THEN 'locked'
				ELSE 'stale'
			END
		FROM unnest(_ids, _leases, _attempts) WITH ORDINALITY AS o (id, lease, attempt_id, n) WHERE o.n <> ALL (_done);
	END IF;
END $$;

INSERT INTO outhook_schema (version) VALUES (2);
