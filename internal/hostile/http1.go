package hostile

import (
	"bytes"
	"compress/gzip"
	"strings"
	"sync"
	"time"
)

// What the owner of a URL is told.
const (
	failed    = "connection failed"
	closed    = "connection closed before a response"
	tooLarge  = "response headers too large"
	malformed = "no valid response"
	timeout   = "timeout"
)

const (
	ok    = "HTTP/1.1 200 OK\r\n"
	empty = "Content-Length: 0\r\n\r\n"
)

// http1 are those that break their word on the way.
func http1() []Receiver {
	return []Receiver{
		{Name: "refuses", refuse: true, Connections: -1, Requests: -1, Errors: []string{failed}},
		{Name: "never answers", handle: func(p *peer) { p.request(); p.hold() }, Hangs: true, Errors: []string{timeout}},
		{Name: "never reads", Size: 16 << 20, handle: func(p *peer) { _ = p.raw.SetReadBuffer(4096); p.header(); block(p) }, Hangs: true, Errors: []string{timeout}},
		{Name: "reads slowly", Size: 16 << 20, handle: func(p *peer) { _ = p.raw.SetReadBuffer(4096); p.header(); sip(p) }, Hangs: true, Errors: []string{timeout}},
		{Name: "closes at once", handle: func(*peer) {}, Errors: []string{closed}},
		{Name: "resets at once", handle: func(p *peer) { p.reset() }, Errors: []string{closed, failed}},
		{Name: "closes after the request", handle: func(p *peer) { p.request() }, Errors: []string{closed}},
		{Name: "resets after the request", handle: func(p *peer) { p.request(); p.reset() }, Errors: []string{closed}},
		{Name: "closes within the request", Size: 16 << 20, handle: func(p *peer) { p.header() }, Errors: []string{closed}},
		{Name: "closes within the status line", handle: says("HTTP/1.1 2"), Errors: []string{malformed}},
		{Name: "resets within the status line", handle: resets("HTTP/1.1 2"), Errors: []string{closed, malformed}},
		{Name: "closes within the header", handle: says(ok + "Content-Length: 5\r\n"), Errors: []string{closed}},
		{Name: "closes within a field", handle: says(ok + "Content-Le"), Errors: []string{malformed}},
		{Name: "resets within the header", handle: resets(ok + "Content-Length: 5\r\n"), Errors: []string{closed}},
		{Name: "closes after the header", handle: says(ok + "Content-Length: 100\r\n\r\n"), Status: 200, Truncated: true},
		{Name: "resets after the header", handle: resets(ok + "Content-Length: 100\r\n\r\n"), Status: 200, Truncated: true, Errors: []string{closed}},
		{Name: "resets within the body", handle: resets(ok + "Content-Length: 100\r\n\r\nhello"), Status: 200, Truncated: true, Errors: []string{closed}},
		{Name: "resets after 2xx", handle: resets(ok + "Content-Length: 5\r\n\r\nhello"), Status: 200, Errors: []string{closed}},
		{Name: "fails, then resets", handle: resets("HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nhello"), Status: 500, Errors: []string{closed}},
		{Name: "drips the status line", handle: drips(strings.Repeat("HTTP/1.1 200 ", 1000)), Hangs: true, Errors: []string{timeout}},
		{Name: "drips the header", handle: drips(ok + strings.Repeat("X-A: b\r\n", 1000)), Hangs: true, Errors: []string{timeout}},
		{Name: "drips the body", handle: sends(ok+"\r\n", func(p *peer) { p.drip(strings.Repeat("x", 100_000)) }), Status: 200, Hangs: true, Truncated: true},
		{Name: "drips 1xx", handle: drips(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000)), Hangs: true, Errors: []string{timeout}},
		{Name: "holds back the body", handle: sends(ok+"Content-Length: 1\r\n\r\n", (*peer).hold), Status: 200, Hangs: true, Truncated: true},
		{Name: "holds back the end of the body", handle: sends(ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", (*peer).hold), Status: 200, Hangs: true, Truncated: true},
		{Name: "endless body", handle: sends(ok+"\r\n", floods("x")), Status: 200, Truncated: true},
		{Name: "body of an exbibyte", handle: sends(ok+"Content-Length: 1152921504606846976\r\n\r\n", floods("x")), Status: 200, Truncated: true},
		{Name: "endless chunks", handle: sends(ok+"Transfer-Encoding: chunked\r\n\r\n", floods("400\r\n"+strings.Repeat("x", 0x400)+"\r\n")), Status: 200, Truncated: true},
		{Name: "endless chunks of a byte", handle: sends(ok+"Transfer-Encoding: chunked\r\n\r\n", floods("1\r\nx\r\n")), Status: 200, Truncated: true},
		{Name: "endless chunk extension", handle: sends(ok+"Transfer-Encoding: chunked\r\n\r\n1;", floods("x")), Status: 200, Truncated: true},
		{Name: "endless trailers", handle: sends(ok+"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", floods("X-A: b\r\n")), Status: 200, Truncated: true},
		{Name: "trailers", handle: says(ok + "Transfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n5\r\nhello\r\n0\r\nX-A: \xff\r\nX-B: c\r\n\r\n"), Status: 200},
		{Name: "malformed trailers", handle: says(ok + "Transfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n5\r\nhello\r\n0\r\nX-A: \x00\r\n\r\n"), Status: 200, Truncated: true},
		{Name: "gzip bomb", handle: says(ok + "Content-Encoding: gzip\r\nContent-Type: text/plain\r\n\r\n" + bomb()), Status: 200},
		{Name: "flood of 100", handle: sends("", floods("HTTP/1.1 100 Continue\r\n\r\n")), Errors: []string{tooLarge}},
		{Name: "flood of 103 with fields", handle: sends("", floods("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")), Errors: []string{tooLarge}},
		{Name: "10 MiB of one field", handle: sends(ok+"X-A: "+strings.Repeat("x", 10<<20)+"\r\n"+empty, (*peer).hold), Errors: []string{tooLarge}},
		{Name: "10 MiB of many fields", handle: sends(ok+strings.Repeat("X-A: 1234567890\r\n", 10<<20/17)+empty, (*peer).hold), Errors: []string{tooLarge}},
		{Name: "endless fields", handle: sends(ok, floods("X-A: b\r\n")), Errors: []string{tooLarge}},
		{Name: "endless field name", handle: sends(ok, floods("x")), Errors: []string{tooLarge}},
		{Name: "endless folded field", handle: sends(ok+"X-A: b\r\n", floods(" c\r\n")), Errors: []string{tooLarge}},
		{Name: "endless empty fields", handle: sends(ok, floods("a:\r\n")), Errors: []string{tooLarge}},
		{Name: "endless status line", handle: sends("HTTP/1.1 200 ", floods("x")), Errors: []string{tooLarge}},
		{Name: "many fields that are small enough", handle: says(ok + strings.Repeat("a:\r\n", 4000) + empty), Status: 200},
		{Name: "redirects to itself", handle: func(p *peer) {
			for p.request() {
				p.send("HTTP/1.1 302 Found\r\nLocation: /again\r\n" + empty)
			}
		}, Status: 302},
		{Name: "redirects to metadata", handle: says("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/latest/meta-data/\r\n" + empty), Status: 307},
		{Name: "redirects without a place", handle: says("HTTP/1.1 301 Moved\r\n" + empty), Status: 301},
		{Name: "asks for credentials", handle: says("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n" + empty), Status: 401},
		{Name: "asks for another try", handle: says("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n" + empty), Status: 408},
		{Name: "switches protocols", handle: sends("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chess\r\n\r\n", (*peer).hold), Status: 101},
		{Name: "switches protocols and floods", handle: sends("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chess\r\n\r\n", floods("x")), Status: 101},
		{Name: "answers the header", Size: 1 << 20, handle: func(p *peer) { p.header(); p.send(ok + empty); block(p) }, Status: 200},
		{Name: "answers the header of a large request and floods", Size: 16 << 20, handle: func(p *peer) { p.header(); p.send(ok + "\r\n"); p.flood("x") }, Status: 200, Truncated: true},
		// Whether the request was on its way by then is a matter of luck.
		{Name: "answers before the request", handle: func(p *peer) { p.send(ok + empty); p.request(); p.hold() }, Status: 200, Errors: []string{closed, malformed}, Connections: 2},
		{Name: "answers twice", handle: says(ok + "Content-Length: 5\r\n\r\nhello" + ok + "Content-Length: 5\r\n\r\nworld"), Status: 200},
	}
}

// framing are those that break the rules of RFC 9112.
func framing() []Receiver {
	bad := []string{malformed}
	body := func(name, fields, body string) Receiver {
		return Receiver{Name: name, handle: says(ok + fields + "\r\n" + body), Status: 200, Truncated: true}
	}
	none := func(name, raw string, errors ...string) Receiver {
		if len(errors) == 0 {
			errors = bad
		}
		return Receiver{Name: name, handle: says(raw), Errors: errors}
	}
	some := func(name, raw string, status int) Receiver {
		return Receiver{Name: name, handle: says(raw), Status: status}
	}
	const chunked = "Transfer-Encoding: chunked\r\n"
	return []Receiver{
		body("chunk size zz", chunked, "zz\r\nhello"),
		body("chunk size -1", chunked, "-1\r\nhello"),
		body("chunk size 0x5", chunked, "0x5\r\nhello\r\n0\r\n\r\n"),
		body("chunk size beyond 64 bits", chunked, "fffffffffffffffff\r\nhello"),
		body("chunk size 2^63", chunked, "8000000000000000\r\nhello"),
		body("chunk without size", chunked, "\r\nhello"),
		body("chunk that is longer than it says", chunked, "2\r\nhello\r\n0\r\n\r\n"),
		body("chunks without end", chunked, "5\r\nhello\r\n"),
		body("chunks that end within the last", chunked, "5\r\nhello\r\n0\r\n"),
		body("chunk with a NUL for its size", chunked, "\x00\r\nhello"),
		body("longer than it is", "Content-Length: 10\r\n", "hello"),
		none("negative length", ok+"Content-Length: -1\r\n\r\n"),
		none("length with a sign", ok+"Content-Length: +5\r\n\r\nhello"),
		none("length that is no number", ok+"Content-Length: five\r\n\r\nhello"),
		none("length beyond 64 bits", ok+"Content-Length: 99999999999999999999\r\n\r\nhello"),
		none("two lengths", ok+"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
		none("list of lengths", ok+"Content-Length: 5, 6\r\n\r\nhello!"),
		some("the same length twice", ok+"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 200),
		some("length and chunks", ok+"Content-Length: 3\r\n"+chunked+"\r\n5\r\nhello\r\n0\r\n\r\n", 200),
		none("unknown encoding", ok+"Transfer-Encoding: rot13\r\n\r\nhello"),
		none("chunked twice", ok+"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
		none("two encodings", ok+chunked+chunked+"\r\n0\r\n\r\n"),
		some("bare LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 200),
		none("bare CR", "HTTP/1.1 200 OK\rContent-Length: 0\r\r", closed),
		none("bare CR in a field", ok+"X-A: b\rX-B: c\r\n"+empty),
		none("HTTP/0.9", "<html>hello</html>"),
		none("HTTP/0.9, empty", "\r\n\r\n"),
		none("another protocol", "220 mail.example ESMTP\r\n"),
		none("SSH", "SSH-2.0-OpenSSH_9.9\r\n"),
		none("TLS", "\x15\x03\x01\x00\x02\x02\x28"),
		none("HTTP/2 without being asked", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
		none("NULs", strings.Repeat("\x00", 100)),
		none("random bytes", "\xde\xad\xbe\xef\x80\x00\x0d\x0a\x0d\x0a"),
		none("HTTP/9.x", "HTTP/9.x 200 OK\r\n\r\n"),
		none("HTTP/1", "HTTP/1 200 OK\r\n\r\n"),
		none("lower case", "http/1.1 200 ok\r\n\r\n"),
		none("no version", "200 OK\r\n\r\n"),
		none("status 20", "HTTP/1.1 20 OK\r\n"+empty),
		none("status 000", "HTTP/1.1 000 OK\r\n"+empty),
		none("status 099", "HTTP/1.1 099 OK\r\n"+empty),
		none("status 1000", "HTTP/1.1 1000 OK\r\n"+empty),
		none("status -1", "HTTP/1.1 -1 OK\r\n"+empty),
		none("status -20", "HTTP/1.1 -20 OK\r\n"+empty),
		none("status +20", "HTTP/1.1 +20 OK\r\n"+empty),
		none("status 2xx", "HTTP/1.1 2xx OK\r\n"+empty),
		none("status 2\x000", "HTTP/1.1 2\x000 OK\r\n"+empty),
		none("no status", "HTTP/1.1  OK\r\n"+empty),
		some("status 999", "HTTP/1.1 999 What\r\n"+empty, 999),
		some("status 600", "HTTP/1.1 600\r\n"+empty, 600),
		some("no reason", "HTTP/1.1 200\r\n"+empty, 200),
		some("hostile reason", "HTTP/1.1 200 \xff\x01\x1b[31m\r\n"+empty, 200),
		some("204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204),
		some("304 with a body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", 304),
		some("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", 200),
		none("no colon", ok+"what is this\r\n"+empty),
		none("no name", ok+": b\r\n"+empty),
		some("space before the colon", ok+"X-A : b\r\n"+empty, 200),
		none("NUL in a name", ok+"X\x00A: b\r\n"+empty),
		none("NUL in a value", ok+"X-A: b\x00c\r\n"+empty),
		none("folded at the start", ok+" X-A: b\r\n"+empty),
		some("folded", ok+"X-A: b\r\n c\r\n"+empty, 200),
		some("values that are not UTF-8", ok+"X-A: \xff\xfe\xed\xa0\x80 caf\xe9\r\n"+empty, 200),
		none("control characters in a value", ok+"X-A: \x01\x1b[31m\x7f\r\n"+empty),
		some("body of NULs that is not UTF-8", ok+"Content-Length: 8\r\n\r\n\x00\x00\xff\xfe\xed\xa0\x80\x00", 200),
		some("many cookies", ok+strings.Repeat("Set-Cookie: a=b; Domain=.com\r\n", 100)+empty, 200),
	}
}

// says answers one request with these bytes and closes.
func says(text string) func(*peer) { return sends(text, func(*peer) {}) }

// resets answers one request with these bytes and resets the connection.
func resets(text string) func(*peer) { return sends(text, (*peer).reset) }

// drips answers one request byte by byte.
func drips(text string) func(*peer) { return sends("", func(p *peer) { p.drip(text) }) }

func floods(text string) func(*peer) { return func(p *peer) { p.flood(text) } }

// sends answers one request with these bytes and what then does.
func sends(text string, then func(*peer)) func(*peer) {
	return func(p *peer) {
		if p.request() && p.send(text) {
			then(p)
		}
	}
}

// block neither reads nor writes until the server is closed.
func block(p *peer) { <-p.server.done }

// sip reads a byte now and then.
func sip(p *peer) {
	tick := time.NewTicker(dripEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.server.done:
			return
		}
		if _, err := p.raw.Read(make([]byte, 1)); err != nil {
			return
		}
	}
}

// bomb is 10 MiB of zeros in 10 KiB.
var bomb = sync.OnceValue(func() string {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	zeros := make([]byte, 1<<20)
	for range 10 {
		_, _ = w.Write(zeros)
	}
	_ = w.Close()
	return b.String()
})
