package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxAnswer is how much of a body is read for who must have the whole of it.
const maxAnswer = 64 << 10

var errAnswerTooLarge = errors.New("answer too large")

// HTTP returns a client for what speaks HTTP by itself, such as a library that
// fetches a token; userAgent is what its requests say that name no other. Each of
// its requests is one exchange, as guarded as those of Post: the URL is judged as
// by [Client.CheckURL], an error is an *[Error], as [http.Client] wraps it, and a
// redirect is returned instead of followed, without its Location. None is repeated
// by net/http. It ends with ctx at the latest,
// whatever the request's own context says. A response has been read whole when it
// is returned; one of more than 64 KiB, or whose body breaks off, is an error.
func (c *Client) HTTP(ctx context.Context, userAgent string) *http.Client {
	return &http.Client{
		Transport:     &transport{c, ctx, userAgent},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// transport is a [http.RoundTripper] whose requests end with a context.
type transport struct {
	client    *Client
	ctx       context.Context
	userAgent string
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := within(r.Context(), t.ctx)
	defer cancel()
	u, err := t.client.CheckURL(r.URL.String())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, newError(ctx, err)
	}
	sent := r.Clone(ctx)
	sent.URL = u
	if !has(sent.Header, "User-Agent") {
		sent.Header.Set("User-Agent", t.userAgent)
	}
	sendOnce(sent)
	x := &exchange{Context: ctx}
	defer x.end()
	res, err := t.client.roundTrip(x, sent)
	if err != nil {
		return nil, newError(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusSwitchingProtocols { // its body is a connection
		return nil, newError(ctx, fmt.Errorf("status %d", res.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if len(body) > maxAnswer {
		return nil, &Error{text: errAnswerTooLarge.Error(), cause: errAnswerTooLarge}
	}
	if err != nil {
		return nil, newError(ctx, fmt.Errorf("reading the body: %w", err))
	}
	res.Header, _ = keepHeader(res.Header)
	// http.Client parses it, though it follows none, and what it cannot parse is an
	// error with the URL of the request and the words of the receiver.
	res.Header.Del("Location")
	res.Body, res.ContentLength, res.Request = io.NopCloser(bytes.NewReader(body)), int64(len(body)), r
	return res, nil
}

// sendOnce keeps net/http from sending a request again whose connection breaks,
// as it does with those that may be repeated by the letter of RFC 9110, section
// 9.2.2: it cannot while it does not know how to get the body again.
func sendOnce(r *http.Request) {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
	default:
		if !has(r.Header, "Idempotency-Key") && !has(r.Header, "X-Idempotency-Key") {
			return
		}
	}
	r.GetBody = nil
	if r.Body == nil || r.Body == http.NoBody {
		r.Body = io.NopCloser(http.NoBody)
	}
}

// within returns a that ends with b too.
func within(a, b context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(a)
	free := func() {}
	deadline, bounded := b.Deadline()
	// A timer of its own could end ctx a moment before b, whose owner would take
	// that for the receiver's fault.
	if earlier, ok := a.Deadline(); bounded && (!ok || earlier.After(deadline)) {
		ctx, free = context.WithDeadline(ctx, deadline)
	}
	stop := context.AfterFunc(b, func() {
		if b.Err() == context.Canceled { // its deadline is that of ctx, which is to say so
			cancel()
		}
	})
	return ctx, func() {
		stop()
		free()
		cancel()
	}
}
