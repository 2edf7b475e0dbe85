package hostile

import (
	"encoding/binary"
	"io"
	"strings"
)

// The frames of RFC 9113, section 6, and their flags.
const (
	frameData = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePush
	framePing
	frameGoAway
	frameWindow
	frameContinuation

	endStream  = 0x1
	ack        = 0x1
	endHeaders = 0x4
)

// Error codes of section 7, and settings of section 6.5.2.
const (
	noError       = 0
	protocolError = 1
	internalError = 2
	refusedStream = 7
	cancelled     = 8
	calmDown      = 11
	http11        = 13

	headerTableSize = 1
	maxStreams      = 3
	initialWindow   = 4
	maxFrameSize    = 5
)

const status200 = "\x88" // HPACK's static table (RFC 7541, appendix A)

func frame(kind, flags byte, stream uint32, payload string) string {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return string(binary.BigEndian.AppendUint32(head, stream)) + payload
}

func number(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func settings(pairs ...uint32) string {
	var payload []byte
	for n := 0; n < len(pairs); n += 2 {
		payload = binary.BigEndian.AppendUint16(payload, uint16(pairs[n]))
		payload = binary.BigEndian.AppendUint32(payload, pairs[n+1])
	}
	return frame(frameSettings, 0, 0, string(payload))
}

// field is a field of a header as HPACK has it without compression.
func field(name, value string) string { return "\x00" + text(name) + text(value) }

// text is a string of HPACK (RFC 7541, sections 5.1 and 5.2).
func text(s string) string {
	n := len(s)
	if n < 127 {
		return string([]byte{byte(n)}) + s
	}
	prefix := []byte{127}
	for n -= 127; n >= 128; n /= 128 {
		prefix = append(prefix, byte(n%128)|128)
	}
	return string(append(prefix, byte(n))) + s
}

// speak begins HTTP/2 and waits for the header of a request. With false, none
// has come.
func (p *peer) speak(first string) bool {
	return p.send(first) && p.preface() && p.await(frameHeaders)
}

func (p *peer) preface() bool {
	_, err := io.ReadFull(p.r, make([]byte, 24))
	return err == nil
}

// await reads frames until one of that kind has come.
func (p *peer) await(kind byte) bool {
	for {
		var head [9]byte
		if _, err := io.ReadFull(p.r, head[:]); err != nil {
			return false
		}
		n := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, p.r, n); err != nil {
			return false
		}
		if head[3] == frameHeaders {
			p.server.Requests.Add(1)
		}
		if head[3] == kind {
			return true
		}
	}
}

// http2 are those that speak HTTP/2, or say so.
func http2() []Receiver {
	bad := []string{malformed}
	lost := []string{malformed, closed}
	// after answers the first request.
	after := func(answer string, then func(*peer)) func(*peer) {
		return func(p *peer) {
			if p.speak(settings()) && p.send(answer) {
				then(p)
			}
		}
	}
	// beside floods while it reads what comes, so that it is never stopped.
	beside := func(first, flood string) func(*peer) {
		return func(p *peer) {
			if p.speak(settings()) && p.send(first) {
				p.server.wg.Go(p.hold)
				p.flood(flood)
			}
		}
	}
	hold := (*peer).hold
	head := frame(frameHeaders, endHeaders, 1, status200)
	whole := frame(frameHeaders, endHeaders|endStream, 1, status200)
	reset := func(code uint32) string { return frame(frameReset, 0, 1, number(code)) }
	goAway := func(last, code uint32) string { return frame(frameGoAway, 0, 0, number(last)+number(code)) }
	ping := frame(framePing, 0, 0, "12345678")
	large := strings.Repeat("x", 16000)
	piece := frame(frameContinuation, 0, 1, field("x", large))
	rs := []Receiver{
		{Name: "answers", handle: after(whole, hold), Status: 200},
		{Name: "no handshake", handle: func(p *peer) { _, _ = io.Copy(io.Discard, p.raw) }, Hangs: true, Errors: []string{timeout}},
		{Name: "no settings", handle: hold, Hangs: true, Errors: []string{timeout}},
		{Name: "never answers", handle: after("", hold), Hangs: true, Errors: []string{timeout}},
		{Name: "closes at once", handle: func(*peer) {}, Errors: []string{"TLS: connection closed during the handshake", closed}},
		{Name: "closes after the handshake", handle: func(p *peer) { p.send(settings()); p.preface() }, Errors: lost},
		{Name: "closes after the request", handle: after("", func(*peer) {}), Errors: lost},
		{Name: "resets after the request", handle: after("", (*peer).reset), Errors: lost},
		{Name: "HTTP/1.1 all the same", handle: func(p *peer) { p.send(ok + empty); p.hold() }, Errors: lost},
		{Name: "random frames", handle: func(p *peer) { p.send(strings.Repeat("\xde\xad\xbe\xef", 1000)); p.hold() }, Errors: lost},
		{Name: "GOAWAY at once", handle: func(p *peer) { p.speak(settings() + goAway(0, noError)); p.hold() }, Errors: lost, Connections: 3, Requests: 3},
		{Name: "GOAWAY at once for an error", handle: func(p *peer) { p.speak(settings() + goAway(0, calmDown)); p.hold() }, Errors: lost, Connections: 3, Requests: 3},
		{Name: "GOAWAY instead of an answer", handle: after(goAway(0, noError), hold), Errors: lost, Connections: 3, Requests: 3},
		{Name: "GOAWAY for an error instead of an answer", handle: after(goAway(0, internalError), hold), Errors: lost},
		{Name: "GOAWAY and no answer", handle: after(goAway(1, noError), hold), Hangs: true, Errors: []string{timeout}},
		{Name: "GOAWAY and a close", handle: after(goAway(1, noError), func(*peer) {}), Errors: lost},
		{Name: "GOAWAY, then an answer", handle: after(goAway(1, noError)+whole, hold), Status: 200},
		{Name: "reset of the stream", handle: after(reset(internalError), hold), Errors: bad},
		{Name: "cancels the stream", handle: after(reset(cancelled), hold), Errors: bad},
		{Name: "wants HTTP/1.1", handle: after(reset(http11), hold), Errors: bad},
		{Name: "resets the stream without an error", handle: after(reset(noError), hold), Errors: bad},
		{Name: "resets the stream within the body", handle: after(head+frame(frameData, 0, 1, "hello")+reset(internalError), hold), Status: 200, Truncated: true},
		{Name: "resets the stream after 2xx", handle: after(whole+reset(noError), hold), Status: 200},
		{Name: "resets the connection after 2xx", handle: after(whole, (*peer).reset), Status: 200, Errors: lost},
		{Name: "refuses the stream", handle: refuseStreams, Hangs: true, Errors: []string{timeout, malformed}, Requests: 8},
		{Name: "window that never opens", Size: 1 << 20, handle: after("", hold), Hangs: true, Errors: []string{timeout}},
		{Name: "no window at all", handle: func(p *peer) { p.speak(settings(initialWindow, 0)); p.hold() }, Hangs: true, Errors: []string{timeout}},
		{Name: "window beyond its limit", handle: func(p *peer) { p.speak(settings(initialWindow, 1<<31)); p.hold() }, Errors: lost, Connections: 3},
		{Name: "window that overflows", handle: after(strings.Repeat(frame(frameWindow, 0, 0, number(1<<31-1)), 2), hold), Errors: lost},
		{Name: "window that grows by nothing", handle: after(frame(frameWindow, 0, 1, number(0)), hold), Errors: bad},
		{Name: "no streams", handle: func(p *peer) { p.speak(settings(maxStreams, 0)); p.hold() }, Hangs: true, Errors: []string{timeout, closed}, Connections: 3},
		{Name: "frames of an invalid size", handle: func(p *peer) { p.speak(settings(maxFrameSize, 1)); p.hold() }, Errors: lost, Connections: 3},
		{Name: "a header table of 4 GiB", handle: func(p *peer) {
			if p.speak(settings(headerTableSize, 1<<32-1)) && p.send(whole) {
				p.hold()
			}
		}, Status: 200},
		{Name: "flood of settings", handle: beside("", settings(maxStreams, 100)), Errors: lost},
		{Name: "flood of settings acknowledged", handle: beside("", frame(frameSettings, ack, 0, "")), Errors: lost},
		{Name: "flood of pings", handle: beside("", ping), Errors: lost},
		{Name: "flood of pings that are answers", handle: beside("", frame(framePing, ack, 0, "12345678")), Errors: lost},
		{Name: "flood of pings after the answer", handle: beside(whole, ping), Status: 200, Errors: lost},
		{Name: "flood of pings that reads nothing", handle: after("", floods(ping)), Errors: lost},
		{Name: "flood of windows", handle: beside("", frame(frameWindow, 0, 0, number(1))), Errors: lost},
		{Name: "flood of priorities", handle: beside("", frame(framePriority, 0, 1, number(0)+"\x01")), Errors: lost},
		{Name: "flood of unknown frames", handle: beside("", frame(99, 0, 0, strings.Repeat("x", 1000))), Errors: lost},
		{Name: "flood of empty data", handle: beside(head, frame(frameData, 0, 1, "")), Status: 200, Truncated: true, Errors: lost},
		{Name: "flood of 103", handle: beside("", frame(frameHeaders, endHeaders, 1, field(":status", "103"))), Errors: append(lost, tooLarge)},
		{Name: "endless body", handle: beside(head, frame(frameData, 0, 1, large)), Status: 200, Truncated: true},
		{Name: "endless body in bytes", handle: beside(head, frame(frameData, 0, 1, "x")), Status: 200, Truncated: true},
		{Name: "drips the body", handle: after(head, func(p *peer) { p.drip(strings.Repeat(frame(frameData, 0, 1, "x"), 1000)) }), Status: 200, Hangs: true, Truncated: true},
		{Name: "holds back the body", handle: after(head, hold), Status: 200, Hangs: true, Truncated: true},
		{Name: "endless CONTINUATION", handle: beside(frame(frameHeaders, 0, 1, status200), frame(frameContinuation, 0, 1, field("a", "b"))), Errors: append(lost, tooLarge)},
		{Name: "endless empty CONTINUATION", handle: beside(frame(frameHeaders, 0, 1, status200), frame(frameContinuation, 0, 1, "")), Errors: append(lost, tooLarge)},
		{Name: "header bomb", handle: after(frame(frameHeaders, endHeaders, 1, status200+"\x40"+text("x")+text(strings.Repeat("x", 4000))+strings.Repeat("\xbe", 12000)), hold), Errors: []string{tooLarge}},
		{Name: "10 MiB of header", handle: func(p *peer) {
			if p.speak(settings()) && p.send(frame(frameHeaders, 0, 1, status200)) {
				if p.repeat(piece, 10<<20/len(large)) && p.send(frame(frameContinuation, endHeaders, 1, "")) {
					p.hold()
				}
			}
		}, Errors: append(lost, tooLarge)},
		{Name: "frame of 16 MiB", handle: after("\xff\xff\xff\x00\x00\x00\x00\x00\x01", floods("x")), Errors: lost},
		{Name: "data before the header", handle: after(frame(frameData, endStream, 1, "hello"), hold), Errors: bad},
		{Name: "data of another stream", handle: after(frame(frameData, endStream, 3, "hello"), hold), Errors: lost},
		{Name: "data of a stream that the server began", handle: after(frame(frameHeaders, endHeaders, 2, status200), hold), Hangs: true, Errors: []string{timeout}},
		{Name: "push", handle: after(frame(framePush, endHeaders, 1, number(2)+"\x82"), hold), Errors: lost},
		{Name: "two headers", handle: after(head+whole, hold), Status: 200, Truncated: true, Errors: lost},
		{Name: "no status", handle: after(frame(frameHeaders, endHeaders|endStream, 1, field("a", "b")), hold), Errors: bad},
		{Name: "status 000", handle: after(frame(frameHeaders, endHeaders|endStream, 1, field(":status", "000")), hold), Errors: bad},
		{Name: "status -1", handle: after(frame(frameHeaders, endHeaders|endStream, 1, field(":status", "-1")), hold), Errors: bad},
		{Name: "status 1000", handle: after(frame(frameHeaders, endHeaders|endStream, 1, field(":status", "1000")), hold), Errors: bad},
		{Name: "status 101", handle: after(frame(frameHeaders, endHeaders|endStream, 1, field(":status", "101")), hold), Errors: bad},
		{Name: "two statuses", handle: after(frame(frameHeaders, endHeaders|endStream, 1, status200+status200), hold), Errors: bad},
		{Name: "upper case", handle: after(frame(frameHeaders, endHeaders|endStream, 1, status200+field("X-A", "b")), hold), Errors: bad},
		{Name: "NUL in a value", handle: after(frame(frameHeaders, endHeaders|endStream, 1, status200+field("x-a", "b\x00c")), hold), Errors: bad},
		{Name: "CRLF in a value", handle: after(frame(frameHeaders, endHeaders|endStream, 1, status200+field("x-a", "b\r\nx-b: c")), hold), Errors: bad},
		{Name: "value that is not UTF-8", handle: after(frame(frameHeaders, endHeaders|endStream, 1, status200+field("x-a", "\xff\xfe")), hold), Status: 200},
		{Name: "malformed HPACK", handle: after(frame(frameHeaders, endHeaders|endStream, 1, "\xff\xff\xff\xff\xff\xff"), hold), Errors: lost},
		{Name: "shorter than it says", handle: after(frame(frameHeaders, endHeaders, 1, status200+field("content-length", "10"))+frame(frameData, endStream, 1, "hello"), hold), Status: 200, Truncated: true},
		{Name: "longer than it says", handle: after(frame(frameHeaders, endHeaders, 1, status200+field("content-length", "2"))+frame(frameData, endStream, 1, "hello"), hold), Status: 200, Truncated: true},
		{Name: "redirects to metadata", handle: after(frame(frameHeaders, endHeaders|endStream, 1, field(":status", "302")+field("location", "http://169.254.169.254/")), hold), Status: 302},
		{Name: "trailers", handle: after(head+frame(frameData, 0, 1, "hello")+frame(frameHeaders, endHeaders|endStream, 1, field("x-a", "\xff")), hold), Status: 200},
	}
	for n := range rs {
		rs[n].Name, rs[n].TLS = "HTTP/2: "+rs[n].Name, true
	}
	return rs
}

// refuseStreams says of each request that it was not processed.
func refuseStreams(p *peer) {
	if !p.send(settings()) || !p.preface() {
		return
	}
	for stream := uint32(1); p.await(frameHeaders); stream += 2 {
		p.send(frame(frameReset, 0, stream, number(refusedStream)))
	}
}
