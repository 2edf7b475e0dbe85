package webhook

import "time"

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
