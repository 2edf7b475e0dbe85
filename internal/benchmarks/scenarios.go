package main

import "context"

// scenario measures one promise.
type scenario struct {
	name string
	run  func(context.Context, size, *databases) ([]figure, error)
}

var scenarios = []scenario{
	{"delivery", delivery},
	{"isolation", isolation},
	{"memory", memory},
	{"durable", durable},
	{"group", group},
	{"idle", idle},
	{"mix", mix},
	{"flood", flood},
	{"wide", wide},
	{"soak", soak},
	{"portal", pages},
	{"size", flat},
}

// methods say for the report how a scenario measures.
var methods = map[string]string{
	"delivery": `Deliveries that are published before leave through the memory store, every attempt
logged, beside a loop over net/http that signs and posts the same bodies, with as
many requests in flight (64) and no queue at all; and beside one over RoundTrip that
keeps a record of each attempt.`,
	"isolation": `How long the deliveries of a quick endpoint take while another tenant's endpoint
has a backlog (1,000 deliveries in memory, 100,000 in a database) and answers only
after 4 s, from the beginning or from its second request on, beside how long they
take alone.`,
	"memory": `The memory store alone, with few and with ten times as many pending deliveries to
10,000 endpoints, of events with 128 bytes of data: the processor time of claiming
and settling one, and the memory that a pending one takes beside that data.`,
	"durable": `Deliveries that are published before leave through SQLite (with the driver of
ncruces; that of modernc.org is some percent slower) and PostgreSQL, every attempt
logged there, beside a worker on River, a job queue on the same PostgreSQL,
that signs and posts the same bodies (200 requests in flight each, 16 connections):
once with the same record of every attempt, as the job's output, which River stores
with the job's completion (an INSERT of each into a table of its own was slower), and
once without any; and beside the net/http loop of the scenario delivery (64), which
keeps nothing.`,
	"group": `64 goroutines that call Publish, which share commits, beside one that has a
connection and commits each event by itself with as few statements as possible.`,
	"idle": `A Dispatcher with nothing to do, on connections that count what is sent to the
server, or SQLite's statements, for 10 s a round, which is how often it says that it
runs; and how long the event of another process, of which only the database tells,
takes to arrive. With pgwake, that other process notifies, by a handle of its own, and
the Dispatcher polls once an hour, so that only a notification can wake it; each
event is published 20 ms after the one before it has arrived.`,
	"mix": `1,000 endpoints of as many tenants; of each hundred, one never answers, so that
requests end by their timeout (3 s), four answer 500, five answer after 2 s, and the
others at once. A Dispatcher with the default Concurrency (256, and 16 for an
endpoint). First three burn-downs, all endpoints healthy, of deliveries that are
published before, give the rate that the store reaches. Then, at half of that (their
median), events are published one by one in the delivering process, in turn to all
endpoints, in runs with all of them healthy and mixed runs in turns, each into an
empty store. The clock of a sample starts when Publish returns and stops when the
receiver has read the request, for the same 900 endpoints on both sides; the first
two events of each are no samples. The publisher keeps its timetable, whatever
Publish takes; what it is late with shows in the figures from when Publish was due.`,
	"flood": `One process publishes events in batches of 1,000, as fast as the store takes them,
to a tenant's endpoint, which is healthy, and delivers them with the default
Concurrency (256, and 16 for an endpoint). From the beginning of that on, another
tenant's single events are published every 100 ms for as long as the command says.
Once the flood has as many events as the command says, whose rate is the one given,
another batch is published whenever fewer than half as many wait, until the last
single event has arrived: so all of them have a flood beside them. What waits includes
the batch that is being published. The clock of a single event starts when Publish
returns and stops when the receiver has read the request.`,
	"wide": `As many endpoints as the table says, each of its own tenant and on its own address
of the loopback network, so that no connection serves two of them, and five events
for each, which are published before. All requests must have arrived, none twice,
and no attempt may have failed, as it would if ports or files ran out. A Dispatcher
with the default Concurrency (256). File descriptors (/proc/self/fd), heap and
resident memory are those of the delivering process, looked at 50 times a second;
the memory store's own data is among them.`,
	"soak": `90 healthy endpoints of as many tenants are kept at full load for as long as the
table says: there are always 1,000 to 2,000 events under way to them, published in
batches; ten more get an event a second each, of which one never answers, four answer
500, and five answer after 2 s. What is finished is purged after 2 s. The live heap is
what the last cycle of the collector has found; resident memory is that of the
process (/proc). All that was published must have arrived at the healthy endpoints.`,
	"portal": `Each page of the portal and of its REST API, and its lists with each filter, asked
for by HTTP 20 times in a round, on PostgreSQL with as many finished deliveries of the
last 30 days as the command says (100,000 without -full), their events and their
attempts; half of them are one endpoint's, which is the one that is looked at, and
20,000 more of it are pending. An event type is rare, another never happened. A figure
is the 95th percentile of a round.`,
	"size": `Claiming and settling in a PostgreSQL database with as many finished and pending
deliveries to 10,000 endpoints as the table says, of events with about 100 bytes of
data, beside an empty one; and how long a claim takes there before and after a while
of claiming, settling and publishing. Both are on a server of their own, which has a
quarter of the machine's memory as shared_buffers. What was published before is
noticed by claims that have room for nothing; that is timed apart.`,
}
