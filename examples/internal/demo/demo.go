// Package demo is what the examples have in common and no application needs: a
// receiver on the loopback interface, waiting, and a table.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/outhook/webhook"
)

// Loopback is the network of a demonstration on one machine: http to 127.0.0.0/8.
// In production leave [webhook.Config].Network as it is, which allows HTTPS to
// public addresses only.
func Loopback() webhook.Network {
	return webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// Hasten divides the delays of a policy, for those who watch.
func Hasten(p webhook.RetryPolicy, by time.Duration) webhook.RetryPolicy {
	return webhook.RetryPolicyFunc(func(f webhook.Failure) (time.Duration, bool) {
		delay, again := p.Next(f)
		return delay / by, again
	})
}

// Request is what a [Receiver] was sent.
type Request struct {
	Method string
	Header http.Header
	Body   []byte
}

// Receiver is a customer's server on the loopback interface.
type Receiver struct {
	URL      string
	Close    func()
	mu       sync.Mutex
	failures int
	requests []Request
}

// NewReceiver starts a receiver that answers the first requests 503, as many as
// failures says, and the others 200.
func NewReceiver(failures int) *Receiver {
	r := &Receiver{failures: failures}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !r.add(Request{request.Method, request.Header, body}) {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		}
	}))
	r.URL, r.Close = server.URL, server.Close
	return r
}

// add reports whether the request is to succeed.
func (r *Receiver) add(request Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
	return len(r.requests) > r.failures
}

// Recover ends the failures.
func (r *Receiver) Recover() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = 0
}

// Requests returns what was received so far.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Finished is a [webhook.Observer] that passes on which deliveries have ended,
// and which endpoints the library has disabled. Make it with room for all of
// these notices.
type Finished chan webhook.Notice

// Observe implements [webhook.Observer].
func (f Finished) Observe(_ context.Context, n webhook.Notice) {
	switch n := n.(type) {
	case webhook.DeliveryDelivered, webhook.DeliveryExhausted:
		f <- n
	case webhook.EndpointDisabled:
		if n.Automatic {
			f <- n
		}
	}
}

// Wait returns after so many more notices.
func (f Finished) Wait(ctx context.Context, notices int) error {
	for range notices {
		select {
		case <-f:
		case <-ctx.Done():
			return fmt.Errorf("wait for deliveries: %w", ctx.Err())
		}
	}
	return nil
}

// While runs the dispatcher during work, and drains it.
func While(ctx context.Context, d *webhook.Dispatcher, work func(context.Context) error) error {
	running, stop := context.WithCancel(ctx)
	drained := make(chan error, 1)
	go func() { drained <- d.Run(running) }()
	err := work(ctx)
	stop()
	return errors.Join(err, <-drained)
}

// PublishAll publishes events and returns how many deliveries that makes.
func PublishAll(ctx context.Context, d *webhook.Dispatcher, events ...webhook.Event) (deliveries int, err error) {
	receipts, err := d.PublishBatch(ctx, events)
	for _, r := range receipts {
		deliveries += r.Deliveries
	}
	return deliveries, err
}

// Print writes the log of deliveries as a table, the oldest first.
func Print(ctx context.Context, out io.Writer, v *webhook.View) error {
	page, err := v.Deliveries(ctx, webhook.DeliveryFilter{})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "EVENT\tENDPOINT\tORIGIN\tSTATE\tATTEMPTS\tLAST STATUS")
	for _, d := range slices.Backward(page.Items) {
		e, err := v.Endpoint(ctx, d.EndpointID)
		if errors.Is(err, webhook.ErrNotFound) {
			e.Description = "(deleted)"
		} else if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\n", d.EventType, cmp.Or(e.Description, e.URL), d.Origin, d.State, d.Attempts, d.LastStatus)
	}
	return w.Flush()
}

// Show writes a request as it came.
func Show(out io.Writer, r Request) {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s:\t%s\n", name, r.Header.Get(name))
	}
	_ = w.Flush()
	fmt.Fprintf(out, "\n%s\n\n", r.Body)
}
