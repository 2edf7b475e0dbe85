package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"

	"github.com/outhook/webhook/internal/breaker"
)

// Failure is what a [RetryPolicy] decides on: an attempt that failed.
type Failure struct {
	Attempt    int           // how many attempts were made so far, 1 after the first
	Elapsed    time.Duration // since the start of the first attempt
	StatusCode int           // 0 when no response came
	Err        error         // why it failed; nil when there was a response
	RetryAfter time.Duration // what the receiver asked for (429, 502, 503, 504), 0 if nothing
}

// RetryPolicy says when a failed delivery is attempted again. It is stateless:
// one value serves all deliveries, concurrently.
type RetryPolicy interface {
	// Next returns how long to wait before the next attempt, and false when
	// there is to be none. The dispatcher waits for f.RetryAfter where that is
	// longer.
	Next(f Failure) (delay time.Duration, again bool)
}

// RetryPolicyFunc is a function that serves as a [RetryPolicy].
type RetryPolicyFunc func(f Failure) (delay time.Duration, again bool)

// Next calls p.
func (p RetryPolicyFunc) Next(f Failure) (time.Duration, bool) { return p(f) }

// DefaultRetry returns the timetable that the Standard Webhooks specification
// recommends ("Deliverability and reliability"), with 10 % of jitter: ten
// attempts over some three days, after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h,
// 20 h and 24 h.
func DefaultRetry() RetryPolicy {
	return WithJitter(Schedule(
		5*time.Second, 5*time.Minute, 30*time.Minute,
		2*time.Hour, 5*time.Hour, 10*time.Hour, 14*time.Hour, 20*time.Hour, 24*time.Hour,
	), 0.1)
}

// Schedule waits so long before the second attempt, the third and so on, each
// time counted from the end of the attempt before. After the last delay there is
// one more attempt and then none; without delays there is no retry. A negative
// delay is 0.
func Schedule(delays ...time.Duration) RetryPolicy {
	return schedule(slices.Clone(delays))
}

type schedule []time.Duration

func (s schedule) Next(f Failure) (time.Duration, bool) {
	i := max(f.Attempt, 1) - 1
	if i >= len(s) {
		return 0, false
	}
	return max(s[i], 0), true
}

// Exponential multiplies the delay after each attempt: Initial, then Initial
// times Multiplier, and so on up to Max. With neither MaxElapsed nor MaxAttempts
// it retries for ever. The zero value is useful. [NewDispatcher] returns
// [ErrInvalid] where a field has a value that is not described here.
type Exponential struct {
	// Initial is the delay after the first attempt. 0 is 5 seconds.
	Initial time.Duration
	// Max bounds the delay before Jitter; at least Initial. 0 is an hour, or
	// Initial where that is longer.
	Max time.Duration
	// Multiplier is 1 or more. 0 is 2.
	Multiplier float64
	// Jitter spreads each delay d evenly over d*(1-Jitter) to d*(1+Jitter), so
	// that deliveries that failed together are not retried together. From 0,
	// which is none, to 1.
	Jitter float64
	// MaxElapsed bounds the time from the first attempt to the last: a delay
	// that would lead beyond it ends the retries. Only a longer wait that the
	// receiver asked for (Failure.RetryAfter) may lead beyond. 0 is no bound.
	MaxElapsed time.Duration
	// MaxAttempts bounds the number of attempts, the first included. 0 is no
	// bound.
	MaxAttempts int
}

const defaultInitial = 5 * time.Second

// Next implements [RetryPolicy].
func (e Exponential) Next(f Failure) (time.Duration, bool) {
	if e.MaxAttempts > 0 && f.Attempt >= e.MaxAttempts {
		return 0, false
	}
	return BackOff(e.backOff).Next(f)
}

// backOff returns the policy of package backoff that e describes.
func (e Exponential) backOff(clock backoff.Clock) backoff.BackOff {
	const most = math.MaxInt64 / 4 // 73 years: room for jitter and elapsed time
	initial := cmp.Or(e.Initial, defaultInitial)
	return &backoff.ExponentialBackOff{
		InitialInterval:     min(initial, most),
		MaxInterval:         min(cmp.Or(e.Max, max(time.Hour, initial)), most),
		Multiplier:          cmp.Or(e.Multiplier, 2),
		RandomizationFactor: e.Jitter,
		MaxElapsedTime:      e.MaxElapsed,
		Stop:                backoff.Stop,
		Clock:               clock,
	}
}

func (e Exponential) validate() error {
	var errs []error
	want := func(ok bool, field string, value any, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w Exponential.%s %v: want %s", ErrInvalid, field, value, what))
		}
	}
	want(e.Initial >= 0, "Initial", e.Initial, "0 or more")
	want(e.Max == 0 || e.Max >= cmp.Or(e.Initial, defaultInitial), "Max", e.Max, "0 or at least Initial")
	want(e.Multiplier == 0 || e.Multiplier >= 1 && !math.IsInf(e.Multiplier, 1), "Multiplier", e.Multiplier, "0, or 1 or more")
	want(e.Jitter >= 0 && e.Jitter <= 1, "Jitter", e.Jitter, "0 to 1")
	want(e.MaxElapsed >= 0, "MaxElapsed", e.MaxElapsed, "0 or more")
	want(e.MaxAttempts >= 0, "MaxAttempts", e.MaxAttempts, "0 or more")
	return errors.Join(errs...)
}

// BackOff makes a [RetryPolicy] of any policy of package
// github.com/cenkalti/backoff/v4. Such a policy has a state, so newPolicy is
// called for each decision and the new policy is replayed: Reset, then
// NextBackOff once for each attempt made so far, of which the last answer
// counts. backoff.Stop ends the retries; any other negative delay is 0.
//
// The clock stands still at the start of the first attempt during the replay and
// reads Failure.Elapsed later at the last call. A policy that looks at the time
// must use it. newPolicy is called concurrently.
//
// Beware that backoff.NewExponentialBackOff stops after 15 minutes: pass
// backoff.WithMaxElapsedTime(0), or the time that you mean, and
// backoff.WithClockProvider(clock). [Exponential] has neither trap.
func BackOff(newPolicy func(clock backoff.Clock) backoff.BackOff) RetryPolicy {
	return backOffPolicy(newPolicy)
}

type backOffPolicy func(backoff.Clock) backoff.BackOff

func (newPolicy backOffPolicy) Next(f Failure) (time.Duration, bool) {
	clock := &replayClock{now: time.Unix(0, 0)}
	policy := newPolicy(clock)
	policy.Reset()
	for range max(f.Attempt, 1) - 1 {
		policy.NextBackOff()
	}
	clock.now = clock.now.Add(f.Elapsed)
	delay := policy.NextBackOff()
	if delay == backoff.Stop {
		return 0, false
	}
	return max(delay, 0), true
}

func (newPolicy backOffPolicy) validate() error {
	if newPolicy == nil {
		return fmt.Errorf("%w BackOff: want a function", ErrInvalid)
	}
	return nil
}

type replayClock struct{ now time.Time }

func (c *replayClock) Now() time.Time { return c.now }

// WithJitter spreads each delay d of a policy evenly over d*(1-fraction) to
// d*(1+fraction), so that deliveries that failed together are not retried
// together. fraction is from 0 to 1; [NewDispatcher] returns [ErrInvalid] for
// any other. It does not know of a bound that p keeps: for [Exponential] use its
// own Jitter.
func WithJitter(p RetryPolicy, fraction float64) RetryPolicy {
	return jitter{p, fraction}
}

type jitter struct {
	policy   RetryPolicy
	fraction float64
}

func (j jitter) Next(f Failure) (time.Duration, bool) {
	delay, again := j.policy.Next(f)
	if !again {
		return 0, false
	}
	factor := 1 + j.fraction*(2*rand.Float64()-1)
	spread := float64(max(delay, 0)) * factor
	if spread >= math.MaxInt64 {
		return math.MaxInt64, true
	}
	return time.Duration(spread), true
}

func (j jitter) validate() error {
	if !(j.fraction >= 0 && j.fraction <= 1) {
		return fmt.Errorf("%w WithJitter fraction %v: want 0 to 1", ErrInvalid, j.fraction)
	}
	if j.policy == nil {
		return fmt.Errorf("%w WithJitter policy: want one", ErrInvalid)
	}
	return validatePolicy(j.policy)
}

// validatePolicy returns ErrInvalid for a policy of this package that was made
// with wrong values. NewDispatcher asks for the same method, so that a mistake
// shows at the start and not at the first failure.
func validatePolicy(p RetryPolicy) error {
	if v, ok := p.(interface{ validate() error }); ok {
		return v.validate()
	}
	return nil
}

// maxRetryAfter bounds what a receiver may ask for, lest it park its deliveries
// for ever.
const maxRetryAfter = 24 * time.Hour

// parseRetryAfter returns how long a response asks to be left alone (RFC 9110,
// section 10.2.3: seconds or a date), at most maxRetryAfter; 0 where it does not
// ask, or for what is past or is neither.
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, _ := strconv.ParseUint(value, 10, 64) // the greatest number on overflow
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// maxDelay bounds what a policy may ask for, so that no clock overflows.
const maxDelay = 365 * 24 * time.Hour

// outcome decides what becomes of a delivery, and of its endpoint, after an
// attempt.
func (d *Dispatcher) outcome(ctx context.Context, t *target, c *Claimed, r result) Settlement {
	s := Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, Attempt: r.attempt, Counted: !r.cut && !r.proxy, Pause: c.reopen()}
	test := c.Delivery.Origin == OriginTest
	switch {
	case r.err == nil:
		s.State, s.Health, s.Pause = StateDelivered, HealthSuccess, 0
		// A request that began before another was refused says nothing of now.
		if !t.breaker.Succeeded(r.attempt.StartedAt) && c.Endpoint.NotBefore.IsZero() {
			s.Health = HealthUnchanged
		}
	case test:
		s.State = StateExhausted
	case r.cut:
		s.State = StatePending
	case r.proxy:
		s.State, s.Delay, s.Pause = StatePending, r.wait, c.postpone(r.wait)
	default:
		s.State, s.Delay = d.retry(t, c, r)
		if !r.ours {
			d.blame(ctx, &s, t, c, r)
		}
	}
	if test {
		s.Counted, s.Health, s.Pause = true, HealthUnchanged, 0
	}
	return s
}

// retry asks the policy whether and when a failed delivery is attempted again.
func (d *Dispatcher) retry(t *target, c *Claimed, r result) (State, time.Duration) {
	f := Failure{Attempt: r.attempt.Number, Elapsed: r.attempt.Duration, StatusCode: r.attempt.StatusCode, RetryAfter: r.retryAfter}
	if f.StatusCode == 0 {
		f.Err = r.err
	}
	if first := c.Delivery.FirstAttempt; !first.IsZero() {
		f.Elapsed = max(f.Elapsed, r.attempt.StartedAt.Add(r.attempt.Duration).Sub(first))
	}
	if f.StatusCode == http.StatusGone {
		return StateExhausted, 0
	}
	delay, again, panicked := next(t.profile.Retry, f)
	if panicked {
		d.log.Error("a retry policy panicked; the default policy decides", zap.String("delivery", c.Delivery.ID), zap.String("profile", t.endpoint.Profile))
		r.attempt.Error += "; the retry policy panicked"
	}
	if !again {
		return StateExhausted, 0
	}
	return StatePending, min(max(delay, f.RetryAfter, 0), maxDelay)
}

// next asks the policy, or the default one if it panics.
func next(p RetryPolicy, f Failure) (delay time.Duration, again, panicked bool) {
	defer func() {
		if recover() != nil {
			delay, again = DefaultRetry().Next(f)
			panicked = true
		}
	}()
	delay, again = p.Next(f)
	return delay, again, false
}

// blame applies a failure to its endpoint: its health, how long it is left alone,
// and the end of one that is gone or has been failing for too long.
func (d *Dispatcher) blame(ctx context.Context, s *Settlement, t *target, c *Claimed, r result) {
	s.Health = HealthFailure
	now, since := time.Now(), c.Endpoint.FailingSince
	failing := time.Duration(0)
	if !since.IsZero() {
		failing = now.Sub(since)
	}
	open, span := t.breaker.Failed(c.Delivery.ID, now)
	// One that was left alone without having asked for it was so because of
	// another process's breaker.
	if open || !d.config.NoBreaker && !c.Endpoint.NotBefore.IsZero() && !t.breaker.Asked() {
		s.Pause = min(max(failing/4, minPause), maxPause)
	}
	// What asks for less asks for all of it, not for one delivery.
	asked := min(r.retryAfter, maxAsked)
	if r.attempt.StatusCode == http.StatusTooManyRequests {
		asked = max(asked, minPause)
	}
	s.Pause = max(s.Pause, t.breaker.Ask(asked, now))
	switch limit := d.config.AutoDisable; {
	case r.attempt.StatusCode == http.StatusGone:
		s.Disable = "the endpoint answered 410 Gone"
	case limit > 0 && failing >= limit && (span >= disableSpread || d.keepsFailing(ctx, c, now)):
		s.Disable = "failing without one success since " + since.UTC().Format(time.RFC3339)
		s.IfFailingSince = since
	}
}

const (
	breakerLimit  = 5                // different deliveries that fail in a row open the breaker
	minPause      = 5 * time.Second  // between two probes of a failing endpoint: a quarter of the time
	maxPause      = 15 * time.Minute // that it has been failing for, within these bounds
	maxAsked      = time.Hour        // that an endpoint is left alone because it asks for it
	disableSpread = 12 * time.Hour   // between the failures that disable an endpoint
)

// newBreaker returns the breaker of an endpoint.
func (c *Config) newBreaker() *breaker.Breaker {
	limit := breakerLimit
	if c.NoBreaker {
		limit = 0
	}
	return breaker.New(limit, c.disableWindow())
}

// disableWindow is how far apart two failures may lie for an endpoint to be
// failing all the time between: one that failed once, was sent nothing for days
// and fails again has not been failing for days.
func (c *Config) disableWindow() time.Duration { return max(c.AutoDisable, 2*disableSpread) }

// keepsFailing finds a failure that lies at least disableSpread, and at most a
// window, before now, of which this process may not know: that of the same
// delivery, or of one that was given up.
func (d *Dispatcher) keepsFailing(ctx context.Context, c *Claimed, now time.Time) bool {
	from, to := now.Add(-d.config.disableWindow()), now.Add(-disableSpread)
	if first := c.Delivery.FirstAttempt; !first.IsZero() && !first.After(to) {
		return true
	}
	page, err := d.store.ListDeliveries(ctx, DeliveryFilter{
		Scope: Scope{All: true}, EndpointID: c.Endpoint.ID, States: []State{StateExhausted}, From: from, To: to, Limit: 10,
	})
	return err == nil && slices.ContainsFunc(page.Items, func(o Delivery) bool {
		return o.Attempts > 0 && !o.FirstAttempt.After(to)
	})
}
