package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// stuckFor is how long the receiver's path stuck takes to answer.
const stuckFor = 4 * time.Second

const receiverFlag = "-receiver"

// isReceiver reports whether this process was started as the receiver.
func isReceiver() bool { return slices.Equal(os.Args[1:], []string{receiverFlag}) }

// receive serves until its standard input ends, as it does when the parent dies.
// It writes its URL, then for each number that it reads a line at once, and one
// when its path quick has answered that many requests more, which must be all
// and have different message IDs.
func receive() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	var left, calls atomic.Int64
	var ids sync.Map
	mux := http.NewServeMux()
	mux.HandleFunc("POST /quick", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r)
		if id := r.Header.Get("Webhook-Id"); id == "" {
			fmt.Println("error: a request without an ID")
		} else if _, twice := ids.LoadOrStore(id, nil); twice {
			fmt.Println("error: two requests with the ID", id)
		}
		if left.Add(-1) == 0 {
			fmt.Println("answered")
		}
	})
	mux.HandleFunc("POST /stuck", func(w http.ResponseWriter, r *http.Request) {
		stick(w, r)
	})
	// The first answer is quick, so that the endpoint counts as quick at first.
	mux.HandleFunc("POST /turning", func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			answer(w, r)
			return
		}
		stick(w, r)
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	fmt.Println("http://" + listener.Addr().String())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var n int64
		if _, err := fmt.Sscan(in.Text(), &n); err != nil {
			fmt.Println("error:", err)
			return
		}
		if over := -left.Swap(n); over != 0 {
			fmt.Printf("error: %d requests more than expected\n", over)
			return
		}
		calls.Store(0)
		ids.Clear()
		fmt.Println("expecting")
	}
	_ = server.Close()
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusNoContent)
}

func stick(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	select {
	case <-time.After(stuckFor):
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
	if _, err := fmt.Fprintln(r.in, n); err != nil {
		return nil, fmt.Errorf("receiver: %w", err)
	}
	if _, err := r.line(); err != nil {
		return nil, err
	}
	answered := make(chan error, 1)
	go func() {
		_, err := r.line()
		answered <- err
	}()
	return answered, nil
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
