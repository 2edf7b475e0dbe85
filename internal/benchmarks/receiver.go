package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How long the receiver's paths stuck and slow take to answer.
const (
	stuckFor = 4 * time.Second
	slowFor  = 2 * time.Second
)

const receiverFlag = "-receiver"

// isReceiver reports whether this process was started as the receiver.
func isReceiver() bool { return slices.Equal(os.Args[1:], []string{receiverFlag}) }

// receive serves until its standard input ends, as it does when the parent dies.
// It writes its URL, and then answers each line that it reads, see inbox.obey.
func receive() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	b := new(inbox)
	server := &http.Server{Handler: b.handler()}
	go func() { _ = server.Serve(listener) }()
	fmt.Println("http://" + listener.Addr().String())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		line, err := b.obey(in.Text(), server, listener.Addr().(*net.TCPAddr).Port)
		if err != nil {
			fmt.Println("error:", err)
			return
		}
		// In one write, so that no line of a handler's falls between.
		fmt.Println(line)
	}
	_ = server.Close()
}

// inbox is what the receiver knows of the requests that came.
type inbox struct {
	left    atomic.Int64 // to the path quick, until it says so
	turning atomic.Int64 // came to the path turning
	flooded atomic.Int64 // came to the path flooded
	arrived sync.Map     // message IDs of the path quick to Unix nanoseconds
}

// obey carries out a line of the parent's and returns the answer. A number is how
// many requests will come to the path quick from now on, all of them with
// different message IDs; a further line says when they have. "arrivals" asks what
// came since, and when; "listen" and a number, to listen on that many addresses.
func (b *inbox) obey(line string, server *http.Server, port int) (string, error) {
	var n int64
	switch {
	case line == "arrivals":
		return b.arrivals(), nil
	case strings.HasPrefix(line, "listen "):
		if _, err := fmt.Sscan(strings.TrimPrefix(line, "listen "), &n); err != nil {
			return "", err
		}
		for i := range int(n) {
			listener, err := net.Listen("tcp", loopback(i, port))
			if err != nil {
				return "", err
			}
			go func() { _ = server.Serve(listener) }()
		}
		return "listening", nil
	}
	if _, err := fmt.Sscan(line, &n); err != nil {
		return "", err
	}
	if over := -b.left.Swap(n); over != 0 {
		return "", fmt.Errorf("%d requests more than expected", over)
	}
	b.turning.Store(0)
	b.flooded.Store(0)
	b.arrived.Clear()
	return "expecting", nil
}

// arrivals returns how many requests came to the path flooded, then a line for
// each one to the path quick with its message ID and when it came, and an end.
func (b *inbox) arrivals() string {
	lines := []string{fmt.Sprint(b.flooded.Load())}
	for id, at := range b.arrived.Range {
		lines = append(lines, fmt.Sprint(id, " ", at))
	}
	return strings.Join(append(lines, "end"), "\n")
}

// loopback returns the nth address of many on the loopback interface of Linux,
// which has all of 127.0.0.0/8.
func loopback(n, port int) string {
	return fmt.Sprintf("127.%d.%d.%d:%d", 1+n/62_500, n/250%250, 1+n%250, port)
}

func (b *inbox) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /quick", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r)
		if id := r.Header.Get("Webhook-Id"); id == "" {
			fmt.Println("error: a request without an ID")
		} else if _, twice := b.arrived.LoadOrStore(id, time.Now().UnixNano()); twice {
			fmt.Println("error: two requests with the ID", id)
		}
		if b.left.Add(-1) == 0 {
			fmt.Println("answered")
		}
	})
	mux.HandleFunc("POST /flooded", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r)
		b.flooded.Add(1)
	})
	mux.HandleFunc("POST /failing", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
	})
	mux.HandleFunc("POST /slow", func(w http.ResponseWriter, r *http.Request) { stick(w, r, slowFor) })
	mux.HandleFunc("POST /hanging", func(w http.ResponseWriter, r *http.Request) { stick(w, r, time.Hour) })
	mux.HandleFunc("POST /stuck", func(w http.ResponseWriter, r *http.Request) { stick(w, r, stuckFor) })
	// The first answer is quick, so that the endpoint counts as quick at first.
	mux.HandleFunc("POST /turning", func(w http.ResponseWriter, r *http.Request) {
		if b.turning.Add(1) == 1 {
			answer(w, r)
			return
		}
		stick(w, r, stuckFor)
	})
	return mux
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusNoContent)
}

func stick(w http.ResponseWriter, r *http.Request, d time.Duration) {
	_, _ = io.Copy(io.Discard, r.Body)
	select {
	case <-time.After(d):
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
	}
}

// receiver is the receiver's process as its parent sees it.
type receiver struct {
	url     string
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

func startReceiver(ctx context.Context) (*receiver, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &receiver{process: exec.CommandContext(ctx, program, receiverFlag)}
	r.process.Stderr = os.Stderr
	if r.in, err = r.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.process.Start(); err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	r.out = bufio.NewScanner(out)
	if r.url, err = r.line(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// expect returns a channel that receives when the path quick has answered n
// requests from now on. Only one may be awaited at a time.
func (r *receiver) expect(n int) (<-chan error, error) {
	if _, err := r.ask(n); err != nil {
		return nil, err
	}
	answered := make(chan error, 1)
	go func() {
		_, err := r.line()
		answered <- err
	}()
	return answered, nil
}

// arrivals returns how many requests came to the path flooded since expect, and
// when those to the path quick came, in Unix nanoseconds by message ID. It must not
// be called while an answer of expect is awaited.
func (r *receiver) arrivals() (flooded int64, at map[string]int64, err error) {
	line, err := r.ask("arrivals")
	if err == nil {
		_, err = fmt.Sscan(line, &flooded)
	}
	at = make(map[string]int64)
	for err == nil {
		if line, err = r.line(); err != nil || line == "end" {
			break
		}
		id, nanoseconds, _ := strings.Cut(line, " ")
		at[id], err = strconv.ParseInt(nanoseconds, 10, 64)
	}
	return flooded, at, err
}

// listen makes the receiver listen on n addresses, and returns its URLs there.
func (r *receiver) listen(n int) ([]string, error) {
	if _, err := r.ask("listen " + strconv.Itoa(n)); err != nil {
		return nil, err
	}
	u, err := url.Parse(r.url)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(u.Port())
	urls := make([]string, n)
	for i := range urls {
		urls[i] = "http://" + loopback(i, port)
	}
	return urls, err
}

// ask writes a line and returns the first one of the answer.
func (r *receiver) ask(line any) (string, error) {
	if _, err := fmt.Fprintln(r.in, line); err != nil {
		return "", fmt.Errorf("receiver: %w", err)
	}
	return r.line()
}

func (r *receiver) line() (string, error) {
	if !r.out.Scan() {
		return "", fmt.Errorf("receiver: it has ended (%v)", r.out.Err())
	}
	line := r.out.Text()
	if why, failed := strings.CutPrefix(line, "error: "); failed {
		return "", fmt.Errorf("receiver: %s", why)
	}
	return line, nil
}

func (r *receiver) close() {
	_ = r.in.Close()
	_ = r.process.Wait()
}
