package webhook

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// mac is HMAC-SHA256 of the parts, joined.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, strings.Join(parts, ""))
	return h.Sum(nil)
}

// FuzzVerifyStandardWebhooks holds Verify against the words of the specification:
// it accepts what was signed with the key, not long ago, and nothing else. In the
// fuzzed header "$" stands for the right v1 signature and "&" for the v1a one,
// so that the fuzzer reaches what it cannot forge.
func FuzzVerifyStandardWebhooks(f *testing.F) {
	const id, stamp = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
	body := []byte(`{"test": 2432232314}`)
	f.Add(id, stamp, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", body, "", uint8(0), int64(0))
	f.Add(id, stamp, "$", body, "", uint8(0), int64(5*time.Minute))
	f.Add(id, stamp, "&", body, "", uint8(0), int64(-5*time.Minute))
	f.Add(id, stamp, "$", body, "", uint8(0), int64(5*time.Minute+1))
	f.Add(id, stamp, "$", body, "", uint8(0), int64(-5*time.Minute-1))
	f.Add(id, stamp, "v1,x v1a,y v2,$ $ &", body, "", uint8(0), int64(5*time.Minute+1))
	f.Add(id, stamp, "$,$", body, stamp, uint8(2), int64(-5*time.Minute-1))
	f.Add(id, stamp, "$", body, "$", uint8(3), int64(0))
	f.Add(id, stamp, "$", body, id, uint8(1), int64(0))
	f.Add(id+"."+stamp, stamp, "$", []byte(`1.{}`), "", uint8(0), int64(0))
	f.Add("a", "-1", "v1a, v1,= ,", []byte(nil), "", uint8(0), int64(-1614265330e9))
	f.Add("a", "-0", "$", []byte(nil), "", uint8(0), int64(-1614265330e9))
	f.Add("a", "01614265330", "$", []byte(nil), "", uint8(0), int64(0))
	f.Add("", "9223372036854775807", "v1a,"+base64.StdEncoding.EncodeToString(make([]byte, 64)), []byte("x"), "", uint8(0), int64(1)<<62)
	f.Add("a", stamp, strings.Repeat("v1,x ", 31)+"$", []byte("x"), "", uint8(0), int64(0))
	f.Add("a", stamp, strings.Repeat("v1,x ", 32)+"$", []byte("x"), "", uint8(0), int64(0))
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(testSecret, macPrefix))
	private, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(testSigningKey, signingPrefix))
	unixSeconds := regexp.MustCompile(`\A(0|-?[1-9][0-9]{0,11})\z`)
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte, second string, twice uint8, age int64) {
		content := id + "." + timestamp + "." + string(body)
		symmetric := "v1," + base64.StdEncoding.EncodeToString(mac(key, content))
		asymmetric := "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(content)))
		insert := strings.NewReplacer("$", symmetric, "&", asymmetric)
		signature = insert.Replace(signature)
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signature}}
		if names := []string{"", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"}; twice%4 > 0 {
			h.Add(names[twice%4], insert.Replace(second))
		}
		now := signedAt.Add(time.Duration(age))
		err := StandardWebhooks{}.Verify(h, body, secretsOf(testSecret, testPublicKey), now)
		if err != nil && !errors.Is(err, ErrBadSignature) {
			t.Fatalf("%v does not match ErrBadSignature", err)
		}

		signatures := strings.Split(signature, " ")
		genuine := slices.Contains(signatures, symmetric) || slices.Contains(signatures, asymmetric)
		want := genuine && len(signatures) <= 32 && twice%4 == 0 && id != "" && !strings.Contains(id, ".") &&
			unixSeconds.MatchString(timestamp) && len(timestamp) <= 12
		if want {
			seconds, _ := new(big.Int).SetString(timestamp, 10)
			nanoseconds := new(big.Int).Mul(seconds, big.NewInt(1e9))
			now := new(big.Int).Add(new(big.Int).Mul(big.NewInt(now.Unix()), big.NewInt(1e9)), big.NewInt(int64(now.Nanosecond())))
			apart := new(big.Int).Sub(now, nanoseconds)
			want = apart.CmpAbs(big.NewInt(int64(5*time.Minute))) <= 0
		}
		if (err == nil) != want {
			t.Fatalf("%q, age %v: %v, want it accepted: %t", h, time.Duration(age), err, want)
		}
	})
}

// FuzzVerifyHMAC is the same for HMAC, where "$" stands for the right digest as
// it is encoded.
func FuzzVerifyHMAC(f *testing.F) {
	f.Add("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "", []byte("Hello, World!"), false)
	f.Add("sha256=$", "", []byte(nil), true)
	f.Add("sha256=$", "", []byte(nil), false)
	f.Add("sha256=$", "sha256=$", []byte("a"), false)
	f.Add("SHA256=$", "", []byte("a"), false)
	f.Add("sha256=$\n", "", []byte("a"), true)
	f.Add("sha256=", "", []byte("a"), true)
	f.Add("sha1=00", "", []byte("a"), false)
	const value = "It's a Secret to Everybody"
	f.Fuzz(func(t *testing.T, header, second string, body []byte, inBase64 bool) {
		s := HMAC{Header: "x-signature", Prefix: "sha256="}
		sum := mac([]byte(value), string(body))
		right := hex.EncodeToString(sum)
		if inBase64 {
			s.Encoding, right = Base64, base64.StdEncoding.EncodeToString(sum)
		}
		header = strings.ReplaceAll(header, "$", right)
		h := http.Header{"X-Signature": {header}}
		if second != "" {
			h.Add("X-Signature", strings.ReplaceAll(second, "$", right))
		}
		err := s.Verify(h, Message{Body: body}, secretsOf("another", value))
		if err != nil && !errors.Is(err, ErrBadSignature) {
			t.Fatalf("%v does not match ErrBadSignature", err)
		}
		digest, prefixed := strings.CutPrefix(header, "sha256=")
		// Hexadecimal has two spellings, base64 and the prefix have one.
		want := prefixed && second == "" && (digest == right || !inBase64 && len(digest) == len(right) && strings.EqualFold(digest, right))
		if (err == nil) != want {
			t.Fatalf("%q: %v, want it accepted: %t", h, err, want)
		}
	})
}

// FuzzSignVerify: what a scheme signs with a secret that it takes, it verifies
// with that secret, with no other, for no other body and ID, and the headers
// arrive over HTTP as they were signed.
func FuzzSignVerify(f *testing.F) {
	for _, v := range []string{
		testSecret, testSigningKey, testPublicKey, "", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_AAAA", "_", "whsec_AA\nAA", bytesAfter("whsec_", 64), bytesAfter("whsec_", 65),
		"s3cret", "two words", " ", "a\r\nX: y", "é", "\x00", "\xff", "0a0B", bytesAfter("whsk_", 32), bytesAfter("whpk_", 32), strings.Replace(testSigningKey, "=", "\n=", 1),
	} {
		f.Add(v, "msg_1", int64(1614265330), []byte("{}"))
	}
	standard := func(s StandardWebhooks) func(http.Header, Message, []Secret) error {
		return func(h http.Header, m Message, secrets []Secret) error {
			return s.Verify(h, m.Body, secrets, m.Timestamp)
		}
	}
	plain := HMAC{Header: "X-Hub-Signature-256", Prefix: "sha256="}
	hexKey := HMAC{Header: "X-Hmac", Encoding: Base64, Key: hex.DecodeString, Content: func(m Message) []byte { return []byte(m.ID + "\n" + string(m.Body)) }}
	static := SecretHeader{Name: "X-Acme-Secret"}
	schemes := map[string]struct {
		Signer
		check  func(Secret) error
		verify func(http.Header, Message, []Secret) error
		signs  bool // the body
	}{
		"standard": {StandardWebhooks{}, StandardWebhooks{}.CheckSecret, standard(StandardWebhooks{}), true},
		"svix":     {Svix(), Svix().CheckSecret, standard(Svix()), true},
		"hmac":     {plain, plain.CheckSecret, plain.Verify, true},
		"hex key":  {hexKey, hexKey.CheckSecret, hexKey.Verify, true},
		"header": {static, static.CheckSecret, func(h http.Header, _ Message, secrets []Secret) error {
			return static.Verify(h, secrets)
		}, false},
	}
	f.Fuzz(func(t *testing.T, value, id string, seconds int64, body []byte) {
		secrets := secretsOf(value)
		m := Message{ID: id, Timestamp: time.Unix(seconds, 0), Body: body}
		if checkID(id) != nil || seconds < -62135596800 || seconds > 253402300799 {
			return
		}
		for name, s := range schemes {
			h := http.Header{}
			err := s.Sign(h, m, secrets)
			if checked := s.check(secrets[0]); checked != nil {
				if !errors.Is(checked, ErrInvalid) || !errors.Is(err, ErrInvalid) || len(h) > 0 {
					t.Fatalf("%s: CheckSecret: %v, Sign: %v with %q, want ErrInvalid", name, checked, err, h)
				}
				for _, err := range []error{checked, err} {
					if len(value) > 12 && strings.Contains(err.Error(), value) { // shorter ones may be words of the text
						t.Fatalf("%s: %v quotes the secret %q", name, err, value)
					}
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: Sign refuses what CheckSecret takes: %v", name, err)
			}
			if err := s.verify(sentOverHTTP(t, h), m, secrets); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := s.verify(h, m, secretsOf("whsec_"+strings.Repeat("B", 32), "0b", "another")); err == nil {
				if key, _ := hex.DecodeString(value); value != "another" && !slices.Contains([]string{"0b", "whsec_" + strings.Repeat("B", 32)}, value) && !bytes.Equal(bytes.TrimRight(key, "\x00"), []byte{0x0b}) {
					t.Fatalf("%s: what %q signed, another secret verifies", name, value)
				}
			} else if !errors.Is(err, ErrBadSignature) {
				t.Fatal(err)
			}
			if !s.signs {
				continue
			}
			other := m
			other.Body = append(slices.Clone(body), 'x')
			if err := s.verify(h, other, secrets); !errors.Is(err, ErrBadSignature) {
				t.Fatalf("%s: the signature of another body: %v", name, err)
			}
		}
	})
}

// FuzzSecret holds the secrets that StandardWebhooks takes against their
// description.
func FuzzSecret(f *testing.F) {
	for _, v := range []string{
		testSecret, testSigningKey, testPublicKey, "", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_AAAA", "_", "whsec_AA\nAA", "WHSEC_" + strings.Repeat("A", 32),
		bytesAfter("whsec_", 23), bytesAfter("whsec_", 24), bytesAfter("whsec_", 64), bytesAfter("whsec_", 65), bytesAfter("whsk_", 32), bytesAfter("whsk_", 64), bytesAfter("whpk_", 32),
		bytesAfter("", 24), bytesAfter("whsec_whsec_", 24), "whsec_" + base64.RawStdEncoding.EncodeToString(make([]byte, 25)), "whsec_" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 24)),
		"whsec_" + strings.Repeat("A", 33) + "B==", "whsec_" + strings.Repeat("A", 32) + "\r\n",
	} {
		f.Add(v)
	}
	form := regexp.MustCompile(`\A(whsec_|whsk_|whpk_)?((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)\z`)
	f.Fuzz(func(t *testing.T, value string) {
		secret := Secret{Value: value}
		var key []byte
		prefix, ok := "", false
		if parts := form.FindStringSubmatch(value); parts != nil {
			key, _ = base64.StdEncoding.DecodeString(parts[2])
			ok = base64.StdEncoding.EncodeToString(key) == parts[2] // no stray bits at the end
			prefix = parts[1]
		}
		mac := ok && (prefix == "" || prefix == "whsec_") && len(key) >= 24 && len(key) <= 64
		signing := ok && prefix == "whsk_" && (len(key) == 32 || len(key) == 64 && bytes.Equal(ed25519.NewKeyFromSeed(key[:32]), key))
		public := ok && prefix == "whpk_" && len(key) == 32
		err := StandardWebhooks{}.CheckSecret(secret)
		if (err == nil) != (mac || signing) || err != nil && (!errors.Is(err, ErrInvalid) || len(value) > 12 && strings.Contains(err.Error(), value)) {
			t.Fatalf("CheckSecret(%q): %v, want it accepted: %t", value, err, mac || signing)
		}
		if _, err := parseKey(value); (err == nil) != (mac || signing || public) {
			t.Fatalf("parseKey(%q): %v, want it accepted: %t", value, err, mac || signing || public)
		}
		encoded, err := PublicKey(secret)
		if (err == nil) != signing {
			t.Fatalf("PublicKey(%q): %v, want it: %t", value, err, signing)
		}
		if signing && encoded != "whpk_"+base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(key[:32]).Public().(ed25519.PublicKey)) {
			t.Fatalf("PublicKey(%q) = %q", value, encoded)
		}
	})
}

// FuzzHeaders: headers that an endpoint may have arrive over HTTP as they are,
// and add, hide or split nothing: not a header, not the body, not a request.
func FuzzHeaders(f *testing.F) {
	for _, h := range [][2]string{
		{"X-A", "b"}, {"x-a", "two words"}, {"X-A", ""}, {"X-A", " b"}, {"X-A", "b\r\nHost: evil"}, {"X-A", "b\n"}, {"X-A", "\x00"}, {"X-A", "é"}, {"X-A", "a\tb"},
		{"", "b"}, {"X A", "b"}, {"X-A:", "b"}, {"X-A\r\nX-B", "b"}, {"Content-Length", "0"}, {"content-length", "1"}, {"Transfer-Encoding", "chunked"}, {"Host", "evil"},
		{"Connection", "x-b"}, {"Expect", "100-continue"}, {"Webhook-Signature", "v1,x"}, {"webhook-id", "x"}, {"X-B", "again"}, {"Trailer", "X-B"}, {"Content_Length", "0"}, {"Webhook_Signature", "v1,x"},
		{"Cookie", "a=b; c"}, {"Pragma", "no-cache"}, {"Authorization", "x"}, {"Idempotency-Key", "x"}, {"\u212aeep-Alive", "1"}, {"!#$%&'*+-.^_`|~", "1"}, {":path", "/"},
	} {
		f.Add(h[0], h[1])
	}
	own := StandardWebhooks{}.SignatureHeaders()
	body := []byte(`{"type":"a"}`)
	f.Fuzz(func(t *testing.T, name, value string) {
		err := checkHeaders(map[string]string{name: value, "X-B": "b"}, own)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || len(value) > 12 && strings.Contains(err.Error(), value) && !strings.Contains(name, value) {
				t.Fatal(err)
			}
			return
		}
		want := http.Header{"X-B": {"b"}}
		want.Set(name, value)
		if _, err := sign(StandardWebhooks{}, want, Message{ID: "m", Timestamp: signedAt, Body: body}, secretsOf(testSecret)); err != nil {
			t.Fatal(err)
		}
		got := sentOverHTTP(t, want)
		if err := (StandardWebhooks{}).Verify(got, body, secretsOf(testSecret), signedAt); err != nil {
			t.Fatal(err)
		}
		// Gateways of CGI's descent (PHP, WSGI, Rack) tell "_" from "-" in no name.
		for _, other := range append(own, "Content-Length", "Transfer-Encoding", "Content-Type", "Host") {
			if cgi := strings.ReplaceAll(http.CanonicalHeaderKey(name), "_", "-"); strings.EqualFold(cgi, other) {
				t.Fatalf("%q may be taken for %s", name, other)
			}
		}
	})
}

// FuzzAuth: credentials that an endpoint may have arrive as they are, in one
// header.
func FuzzAuth(f *testing.F) {
	for _, a := range []Auth{
		{}, BasicAuth("jürgen", "pä: ss"), BasicAuth("a:b", "c"), BasicAuth("", ""), BasicAuth("a\n", "b"), BearerToken("abc"), BearerToken("a b"), BearerToken("a\r\nX: y"),
		APIKey("x-api-key", "two words"), APIKey("Host", "x"), APIKey("X\n", "x"), APIKey("Content_Length", "1"), {Scheme: "digest", Name: "a"}, {Name: "a"},
	} {
		f.Add(a.Scheme, a.Name, a.Secret.Value)
	}
	f.Fuzz(func(t *testing.T, scheme, name, value string) {
		a := Auth{Scheme: scheme, Name: name, Secret: Secret{Value: value}}
		if err := checkAuth(a); err != nil {
			if !errors.Is(err, ErrInvalid) || len(value) > 12 && strings.Contains(err.Error(), value) && !strings.Contains(scheme+name, value) {
				t.Fatal(err)
			}
			return
		}
		header, sent := a.header()
		if header == "" {
			if scheme != "" {
				t.Fatalf("%q is accepted and sends nothing", scheme)
			}
			return
		}
		h := sentOverHTTP(t, http.Header{header: {sent}})
		if user, password, ok := (&http.Request{Header: h}).BasicAuth(); scheme == authBasic && (!ok || user != name || password != value) {
			t.Fatalf("%q:%q arrived as %q:%q", name, value, user, password)
		}
		if scheme == authBearer && h.Get("Authorization") != "Bearer "+value || scheme == authAPIKey && h.Get(name) != value {
			t.Fatalf("%q arrived as %q", value, h)
		}
	})
}

// sentOverHTTP sends a request with these headers through net/http's writer and
// reader, fails unless it arrives as it was sent and is the only one, and returns
// the headers as they arrived.
func sentOverHTTP(t *testing.T, h http.Header) http.Header {
	t.Helper()
	body := []byte(`{"type":"a"}`)
	r, err := http.NewRequest(http.MethodPost, "http://receiver.example/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = h.Clone()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatalf("%q cannot be sent: %v", h, err)
	}
	sent := wire.String()
	in := bufio.NewReader(&wire)
	got, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q is sent as %q: %v", h, sent, err)
	}
	arrived, err := io.ReadAll(got.Body)
	if err != nil || !bytes.Equal(arrived, body) || got.Host != "receiver.example" || got.ContentLength != int64(len(body)) || len(got.TransferEncoding) > 0 {
		t.Fatalf("%q is sent as %q: body %q, %v", h, sent, arrived, err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Fatalf("%q is sent as %q: more than a request", h, sent)
	}
	// What net/http adds itself.
	for name, value := range map[string]string{"Content-Length": "12", "User-Agent": "Go-http-client/1.1", "Cache-Control": "no-cache"} {
		if _, ok := h[name]; !ok && got.Header.Get(name) == value {
			got.Header.Del(name)
		}
	}
	if len(got.Header) != len(h) {
		t.Fatalf("%q arrived as %q", h, got.Header)
	}
	for name, values := range h {
		if !slices.Equal(got.Header[name], values) {
			t.Fatalf("%s: %q arrived as %q", name, values, got.Header[name])
		}
	}
	return got.Header
}

// FuzzConsent: only the right answer is consent, whatever else is in it, by a second
// reading of CloudEvents' rules.
func FuzzConsent(f *testing.F) {
	const origin, challenge = "webhooks.product.example", "0123456789abcdefghijklmnopqrstuvwxyz_-ABCDE"
	for _, seed := range []struct{ origins, rates, body string }{
		{"*", "*", challenge}, {origin, "120", " " + challenge + "\r\n"}, {"WEBHOOKS.product.EXAMPLE", "", `"` + challenge + `"`}, {"", "", ""},
		{"*\n*", "1", challenge + challenge}, {origin + ", *", "1\n2", challenge[:42]}, {"**", "999999999999999999", "\x00" + challenge}, {" *", "1000000000000000000", challenge + "\x00"},
		{"*", "0", ""}, {"*", "-1", ""}, {"*", "1e3", ""}, {"*", "٣", ""}, {"*", "+1", ""}, {"*", "007", ""}, {"*", "", "\u00a0" + challenge},
	} {
		for _, code := range []int{200, 204, 299, 302, 400, 199, 0} {
			f.Add(seed.origins, seed.rates, code, seed.body, 60)
		}
	}
	digits := regexp.MustCompile(`^0*[1-9][0-9]*$`)
	f.Fuzz(func(t *testing.T, origins, rates string, code int, body string, asked int) {
		h := make(http.Header)
		for name, values := range map[string]string{"Webhook-Allowed-Origin": origins, "Webhook-Allowed-Rate": rates} {
			if values != "" {
				h[name] = strings.Split(values, "\n")
			}
		}
		answer := func() *http.Response {
			return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body))}
		}
		asked = max(asked, 0)
		rate, err := AbuseProtection{Origin: origin, Rate: asked}.Consent(answer(), challenge)
		want, agreed := 0.0, origins == "*" || strings.EqualFold(origins, origin)
		switch {
		case rates == "":
			want = float64(asked) / 60
		case rates == "*":
		case digits.MatchString(rates) && len(rates) <= 18:
			n, _ := new(big.Float).SetString(rates)
			want, _ = n.Float64()
			want /= 60
		default:
			agreed = false
		}
		if (err == nil) != agreed || agreed && rate != want || !agreed && rate != 0 {
			t.Errorf("origins %q, rates %q: %v, %v; want %v, %v", origins, rates, rate, err, want, agreed)
		}
		if err != nil && err.Error() != strings.ToValidUTF8(err.Error(), "") {
			t.Errorf("the error %q is no text", err)
		}
		rate, err = ChallengeEcho{}.Consent(answer(), challenge)
		before, after, found := strings.Cut(body, challenge)
		agreed = code/100 == 2 && found && strings.TrimSpace(before) == "" && strings.TrimSpace(after) == ""
		if (err == nil) != agreed || rate != 0 {
			t.Errorf("status %d with %q: %v, %v", code, body, rate, err)
		}
	})
}
