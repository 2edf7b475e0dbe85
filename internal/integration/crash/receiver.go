package crash

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Receiver is a program that receives requests until its standard input ends. It
// writes its URL on its standard output, and each request into the ledger, before
// it answers.
type Receiver struct {
	Ledger string // a file that is appended to
}

// Receipt is a request that was received. The ledger is made of such, in JSON, a
// line each.
type Receipt struct {
	Event      string
	Endpoint   string
	Delivery   string
	Generation int   // of the sender's process
	Started    int64 // the attempt's StartedAt, in microseconds
	Status     int   // that it was answered with
}

// answerAfter is how long the receiver takes, so that there is something in
// flight most of the time.
const answerAfter = 3 * time.Millisecond

// run is the program.
func (r *Receiver) run() error {
	ledger, err := os.OpenFile(r.Ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: &recorder{ledger: ledger, failed: make(map[[2]string]bool)}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("http://" + listener.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	<-served
	return ledger.Close()
}

// recorder is the receiver's handler.
type recorder struct {
	mu     sync.Mutex
	ledger io.Writer
	failed map[[2]string]bool // the endpoints and events for which these have failed
}

func (c *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	receipt, err := receiptOf(r)
	if err == nil {
		err = c.record(&receipt)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	select {
	case <-time.After(answerAfter):
	case <-r.Context().Done():
	}
	w.WriteHeader(receipt.Status)
}

func (c *recorder) record(receipt *Receipt) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	receipt.Status = http.StatusNoContent
	flaky := receipt.Endpoint == endpointFlaky || receipt.Endpoint == endpointOrdered
	if first := [2]string{receipt.Endpoint, receipt.Event}; flaky && failsOnce(receipt.Event) && !c.failed[first] {
		c.failed[first] = true
		receipt.Status = http.StatusInternalServerError
	}
	line, err := json.Marshal(receipt)
	if err != nil {
		return err
	}
	_, err = c.ledger.Write(append(line, '\n'))
	return err
}

// failsOnce chooses one event of sixteen: few enough that the endpoint does not
// count as broken.
func failsOnce(event string) bool {
	h := fnv.New32a()
	_, _ = io.WriteString(h, event)
	return h.Sum32()%16 == 0
}

func receiptOf(r *http.Request) (receipt Receipt, err error) {
	receipt = Receipt{
		Event: r.Header.Get("Webhook-Id"), Endpoint: strings.TrimPrefix(r.URL.Path, "/"), Delivery: r.Header.Get(headerDelivery),
	}
	if receipt.Generation, err = strconv.Atoi(r.Header.Get(headerGeneration)); err != nil {
		return receipt, err
	}
	receipt.Started, err = strconv.ParseInt(r.Header.Get(headerStarted), 10, 64)
	return receipt, err
}

// readLedger reads what a receiver has recorded, in the order of arrival.
func readLedger(name string) (receipts []Receipt, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			return receipts, lines.Err()
		}
		var r Receipt
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, err
		}
		receipts = append(receipts, r)
	}
}
