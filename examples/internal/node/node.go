// Package node runs the products' receivers in Node.js for the tests. Each
// program beside this file is a receiver as the product's page has it.
package node

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/outhook/webhook/internal/integration/npm"
)

//go:embed package.json package-lock.json *.js *.mjs
var files embed.FS

// Receiver is a program that runs until the end of its test.
type Receiver struct {
	URL     string // without a path
	reports chan Report
	mu      sync.Mutex
	printed []byte
}

// Report is what a receiver made of one request.
type Report struct {
	Port    int
	Status  int    // what the product's code answered
	First   bool   // the first attempt, to which the client got 503 instead of 200
	Body    string // as it came
	Same    bool   // JSON.stringify(JSON.parse(Body)) is Body
	Headers map[string]string
}

// Start starts a program with additional environment variables. Without Node.js
// or the packages it skips the test, or fails it where OUTHOOK_REQUIRE is set.
func Start(t *testing.T, program string, environment ...string) *Receiver {
	t.Helper()
	modules, err := installed()
	if err != nil {
		if os.Getenv("OUTHOOK_REQUIRE") != "" {
			t.Fatalf("no Node.js receivers: %v", err)
		}
		t.Skipf("no Node.js receivers: %v", err)
	}
	// Below the directory that has node_modules, where Node.js looks for them.
	directory, err := os.MkdirTemp(modules, "run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	if err := os.CopyFS(directory, files); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("node", filepath.Join(directory, program))
	command.Env = append(os.Environ(), environment...)
	command.Stderr = t.Output()
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	r := &Receiver{reports: make(chan Report, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(r.reports)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			r.line(lines.Bytes())
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-read
		_ = command.Wait()
	})
	r.URL = fmt.Sprintf("http://127.0.0.1:%d", r.Next(t).Port)
	return r
}

// line takes a line of the output: a report, or what the product's code prints.
func (r *Receiver) line(line []byte) {
	if text, ok := bytes.CutPrefix(line, []byte("@")); ok {
		var report Report
		if json.Unmarshal(text, &report) == nil {
			r.reports <- report
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.printed = append(append(r.printed, line...), '\n')
}

// Next waits for the next report.
func (r *Receiver) Next(t *testing.T) Report {
	t.Helper()
	select {
	case report, ok := <-r.reports:
		if !ok {
			t.Fatalf("the receiver ended; it printed %q", r.Printed())
		}
		return report
	case <-time.After(20 * time.Second):
		t.Fatal("the receiver reports nothing")
		panic("unreachable")
	}
}

// Printed returns what the product's code has printed.
func (r *Receiver) Printed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.printed)
}

// installed returns a directory with the packages of package-lock.json.
var installed = sync.OnceValues(func() (string, error) { return npm.Install("outhook-examples", files) })
