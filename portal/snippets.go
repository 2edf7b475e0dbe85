package portal

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/outhook/webhook"
)

// scheme is how one signature of a profile is verified. It holds no secret.
type scheme struct {
	ID      string // distinguishes it on the page
	Text    string
	Notes   []string
	Headers []headerMeaning
	Samples []sample // none: only the product's documentation can say
}

type headerMeaning struct{ Name, Meaning string }

// sample is code of a whole receiver.
type sample struct{ Language, Label, Code string }

// schemes returns what a Signer does, one for each of several.
func (u *ui) schemes(s webhook.Signer) []scheme {
	var all []scheme
	for n, one := range signersOf(s) {
		scheme := u.scheme(one)
		scheme.ID = strconv.Itoa(n)
		all = append(all, scheme)
	}
	return all
}

func (u *ui) scheme(s webhook.Signer) scheme {
	switch s := s.(type) {
	case webhook.StandardWebhooks:
		return u.standard(s)
	case webhook.HMAC:
		return u.hmac(s)
	case webhook.SecretHeader:
		return u.secretHeader(s)
	}
	unknown := scheme{Text: u.T("verify.unknown")}
	for _, name := range headersOfSigner(s) {
		unknown.Headers = append(unknown.Headers, headerMeaning{name, u.T("scheme.header.own")})
	}
	return unknown
}

func (u *ui) standard(s webhook.StandardWebhooks) scheme {
	prefix := s.Prefix
	if prefix == "" {
		prefix = "webhook-"
	}
	key := "scheme.standard"
	if prefix == "svix-" {
		key = "scheme.svix"
	}
	return scheme{
		Text: u.T(key, prefix+"signature"),
		Headers: []headerMeaning{
			{prefix + "id", u.T("scheme.header.id")},
			{prefix + "timestamp", u.T("scheme.header.time")},
			{prefix + "signature", u.T("scheme.header.sig")},
		},
		Samples: samples(map[string]string{"ID": prefix + "id", "TIMESTAMP": prefix + "timestamp", "SIGNATURE": prefix + "signature"}, standardGo, standardNode, standardPython),
	}
}

func (u *ui) hmac(s webhook.HMAC) scheme {
	written, goEncode, nodeEncode, pythonEncode := u.T("scheme.hex"), "hex.EncodeToString", "hex", "mac.hexdigest()"
	goImport := "encoding/hex"
	if s.Encoding == webhook.Base64 {
		written, goEncode, nodeEncode, pythonEncode = u.T("scheme.base64"), "base64.StdEncoding.EncodeToString", "base64", "base64.b64encode(mac.digest()).decode()"
		goImport = "encoding/base64"
	}
	if s.Prefix != "" {
		written = u.T("scheme.prefix", s.Prefix, written)
	}
	one := scheme{Text: u.T("scheme.hmac", s.Header, written), Headers: []headerMeaning{{s.Header, u.T("scheme.header.one")}}}
	if s.Content != nil {
		one.Text = u.T("scheme.hmac.own", s.Header, written)
	}
	if s.Optional {
		one.Notes = append(one.Notes, u.T("scheme.optional"))
	}
	if s.Key != nil {
		one.Notes = append(one.Notes, u.T("scheme.hmac.key"))
	}
	if s.Content != nil || s.Key != nil {
		return one // whoever copied the code would find that it refuses everything
	}
	one.Samples = samples(map[string]string{"SIGNATURE": s.Header, "PREFIX": s.Prefix}, goHMAC(goImport, goEncode), nodeHMAC(nodeEncode), pythonHMAC(pythonEncode))
	return one
}

func (u *ui) secretHeader(s webhook.SecretHeader) scheme {
	one := scheme{Text: u.T("scheme.secret", s.Name), Headers: []headerMeaning{{s.Name, u.T("scheme.header.key")}}}
	if s.Optional {
		one.Notes = append(one.Notes, u.T("scheme.optional"))
	}
	one.Samples = samples(map[string]string{"SIGNATURE": s.Name}, secretGo, secretNode, secretPython)
	return one
}

// samples fills in names: «NAME» stands for a quoted string of the language. Node
// has the names of headers in lower case.
func samples(names map[string]string, goCode, node, python string) []sample {
	fill := func(code string, quote func(string) string, lower bool) string {
		for name, value := range names {
			if lower && name != "PREFIX" {
				value = strings.ToLower(value)
			}
			code = strings.ReplaceAll(code, "«"+name+"»", quote(value))
		}
		return strings.TrimPrefix(code, "\n")
	}
	return []sample{
		{"go", "Go", fill(goCode, strconv.Quote, false)},
		{"node", "Node.js", fill(node, quoteScript, true)},
		{"python", "Python", fill(python, quoteScript, false)},
	}
}

// quoteScript quotes a string for JavaScript and Python alike.
func quoteScript(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

const standardGo = `
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// verify reports whether a request is genuine.
func verify(h http.Header, body []byte) bool {
	id, timestamp := h.Get(«ID»), h.Get(«TIMESTAMP»)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil || len(key) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, got := range strings.Fields(h.Get(«SIGNATURE»)) {
		if hmac.Equal([]byte(got), []byte(want)) {
			return true
		}
	}
	return false
}
` + handlerGo

const handlerGo = `
func main() {
	http.HandleFunc("POST /webhooks", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || !verify(r.Header, body) {
			http.Error(w, "invalid signature", http.StatusUnauthorized)
			return
		}
		// Store the event or put it in a queue here, then answer.
		w.WriteHeader(http.StatusNoContent)
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
`

const standardNode = `
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// verify reports whether a request is genuine. body is a Buffer.
function verify(headers, body) {
  const id = headers[«ID»], timestamp = headers[«TIMESTAMP»];
  if (!id || !(Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300)) return false;
  const key = Buffer.from((process.env.WEBHOOK_SECRET ?? "").replace(/^whsec_/, ""), "base64");
  if (key.length === 0) return false;
  const mac = createHmac("sha256", key).update(` + "`${id}.${timestamp}.`" + `).update(body);
  const want = Buffer.from("v1," + mac.digest("base64"));
  return (headers[«SIGNATURE»] ?? "").split(" ").some((value) => {
    const got = Buffer.from(value);
    return got.length === want.length && timingSafeEqual(got, want);
  });
}
` + handlerNode

const handlerNode = `
createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const genuine = verify(request.headers, Buffer.concat(chunks));
    // Store the event or put it in a queue here, then answer.
    response.writeHead(genuine ? 204 : 401).end();
  });
}).listen(8080);
`

const standardPython = `
import base64
import hashlib
import hmac
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


def verify(headers, body: bytes) -> bool:
    """Report whether a request is genuine."""
    message_id = headers.get(«ID», "")
    timestamp = headers.get(«TIMESTAMP», "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False
    key = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
    if not key:
        return False
    content = f"{message_id}.{timestamp}.".encode() + body
    mac = hmac.new(key, content, hashlib.sha256)
    want = b"v1," + base64.b64encode(mac.digest())
    return any(
        hmac.compare_digest(got.encode(), want)
        for got in headers.get(«SIGNATURE», "").split()
    )

` + handlerPython

const handlerPython = `
class Webhooks(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        genuine = verify(self.headers, body)
        # Store the event or put it in a queue here, then answer.
        self.send_response(204 if genuine else 401)
        self.end_headers()


HTTPServer(("", 8080), Webhooks).serve_forever()
`

func goHMAC(encodingImport, encode string) string {
	return `
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"` + encodingImport + `"
	"io"
	"log"
	"net/http"
	"os"
)

// verify reports whether a request is genuine.
func verify(h http.Header, body []byte) bool {
	key := os.Getenv("WEBHOOK_SECRET")
	if key == "" {
		return false
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	want := «PREFIX» + ` + encode + `(mac.Sum(nil))
	return hmac.Equal([]byte(h.Get(«SIGNATURE»)), []byte(want))
}
` + handlerGo
}

func nodeHMAC(encoding string) string {
	return `
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// verify reports whether a request is genuine. body is a Buffer.
function verify(headers, body) {
  const key = process.env.WEBHOOK_SECRET;
  if (!key) return false;
  const mac = createHmac("sha256", key).update(body);
  const want = Buffer.from(«PREFIX» + mac.digest("` + encoding + `"));
  const got = Buffer.from(headers[«SIGNATURE»] ?? "");
  return got.length === want.length && timingSafeEqual(got, want);
}
` + handlerNode
}

func pythonHMAC(digest string) string {
	imports := "import hashlib\nimport hmac\nimport os\n"
	if strings.Contains(digest, "base64") {
		imports = "import base64\n" + imports
	}
	return "\n" + imports + `from http.server import BaseHTTPRequestHandler, HTTPServer


def verify(headers, body: bytes) -> bool:
    """Report whether a request is genuine."""
    key = os.environ["WEBHOOK_SECRET"].encode()
    if not key:
        return False
    mac = hmac.new(key, body, hashlib.sha256)
    want = «PREFIX» + ` + digest + `
    got = headers.get(«SIGNATURE», "")
    return hmac.compare_digest(got.encode(), want.encode())

` + handlerPython
}

const secretGo = `
package main

import (
	"crypto/subtle"
	"io"
	"log"
	"net/http"
	"os"
)

// verify reports whether a request is genuine.
func verify(h http.Header, _ []byte) bool {
	want, got := os.Getenv("WEBHOOK_SECRET"), h.Get(«SIGNATURE»)
	return want != "" && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}
` + handlerGo

const secretNode = `
import { timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// verify reports whether a request is genuine.
function verify(headers) {
  const want = Buffer.from(process.env.WEBHOOK_SECRET ?? "");
  const got = Buffer.from(headers[«SIGNATURE»] ?? "");
  return want.length > 0 && got.length === want.length && timingSafeEqual(got, want);
}
` + handlerNode

const secretPython = `
import hmac
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


def verify(headers, _body: bytes) -> bool:
    """Report whether a request is genuine."""
    want = os.environ["WEBHOOK_SECRET"].encode()
    got = headers.get(«SIGNATURE», "").encode()
    return bool(want) and hmac.compare_digest(got, want)

` + handlerPython
