// Package nodetest lets tests ask JavaScript: what a browser makes of a URL, or
// JSON.stringify of a text, is best known from an engine that does it.
//
// It is for tests alone. Node.js runs as one process for as long as a test or a
// fuzz target does, and answers one question after the other, so that an answer
// takes some ten microseconds instead of the start of a process.
package nodetest

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Function is a function of JavaScript, in a process of its own.
type Function struct {
	mu     sync.Mutex
	in     io.Writer
	out    *bufio.Reader
	source string
}

// loop answers each line on standard input with one on standard output: "=" and
// what the function returned for the text, or "!" and the error that it threw.
// Texts travel in base64, so that no line break or lone byte gets lost.
const loop = `
	const f = eval(process.argv[1]);
	const answer = line => {
		let kind = "=", text;
		try {
			text = f(Buffer.from(line, "base64").toString("utf8"));
		} catch (e) {
			kind = "!", text = e.name + ": " + e.message;
		}
		return kind + Buffer.from(String(text), "utf8").toString("base64") + "\n";
	};
	let rest = "";
	process.stdin.setEncoding("latin1");
	process.stdin.on("data", chunk => {
		const lines = (rest + chunk).split("\n");
		rest = lines.pop();
		process.stdout.write(lines.map(answer).join(""));
	});`

// Start starts Node.js with a function from string to string, such as
// "text => JSON.stringify(JSON.parse(text))", and ends it with the test. Where
// there is no Node.js the test is skipped, unless OUTHOOK_REQUIRE is set: then it
// fails.
func Start(t testing.TB, source string) *Function {
	t.Helper()
	path, err := exec.LookPath("node")
	switch {
	case err == nil:
	case os.Getenv("OUTHOOK_REQUIRE") != "":
		t.Fatalf("OUTHOOK_REQUIRE is set: %v", err)
	default:
		t.Skip("needs Node.js: node is not on PATH")
	}
	command := exec.Command(path, "-e", loop, source)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // at the end of its input, it ends
		if err := command.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	return &Function{in: in, out: bufio.NewReader(out), source: source}
}

// Call returns what the function returns for text, or the error that it threw,
// as "name: message". Text that is not UTF-8 arrives with U+FFFD in its place.
func (f *Function) Call(t testing.TB, text string) (result string, thrown error) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := io.WriteString(f.in, base64.StdEncoding.EncodeToString([]byte(text))+"\n"); err != nil {
		t.Fatalf("ask node: %v", err)
	}
	line, err := f.out.ReadString('\n')
	if err != nil {
		t.Fatalf("node's answer: %v", err)
	}
	line = strings.TrimSuffix(line, "\n")
	answer, err := base64.StdEncoding.DecodeString(line[min(1, len(line)):])
	switch {
	case err != nil:
		t.Fatalf("node's answer %q: %v", line, err)
	case line[0] == '!':
		return "", fmt.Errorf("%s threw %s", f.source, answer)
	}
	return string(answer), nil
}
