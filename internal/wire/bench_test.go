package wire

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
)

// BenchmarkPost compares an exchange with what http.Transport itself costs.
func BenchmarkPost(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	for name, answer := range map[string]string{
		"empty answer": "HTTP/1.1 204 No Content\r\n\r\n",
		"short answer": "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
	} {
		// The receiver allocates nothing: it knows how long a request is.
		address := receiver(b, func(conn net.Conn) {
			buffer, answer := make([]byte, 4096), []byte(answer)
			seen := 0
			for {
				n, err := conn.Read(buffer[seen:])
				if err != nil {
					return
				}
				seen += n
				if head := bytes.Index(buffer[:seen], []byte("\r\n\r\n")); head >= 0 && seen == head+4+len(body) {
					seen = 0
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}
		})
		c := newClient(b, local)
		u := parse(b, c, "http://"+address+"/hook")
		h := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Outhook"}}

		b.Run(name+"/Transport", func(b *testing.B) {
			t := &http.Transport{DisableCompression: true}
			defer t.CloseIdleConnections()
			b.ReportAllocs()
			for b.Loop() {
				r := (&http.Request{
					Method: http.MethodPost, URL: u, Header: h, ContentLength: int64(len(body)),
					Body:    io.NopCloser(bytes.NewReader(body)),
					GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
				}).WithContext(b.Context())
				res, err := t.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadAll(res.Body); err != nil {
					b.Fatal(err)
				}
				_ = res.Body.Close()
			}
		})
		b.Run(name+"/Post", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Post(b.Context(), u, h, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
