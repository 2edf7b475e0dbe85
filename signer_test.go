package webhook

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/outhook/webhook/internal/header"
)

const (
	testSecret     = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	testSigningKey = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	testPublicKey  = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
)

var signedAt = time.Unix(1614265330, 0)

func secretsOf(values ...string) []Secret {
	secrets := make([]Secret, len(values))
	for i, v := range values {
		secrets[i].Value = v
	}
	return secrets
}

// bytesAfter returns a secret: the prefix and n bytes in base64.
func bytesAfter(prefix string, n int) string {
	return prefix + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, n))
}

func TestSecretPrintsRedacted(t *testing.T) {
	const value = "hunter2hunter2"
	expires := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	secret := Secret{Value: value, ExpiresAt: expires}
	endpoint := Endpoint{ID: "e", Secrets: []Secret{secret}, Auth: Auth{Scheme: "bearer", Secret: secret}}
	holders := map[string]any{
		"value": secret, "pointer": &secret, "slice": []Secret{secret}, "slice of pointers": []*Secret{&secret},
		"array": [1]Secret{secret}, "map": map[string]Secret{"a": secret}, "map key": map[Secret]int{secret: 1},
		"any": []any{secret}, "endpoint": endpoint, "endpoint pointer": &endpoint, "auth": BasicAuth("user", value),
		"page": Page[Endpoint]{Items: []Endpoint{endpoint}},
	}
	for name, v := range holders {
		t.Run(name, func(t *testing.T) {
			for how, text := range renderings(t, v) {
				if strings.Contains(text, "hunter2") || strings.Contains(text, hex.EncodeToString([]byte(value))) || strings.Contains(text, "2031-05") {
					t.Errorf("%s shows the secret: %s", how, text)
				}
				// Under some verbs fmt prints only the address of a pointer within.
				if !strings.Contains(text, redacted) && !strings.Contains(text, "0x") && !strings.HasPrefix(how, "%") {
					t.Errorf("%s does not say %s: %s", how, redacted, text)
				}
			}
		})
	}
}

// renderings prints v in every way that an application might.
func renderings(t *testing.T, v any) map[string]string {
	t.Helper()
	noVerb := strings.Repeat("m", 1) // not to be seen through by linters
	out := map[string]string{
		"Sprint":  fmt.Sprint(v),
		"EXTRA":   fmt.Sprintf(noVerb, v),
		"error":   fmt.Errorf("store: %v", v).Error(),
		"wrapped": fmt.Errorf("%w: %+v", ErrInvalid, v).Error(),
	}
	// %p, %T and %w do not ask a Formatter.
	for verb := range strings.SplitSeq("v +v #v s +s #s q #q x X # x d b o O c U e E f F g G t z y -40v 40v .3v 08d", " ") {
		out["%"+verb] = fmt.Sprintf("%"+verb, v)
	}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "k", v, slog.Group("g", "k", v))
	out["slog text"] = b.String()
	b.Reset()
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "k", v)
	out["slog JSON"] = b.String()
	config := zap.NewProductionEncoderConfig()
	for name, encoder := range map[string]zapcore.Encoder{"JSON": zapcore.NewJSONEncoder(config), "console": zapcore.NewConsoleEncoder(config)} {
		b.Reset()
		logger := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&b), zap.DebugLevel))
		logger.Info("m", zap.Any("k", v))
		logger.Info("m", zap.Reflect("k", v))
		logger.Sugar().Infow("m", "k", v)
		logger.Sugar().Infof("%v %+v %#v", v, v, v)
		if s, ok := v.(fmt.Stringer); ok {
			logger.Info("m", zap.Stringer("k", s))
		}
		out["zap "+name] = b.String()
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out["JSON"] = string(text)
	return out
}

func TestSecretIsExactlyRedacted(t *testing.T) {
	for name, secret := range map[string]Secret{"a value": {Value: testSecret}, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			for verb := range strings.SplitSeq("v +v #v s q x X d 20s -20s .2s", " ") {
				if got := fmt.Sprintf("%"+verb, secret); got != "[redacted]" {
					t.Errorf("%%%s prints %q", verb, got)
				}
			}
			text, err := secret.MarshalText()
			if string(text) != "[redacted]" || err != nil {
				t.Errorf("MarshalText() = %q, %v", text, err)
			}
			asJSON, err := json.Marshal(secret)
			if string(asJSON) != `"[redacted]"` || err != nil {
				t.Errorf("json.Marshal: %s, %v", asJSON, err)
			}
			asXML, err := xml.Marshal(secret)
			if !strings.Contains(string(asXML), "<Secret>[redacted]</Secret>") || err != nil {
				t.Errorf("xml.Marshal: %s, %v", asXML, err)
			}
			if got := slog.AnyValue(secret).Resolve(); got.String() != "[redacted]" {
				t.Errorf("slog: %v", got)
			}
			if got := secret.String() + secret.GoString(); got != "[redacted][redacted]" {
				t.Errorf("String, GoString: %s", got)
			}
		})
	}
}

func TestNilSecretPointerPrintsAsNil(t *testing.T) {
	v := struct {
		A *Secret
		B Secret   `json:",omitzero"`
		C []Secret `json:",omitempty"`
	}{}
	got, err := json.Marshal(v)
	if string(got) != `{"A":null}` || err != nil {
		t.Errorf("json.Marshal: %s, %v", got, err)
	}
	if got := fmt.Sprintf("%v %s", v.A, v.A); got != "<nil> <nil>" {
		t.Errorf("fmt: %s", got)
	}
}

func TestRedactedTextIsNotReadBackAsASecret(t *testing.T) {
	var s Secret
	if err := json.Unmarshal([]byte(`"[redacted]"`), &s); err == nil || s != (Secret{}) {
		t.Errorf("got a secret of %d bytes, %v", len(s.Value), err)
	}
}

func TestNewSecretsAreOfTheirFormAndDiffer(t *testing.T) {
	for _, tt := range []struct {
		make   func() Secret
		prefix string
		size   int
	}{
		{NewSecret, "whsec_", 32},
		{NewSigningKey, "whsk_", 64},
	} {
		a, b := tt.make(), tt.make()
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(a.Value, tt.prefix))
		if !strings.HasPrefix(a.Value, tt.prefix) || err != nil || len(raw) != tt.size || !a.ExpiresAt.IsZero() {
			t.Errorf("%s: %d bytes, %v", tt.prefix, len(raw), err)
		}
		if a == b {
			t.Errorf("%s: two are the same", tt.prefix)
		}
		if err := (StandardWebhooks{}).CheckSecret(a); err != nil {
			t.Errorf("%s: %v", tt.prefix, err)
		}
	}
}

func TestPublicKey(t *testing.T) {
	seed := strings.TrimPrefix(testSigningKey, "whsk_")
	raw, _ := base64.StdEncoding.DecodeString(seed)
	for _, value := range []string{testSigningKey, "whsk_" + base64.StdEncoding.EncodeToString(raw[:32])} {
		if got, err := PublicKey(Secret{Value: value}); got != testPublicKey || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, testPublicKey)
		}
	}
	for name, value := range map[string]string{"symmetric": testSecret, "public": testPublicKey, "none": "", "broken": "whsk_!"} {
		if got, err := PublicKey(Secret{Value: value}); got != "" || !errors.Is(err, ErrInvalid) {
			t.Errorf("of a %s secret: %q, %v, want ErrInvalid", name, got, err)
		}
	}
}

type vector struct {
	Name, Scheme, Header, Prefix, Encoding string
	Secret, SecretHex                      string
	Public, ID                             string
	Timestamp                              int64
	Body, Content, Signature               string
}

func vectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/signatures.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		vector
		SecretHex string `json:"secret_hex"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	vs := make([]vector, len(all))
	for i, v := range all {
		vs[i] = v.vector
		vs[i].SecretHex = v.SecretHex
	}
	return vs
}

func TestSignaturesAreThoseOfOtherImplementations(t *testing.T) {
	seen := map[string]int{}
	for _, v := range vectors(t) {
		seen[v.Scheme]++
		t.Run(v.Name, func(t *testing.T) {
			m := Message{ID: v.ID, Timestamp: time.Unix(v.Timestamp, 0), Body: []byte(v.Body)}
			h := http.Header{}
			switch v.Scheme {
			case "standard-webhooks":
				for _, s := range []StandardWebhooks{{}, {Prefix: "webhook-"}, Svix(), {Prefix: "acme-"}} {
					clear(h)
					secrets := secretsOf(v.Secret)
					if err := s.Sign(h, m, secrets); err != nil {
						t.Fatal(err)
					}
					prefix := s.Prefix
					if prefix == "" {
						prefix = "webhook-"
					}
					want := http.Header{}
					want.Set(prefix+"id", v.ID)
					want.Set(prefix+"timestamp", strconv.FormatInt(v.Timestamp, 10))
					want.Set(prefix+"signature", v.Signature)
					if !maps.EqualFunc(h, want, slices.Equal) {
						t.Errorf("signed %v, want %v", h, want)
					}
					if v.Public != "" {
						secrets = append(secrets, Secret{Value: v.Public})
					}
					for _, secret := range secrets {
						if err := s.Verify(want, m.Body, []Secret{secret}, m.Timestamp); err != nil {
							t.Errorf("prefix %q: %v", prefix, err)
						}
					}
				}
			case "hmac":
				s := HMAC{Header: v.Header, Prefix: v.Prefix}
				if v.Encoding == "base64" {
					s.Encoding = Base64
				}
				secrets := secretsOf(v.Secret)
				if v.SecretHex != "" {
					secrets, s.Key = secretsOf(v.SecretHex), hex.DecodeString
				}
				if v.Content != "" {
					s.Content = func(Message) []byte { return []byte(v.Content) }
				}
				if err := s.Sign(h, m, secrets); err != nil {
					t.Fatal(err)
				}
				if want := (http.Header{v.Header: {v.Signature}}); !maps.EqualFunc(h, want, slices.Equal) {
					t.Errorf("signed %v, want %v", h, want)
				}
				if err := s.Verify(http.Header{v.Header: {v.Signature}}, m, secrets); err != nil {
					t.Error(err)
				}
			default:
				t.Errorf("unknown scheme %q", v.Scheme)
			}
		})
	}
	if seen["standard-webhooks"] < 2 || seen["hmac"] < 3 {
		t.Errorf("vectors: %v", seen)
	}
}

func TestStandardWebhooksSignsWithEverySecret(t *testing.T) {
	other := bytesAfter("whsec_", 24)
	secrets := secretsOf(testSecret, testSigningKey, other, strings.TrimPrefix(testSecret, "whsec_"))
	m := Message{ID: "msg_1", Timestamp: signedAt.Add(999 * time.Millisecond), Body: []byte("{}")}
	h := http.Header{"Webhook-Id": {"custom"}}
	if err := (StandardWebhooks{}).Sign(h, m, secrets); err != nil {
		t.Fatal(err)
	}
	signatures := strings.Split(h.Get("webhook-signature"), " ")
	versions := make([]string, len(signatures))
	for i, s := range signatures {
		versions[i], _, _ = strings.Cut(s, ",")
		alone := h.Clone()
		alone.Set("webhook-signature", s)
		for n, secret := range secrets {
			err := StandardWebhooks{}.Verify(alone, m.Body, []Secret{secret}, m.Timestamp)
			if same := n == i || n+i == 3 && n*i == 0; same != (err == nil) {
				t.Errorf("signature %d with secret %d: %v", i, n, err)
			}
		}
	}
	if want := []string{"v1", "v1a", "v1", "v1"}; !slices.Equal(versions, want) {
		t.Errorf("versions %v, want %v", versions, want)
	}
	if h.Get("webhook-id") != "msg_1" || h.Get("webhook-timestamp") != "1614265330" {
		t.Errorf("headers %v", h)
	}
	// Appending to one of the headers must not write into the next.
	_ = append(h["Webhook-Id"], "x")
	if h.Get("webhook-timestamp") != "1614265330" {
		t.Error("the headers share their values")
	}
}

func TestStandardWebhooksRefusesToSign(t *testing.T) {
	for _, tt := range []struct {
		name    string
		id      string
		secrets []Secret
		want    string
	}{
		{"without a secret", "msg_1", nil, "needs one"},
		{"without an ID", "", secretsOf(testSecret), "message ID"},
		{"an ID with a full stop", "msg.1", secretsOf(testSecret), "message ID"},
		{"with a public key", "msg_1", secretsOf(testPublicKey), "cannot sign"},
		{"with one bad secret", "msg_1", secretsOf(testSecret, "whsec_"), "Secrets[1]"},
	} {
		h := http.Header{}
		err := StandardWebhooks{}.Sign(h, Message{ID: tt.id, Timestamp: signedAt}, tt.secrets)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) || len(h) > 0 {
			t.Errorf("%s: %v, %v, want ErrInvalid that says %q", tt.name, h, err, tt.want)
		}
	}
}

func TestStandardWebhooksVerify(t *testing.T) {
	const (
		id        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
		stamp     = "1614265330"
		body      = `{"test": 2432232314}`
		signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
		private   = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
	)
	headers := func(id, stamp, signature string) http.Header {
		return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {signature}}
	}
	without := func(name string) http.Header {
		h := headers(id, stamp, signature)
		h.Del(name)
		return h
	}
	twice := func(name, other string) http.Header {
		h := headers(id, stamp, signature)
		h.Add(name, other)
		return h
	}
	resigned := func(id, stamp string) http.Header {
		h := headers(id, stamp, "")
		h.Set("webhook-signature", string(newContent(id, stamp, []byte(body)).appendSignature(nil, mustParse(t, testSecret))))
		return h
	}
	good := headers(id, stamp, signature)
	one := secretsOf(testSecret)
	forged := "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, tt := range []struct {
		name    string
		h       http.Header
		body    string
		secrets []Secret
		age     time.Duration
		want    string // in the error; "": verified
	}{
		{"right", good, body, one, 0, ""},
		{"right after 5 minutes", good, body, one, tolerance, ""},
		{"right 5 minutes ahead", good, body, one, -tolerance, ""},
		{"right after wrong ones", headers(id, stamp, forged+" "+private+" v2,xyz garbage "+signature), body, one, 0, ""},
		{"right before a wrong one", headers(id, stamp, signature+" "+forged), body, one, 0, ""},
		{"right with spaces around", headers(id, stamp, " "+signature+"  "), body, one, 0, ""},
		{"right for the second secret", good, body, secretsOf(bytesAfter("whsec_", 32), testSecret), 0, ""},
		{"right for an unprefixed secret", good, body, secretsOf(strings.TrimPrefix(testSecret, "whsec_")), 0, ""},
		{"right, signed twice", headers(id, stamp, signature+" "+signature), body, one, 0, ""},
		{"right beside one that is asymmetric, for either", headers(id, stamp, private+" "+signature), body, secretsOf(bytesAfter("whpk_", 32), testSecret), 0, ""},
		{"right among 32", headers(id, stamp, strings.Repeat(forged+" ", maxSignatures-1)+signature), body, one, 0, ""},
		{"right for a signing key", headers(id, stamp, private), body, secretsOf(testSigningKey), 0, ""},
		{"right for a public key", headers(id, stamp, private), body, secretsOf(testPublicKey), 0, ""},
		{"right for a secret that has not expired", good, body, []Secret{{testSecret, signedAt.Add(1)}}, 0, ""},
		{"right beside an expired, malformed secret", good, body, []Secret{{"whsec_", signedAt}, {Value: testSecret}}, 0, ""},

		{"no headers", http.Header{}, body, one, 0, "Webhook-Id is missing"},
		{"no ID", without("Webhook-Id"), body, one, 0, "Webhook-Id is missing"},
		{"no timestamp", without("Webhook-Timestamp"), body, one, 0, "Webhook-Timestamp is missing"},
		{"no signature", without("Webhook-Signature"), body, one, 0, "Webhook-Signature is missing"},
		{"empty ID", headers("", stamp, signature), body, one, 0, "Webhook-Id is missing"},
		{"empty signature", headers(id, stamp, ""), body, one, 0, "Webhook-Signature is missing"},
		{"a prefix of another product", http.Header{"Svix-Id": {id}, "Svix-Timestamp": {stamp}, "Svix-Signature": {signature}}, body, one, 0, "missing"},
		{"two IDs", twice("Webhook-Id", "other"), body, one, 0, "more than once"},
		{"two timestamps", twice("Webhook-Timestamp", stamp), body, one, 0, "more than once"},
		{"two signatures headers", twice("Webhook-Signature", forged), body, one, 0, "more than once"},
		{"the same signature twice", twice("Webhook-Signature", signature), body, one, 0, "more than once"},
		{"a second, empty ID", twice("webhook-ID", ""), body, one, 0, "more than once"},
		{"IDs that a proxy joined", headers(id+", "+id, stamp, signature), body, one, 0, "does not match"},
		{"signatures that a proxy joined", headers(id, stamp, signature+", "+forged), body, one, 0, "does not match"},
		{"names as no server of HTTP spells them", http.Header{"webhook-id": {id}, "webhook-timestamp": {stamp}, "webhook-signature": {signature}}, body, one, 0, "missing"},
		{"a version in capitals", headers(id, stamp, "V1"+strings.TrimPrefix(signature, "v1")), body, one, 0, "no signature of the versions"},
		{"tabs between signatures", headers(id, stamp, forged+"\t"+signature), body, one, 0, "does not match"},

		{"stale", good, body, one, tolerance + 1, "stale"},
		{"before time began", resigned(id, "-62135596801"), body, one, 0, "stale"},
		{"after all time", resigned(id, "999999999999"), body, one, 0, "in the future"},
		{"future", good, body, one, -tolerance - 1, "in the future"},
		{"years old", good, body, one, 1e4 * 24 * time.Hour, "stale"},
		{"timestamp in milliseconds", resigned(id, stamp+"000"), body, one, 0, "not a time"},
		{"timestamp beyond all time", resigned(id, "9223372036854775807"), body, one, 0, "not a time"},
		{"timestamp beyond 64 bits", resigned(id, "18446744075323816946"), body, one, 0, "not a time"},
		{"timestamp with a sign", resigned(id, "+"+stamp), body, one, 0, "not a time"},
		{"timestamp with a zero", resigned(id, "0"+stamp), body, one, 0, "not a time"},
		{"timestamp with a fraction", resigned(id, stamp+".0"), body, one, 0, "not a time"},
		{"timestamp with a space", resigned(id, " "+stamp), body, one, 0, "not a time"},
		{"timestamp of words", resigned(id, "now"), body, one, 0, "not a time"},

		{"the signature of another body", good, body + " ", one, 0, "does not match"},
		{"the signature of another ID", headers("msg_2", stamp, signature), body, one, 0, "does not match"},
		{"the signature of another time", headers(id, "1614265331", signature), body, one, 0, "does not match"},
		{"an ID that took the timestamp in", headers(id+"."+stamp, "1614265330", signature), body, one, 0, `contains "."`},
		{"another secret", good, body, secretsOf(bytesAfter("whsec_", 24)), 0, "does not match"},
		{"another signing key", headers(id, stamp, private), body, secretsOf(bytesAfter("whsk_", 32)), 0, "does not match"},
		{"truncated", headers(id, stamp, signature[:len(signature)-4]), body, one, 0, "does not match"},
		{"truncated, asymmetric", headers(id, stamp, private[:len(private)-4]), body, secretsOf(testPublicKey), 0, "does not match"},
		{"cut to its version", headers(id, stamp, "v1,"), body, one, 0, "does not match"},
		{"lengthened", headers(id, stamp, signature+"AAAA"), body, one, 0, "does not match"},
		{"other spelling of the base64", headers(id, stamp, strings.Replace(signature, "1OE=", "1OF=", 1)), body, one, 0, "does not match"},
		{"without padding", headers(id, stamp, strings.TrimSuffix(signature, "=")), body, one, 0, "does not match"},
		{"no version", headers(id, stamp, strings.TrimPrefix(signature, "v1,")), body, one, 0, "no signature of the versions"},
		{"an unknown version only", headers(id, stamp, "v2"+strings.TrimPrefix(signature, "v1")), body, one, 0, "no signature of the versions"},
		{"a symmetric one as asymmetric", headers(id, stamp, "v1a"+strings.TrimPrefix(signature, "v1")), body, one, 0, "does not match"},
		{"an asymmetric one as symmetric", headers(id, stamp, "v1"+strings.TrimPrefix(private, "v1a")), body, secretsOf(testPublicKey), 0, "does not match"},
		{"too many", headers(id, stamp, strings.Repeat(forged+" ", maxSignatures)+signature), body, one, 0, "more than 32"},

		{"no secret", good, body, nil, 0, "no valid secret"},
		{"an expired secret", good, body, []Secret{{testSecret, signedAt}}, 0, "no valid secret"},
		{"an empty secret", good, body, []Secret{{}}, 0, "secrets[0]"},
		{"a malformed secret", good, body, secretsOf(bytesAfter("whsec_", 24), "whsec_~"), 0, "secrets[1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := StandardWebhooks{}.Verify(tt.h, []byte(tt.body), tt.secrets, signedAt.Add(tt.age))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrBadSignature) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want ErrBadSignature that says %q", err, tt.want)
			}
			if strings.HasPrefix(tt.want, "secrets") && !errors.Is(err, ErrInvalid) {
				t.Errorf("%v, want ErrInvalid too", err)
			}
		})
	}
}

func mustParse(t testing.TB, value string) standardKey {
	t.Helper()
	key, err := parseKey(value)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestStandardWebhooksCheckSecret(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	pair := ed25519.NewKeyFromSeed(seed)
	mixed := slices.Concat(seed, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))[32:])
	encode := base64.StdEncoding.EncodeToString
	for _, tt := range []struct{ name, value, want string }{
		{"24 bytes", bytesAfter("whsec_", 24), ""},
		{"64 bytes", bytesAfter("whsec_", 64), ""},
		{"no prefix", bytesAfter("", 32), ""},
		{"a seed", "whsk_" + encode(seed), ""},
		{"a pair", "whsk_" + encode(pair), ""},

		{"empty", "", "0 bytes"},
		{"the prefix alone", "whsec_", "0 bytes"},
		{"23 bytes", bytesAfter("whsec_", 23), "23 bytes, want 24 to 64"},
		{"65 bytes", bytesAfter("whsec_", 65), "65 bytes, want 24 to 64"},
		{"23 bytes without a prefix", bytesAfter("", 23), "23 bytes"},
		{"no padding", strings.TrimRight(bytesAfter("whsec_", 32), "="), "not standard base64"},
		{"URL base64", "whsec_" + strings.Repeat("-_", 22), "not standard base64"},
		{"a line break", "whsec_" + strings.Repeat("AAAA", 8) + "\n", "not standard base64"},
		{"a line break within", "whsec_" + "AA\r\nAA" + strings.Repeat("AAAA", 8), "not standard base64"},
		{"a space", " " + testSecret, "want the prefix"},
		{"bits that are dropped", "whsec_" + strings.Repeat("AAAA", 8) + "AB==", "not standard base64"},
		{"text", "correct horse battery staple, correct horse", "not standard base64"},
		{"an unknown prefix", bytesAfter("sk_", 32), "want the prefix"},
		{"a prefix in capitals", bytesAfter("WHSEC_", 32), "want the prefix"},
		{"a public key", testPublicKey, "cannot sign"},
		{"a public key of 31 bytes", bytesAfter("whpk_", 31), "31 bytes, want 32"},
		{"a seed of 31 bytes", bytesAfter("whsk_", 31), "31 bytes, want 32 or 64"},
		{"a pair of 63 bytes", bytesAfter("whsk_", 63), "63 bytes, want 32 or 64"},
		{"halves of two pairs", "whsk_" + encode(mixed), "not that of its seed"},
	} {
		err := StandardWebhooks{}.CheckSecret(Secret{Value: tt.value})
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want ErrInvalid that says %q", tt.name, err, tt.want)
		}
		if quotes(err, tt.value) {
			t.Errorf("%s: %v quotes the secret", tt.name, err)
		}
	}
}

// quotes reports whether the text of err contains a part of the secret, beyond
// its prefix.
func quotes(err error, value string) bool {
	_, rest, found := strings.Cut(value, "_")
	if !found {
		rest = value
	}
	for i := 0; i+6 <= len(rest); i++ {
		if strings.Contains(err.Error(), rest[i:i+6]) {
			return true
		}
	}
	return false
}

func TestHMACVerify(t *testing.T) {
	s := HMAC{Header: "x-signature", Prefix: "sha256="}
	inBase64 := HMAC{Header: "X-Signature", Encoding: Base64}
	m := Message{ID: "msg_1", Body: []byte("Hello, World!")}
	secrets := secretsOf("It's a Secret to Everybody")
	const sum = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	raw, _ := hex.DecodeString(sum)
	encoded := base64.StdEncoding.EncodeToString(raw)
	header := func(values ...string) http.Header { return http.Header{"X-Signature": values} }
	refuse := func(string) ([]byte, error) { return nil, errors.New("no key") }
	nothing := func(string) ([]byte, error) { return nil, nil }
	for _, tt := range []struct {
		name    string
		s       HMAC
		h       http.Header
		m       Message
		secrets []Secret
		want    string
	}{
		{"right", s, header("sha256=" + sum), m, secrets, ""},
		{"right in capitals", s, header("sha256=" + strings.ToUpper(sum)), m, secrets, ""},
		{"right, with the header's name in any case", HMAC{Header: "X-SIGNATURE", Prefix: "sha256="}, header("sha256=" + sum), m, secrets, ""},
		{"the prefix in capitals", s, header("SHA256=" + sum), m, secrets, "malformed"},
		{"two that a proxy joined", s, header("sha256=" + sum + ", sha256=" + sum), m, secrets, "malformed"},
		{"spaces around", s, header(" sha256=" + sum), m, secrets, "malformed"},
		{"base64 with a line break", inBase64, header(encoded[:8] + "\n" + encoded[8:]), m, secrets, "malformed"},
		{"base64 with stray bits", inBase64, header(strings.TrimSuffix(encoded, "hc=") + "hd="), m, secrets, "malformed"},
		{"right in base64", inBase64, header(encoded), m, secrets, ""},
		{"right for an older secret", s, header("sha256=" + sum), m, append(secretsOf("new"), secrets...), ""},
		{"right for an expired secret", s, header("sha256=" + sum), m, []Secret{{secrets[0].Value, time.Unix(1, 0)}}, ""},
		{"missing", s, http.Header{}, m, secrets, "missing"},
		{"empty", s, header(""), m, secrets, "missing"},
		{"twice", s, header("sha256="+sum, "sha256="+sum), m, secrets, "more than once"},
		{"no prefix", s, header(sum), m, secrets, "malformed"},
		{"another prefix", s, header("sha1=" + sum), m, secrets, "malformed"},
		{"the prefix alone", s, header("sha256="), m, secrets, "does not match"},
		{"not hexadecimal", s, header("sha256=" + sum[:63] + "g"), m, secrets, "malformed"},
		{"an odd number of digits", s, header("sha256=" + sum[:63]), m, secrets, "malformed"},
		{"truncated", s, header("sha256=" + sum[:62]), m, secrets, "does not match"},
		{"lengthened", s, header("sha256=" + sum + "00"), m, secrets, "does not match"},
		{"hexadecimal for base64", inBase64, header(sum), m, secrets, "does not match"},
		{"base64 without padding", inBase64, header(strings.TrimRight(encoded, "=")), m, secrets, "malformed"},
		{"another body", s, header("sha256=" + sum), Message{Body: []byte("Hello")}, secrets, "does not match"},
		{"another secret", s, header("sha256=" + sum), m, secretsOf("other"), "does not match"},
		{"no secret", s, header("sha256=" + sum), m, nil, "no secret"},
		{"no secret, optional", HMAC{Header: "X-Signature", Optional: true}, http.Header{}, m, nil, "missing"},
		{"an empty secret", s, header("sha256=" + sum), m, []Secret{{}}, "secrets[0]"},
		{"a secret that Key refuses", HMAC{Header: "X-Signature", Key: refuse}, header(sum), m, secrets, "secrets[0]"},
		{"a secret that Key makes nothing of", HMAC{Header: "X-Signature", Key: nothing}, header(sum), m, secrets, "secrets[0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.s.Verify(tt.h, tt.m, tt.secrets)
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if tt.want != "" && (!errors.Is(err, ErrBadSignature) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want ErrBadSignature that says %q", err, tt.want)
			}
			if strings.HasPrefix(tt.want, "secrets") && !errors.Is(err, ErrInvalid) {
				t.Errorf("%v, want ErrInvalid too", err)
			}
		})
	}
}

func TestSecretHeaderVerify(t *testing.T) {
	s := SecretHeader{Name: "x-acme-secret"}
	header := func(values ...string) http.Header { return http.Header{"X-Acme-Secret": values} }
	for _, tt := range []struct {
		name    string
		h       http.Header
		secrets []Secret
		want    string
	}{
		{"right", header("s3cret"), secretsOf("s3cret"), ""},
		{"right for an older one", header("s3cret"), []Secret{{Value: "new"}, {"s3cret", time.Unix(1, 0)}}, ""},
		{"missing", http.Header{}, secretsOf("s3cret"), "missing"},
		{"empty", header(""), secretsOf("s3cret"), "missing"},
		{"empty, as the secret is", header(""), []Secret{{}}, "missing"},
		{"twice", header("wrong", "s3cret"), secretsOf("s3cret"), "more than once"},
		{"wrong", header("s3creT"), secretsOf("s3cret"), "does not match"},
		{"the beginning", header("s3cre"), secretsOf("s3cret"), "does not match"},
		{"more", header("s3cret "), secretsOf("s3cret"), "does not match"},
		{"no secret", header("s3cret"), nil, "no secret"},
		{"an empty secret", header("s3cret"), []Secret{{}}, "secrets[0]"},
	} {
		err := s.Verify(tt.h, tt.secrets)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrBadSignature) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want ErrBadSignature that says %q", tt.name, err, tt.want)
		}
	}
}

func TestSchemesOfOneValueUseTheNewestSecret(t *testing.T) {
	secrets := secretsOf("new", "old")
	h := http.Header{}
	if err := (SecretHeader{Name: "x-a"}).Sign(h, Message{}, secrets); err != nil || h.Get("X-A") != "new" {
		t.Errorf("%v, %v", h, err)
	}
	s := HMAC{Header: "x-b"}
	if err := s.Sign(h, Message{}, secrets); err != nil || s.Verify(h, Message{}, secrets[:1]) != nil || s.Verify(h, Message{}, secrets[1:]) == nil {
		t.Errorf("%v, %v", h, err)
	}
}

func TestSchemesWithoutASecret(t *testing.T) {
	for _, tt := range []struct {
		signer Signer
		needs  bool
	}{
		{StandardWebhooks{}, true},
		{HMAC{Header: "A"}, true},
		{SecretHeader{Name: "A"}, true},
		{HMAC{Header: "A", Optional: true}, false},
		{SecretHeader{Name: "A", Optional: true}, false},
		{Signers{HMAC{Header: "A", Optional: true}}, false},
		{Signers{HMAC{Header: "A", Optional: true}, SecretHeader{Name: "B"}}, true},
		{Signers{plainSigner{}}, false},
		{plainSigner{}, false},
	} {
		h := http.Header{}
		err := tt.signer.Sign(h, Message{ID: "msg_1"}, nil)
		if tt.needs != errors.Is(err, ErrInvalid) || tt.needs != (err != nil) || len(h) > 0 {
			t.Errorf("%#v: Sign: %v, %v", tt.signer, h, err)
		}
		secret := generateSecret(tt.signer)
		if tt.needs != (secret.Value != "") {
			t.Errorf("%#v: generated a secret of %d bytes", tt.signer, len(secret.Value))
		}
		if err := checkSecrets(tt.signer, nil); tt.needs != errors.Is(err, ErrInvalid) || tt.needs != (err != nil) {
			t.Errorf("%#v: checkSecrets: %v", tt.signer, err)
		}
	}
}

// plainSigner has no optional method and sets nothing.
type plainSigner struct{}

func (plainSigner) Sign(http.Header, Message, []Secret) error { return nil }

func TestGeneratedSecretsSuitTheirScheme(t *testing.T) {
	hexKey := HMAC{Header: "A", Key: hex.DecodeString}
	base64Key := HMAC{Header: "B", Key: base64.StdEncoding.DecodeString}
	ownPrefix := HMAC{Header: "C", Key: func(v string) ([]byte, error) {
		v, ok := strings.CutPrefix(v, "whsec_")
		if !ok {
			return nil, errors.New("no prefix")
		}
		return base64.StdEncoding.DecodeString(v)
	}}
	for name, s := range map[string]Signer{
		"standard": StandardWebhooks{}, "header": SecretHeader{Name: "A"}, "hmac": HMAC{Header: "A"},
		"hex": hexKey, "base64": base64Key, "whsec": ownPrefix,
		"all of base64":       Signers{StandardWebhooks{}, SecretHeader{Name: "D"}, base64Key},
		"optional comes last": Signers{plainSigner{}, HMAC{Header: "A", Optional: true}, StandardWebhooks{}, ownPrefix},
		"two forms":           Signers{SecretHeader{Name: "D"}, hexKey},
	} {
		secret := generateSecret(s)
		if err := checkSecrets(s, []Secret{secret}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		h := http.Header{}
		if err := s.Sign(h, Message{ID: "msg_1", Timestamp: signedAt}, []Secret{secret}); err != nil || len(h) == 0 {
			t.Errorf("%s: %v, %v", name, h, err)
		}
		if again := generateSecret(s); again == secret {
			t.Errorf("%s: the same secret twice", name)
		}
	}
}

func TestSchemesThatShareNoFormOfSecretAreRefused(t *testing.T) {
	uuidOnly := func(v string) ([]byte, error) {
		if len(v) != 36 {
			return nil, errors.New("no UUID")
		}
		return []byte(v), nil
	}
	for name, s := range map[string]Signer{
		"a form of its own": HMAC{Header: "A", Key: uuidOnly},
		"standard and hex":  Signers{StandardWebhooks{}, HMAC{Header: "A", Key: uuidOnly}},
	} {
		secret := generateSecret(s)
		if err := checkSecrets(s, []Secret{secret}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
		if err := checkSecrets(s, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s without a secret: %v, want ErrInvalid", name, err)
		}
	}
}

func TestSignerValidate(t *testing.T) {
	for _, tt := range []struct {
		signer interface{ validate() error }
		want   string
	}{
		{StandardWebhooks{}, ""},
		{Svix(), ""},
		{StandardWebhooks{Prefix: "acme webhook-"}, "not a header name"},
		{HMAC{Header: "X-A", Prefix: "sha256=", Encoding: Base64}, ""},
		{HMAC{}, "not a header name"},
		{HMAC{Header: "content-length"}, "Content-Length is reserved"},
		{HMAC{Header: "X-A", Encoding: 2}, "Encoding"},
		{HMAC{Header: "X-A", Prefix: "a\r\n"}, "Prefix"},
		{SecretHeader{Name: "X-A"}, ""},
		{SecretHeader{Name: "Idempotency-Key"}, "reserved"},
		{SecretHeader{Name: "X:A"}, "not a header name"},
		{Signers{StandardWebhooks{}, plainSigner{}, &HMAC{Header: "X-A"}}, ""},
		{Signers{}, "empty"},
		{Signers{StandardWebhooks{}, nil}, "Signers[1]"},
		{Signers{StandardWebhooks{}, HMAC{}}, "Signers[1]"},
		{Signers{HMAC{Header: "X-A"}, SecretHeader{Name: "x-a"}}, "X-A"},
	} {
		err := tt.signer.validate()
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want ErrInvalid that says %q", tt.signer, err, tt.want)
		}
	}
}

func TestCapabilitiesOfSigners(t *testing.T) {
	all := Signers{StandardWebhooks{}, HMAC{Header: "x-a"}, SecretHeader{Name: "x-b"}, plainSigner{}, named{"x-c"}}
	if got, want := signatureHeaders(all), []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-A", "X-B", "X-C"}; !slices.Equal(got, want) {
		t.Errorf("headers %v, want %v", got, want)
	}
	if got := signatureHeaders(StandardWebhooks{Prefix: "acme-"}); !slices.Equal(got, []string{"Acme-Id", "Acme-Timestamp", "Acme-Signature"}) {
		t.Errorf("headers %v", got)
	}
	own := named{"x-c"}
	if signatureHeaders(own)[0] = "changed"; own[0] != "x-c" || signatureHeaders(plainSigner{}) != nil {
		t.Error("the slice is the signer's own")
	}
	for _, tt := range []struct {
		signer Signer
		want   bool
	}{
		{StandardWebhooks{}, false}, {HMAC{}, true}, {SecretHeader{}, true}, {plainSigner{}, false},
		{Signers{StandardWebhooks{}, plainSigner{}}, false}, {all, true}, {&HMAC{}, true},
	} {
		if got := singleSecret(tt.signer); got != tt.want {
			t.Errorf("singleSecret(%+v) = %v", tt.signer, got)
		}
	}
}

// named says which headers it sets, and sets none.
type named []string

func (named) Sign(http.Header, Message, []Secret) error { return nil }
func (n named) SignatureHeaders() []string              { return n }

func TestCheckSecrets(t *testing.T) {
	later := signedAt.Add(time.Hour)
	good := Secret{Value: testSecret}
	for _, tt := range []struct {
		name    string
		signer  Signer
		secrets []Secret
		want    error
		says    string
	}{
		{"one", StandardWebhooks{}, []Secret{good}, nil, ""},
		{"a newest and an expiring one", StandardWebhooks{}, []Secret{good, {testSigningKey, later}}, nil, ""},
		{"two without an end", StandardWebhooks{}, []Secret{good, good}, nil, ""},
		{"ten", StandardWebhooks{}, slices.Repeat([]Secret{good}, 10), nil, ""},
		{"eleven", StandardWebhooks{}, slices.Repeat([]Secret{good}, 11), ErrInvalid, "at most 10"},
		{"a newest that expires", StandardWebhooks{}, []Secret{{testSecret, later}}, ErrInvalid, "Secrets[0]"},
		{"a bad older one", StandardWebhooks{}, []Secret{good, {Value: bytesAfter("whsec_", 10)}}, ErrInvalid, "Secrets[1]"},
		{"two for a header", SecretHeader{Name: "A"}, []Secret{good, good}, ErrNotSupported, "one secret only"},
		{"two for an HMAC", HMAC{Header: "A"}, []Secret{good, {testSecret, later}}, ErrNotSupported, "one secret only"},
		{"two for signers with one", Signers{StandardWebhooks{}, HMAC{Header: "A"}}, []Secret{good, good}, ErrNotSupported, "one secret only"},
		{"a line break in a header", SecretHeader{Name: "A"}, secretsOf("abcdefg\r\nX-B: 1"), ErrInvalid, "Secrets[0]"},
		{"a NUL in a header", SecretHeader{Name: "A"}, secretsOf("abcdefg\x00"), ErrInvalid, "Secrets[0]"},
		{"a tab in a header", SecretHeader{Name: "A"}, secretsOf("abc\tdefg"), ErrInvalid, "Secrets[0]"},
		{"an umlaut in a header", SecretHeader{Name: "A"}, secretsOf("abcdefgü"), ErrInvalid, "Secrets[0]"},
		{"a space before a header", SecretHeader{Name: "A"}, secretsOf(" abcdefg"), ErrInvalid, "Secrets[0]"},
		{"a space after a header", SecretHeader{Name: "A"}, secretsOf("abcdefg "), ErrInvalid, "Secrets[0]"},
		{"a space within a header", SecretHeader{Name: "A"}, secretsOf("abc defg"), nil, ""},
		{"anything for an HMAC", HMAC{Header: "A"}, secretsOf("\x00\r\n ü"), nil, ""},
		{"no hexadecimal for an HMAC of such", HMAC{Header: "A", Key: hex.DecodeString}, secretsOf("nothexatall"), ErrInvalid, "Secrets[0]"},
		{"one of two schemes refuses", Signers{HMAC{Header: "A"}, StandardWebhooks{}}, secretsOf("sesame-open"), ErrInvalid, "Secrets[0]"},
		{"empty", HMAC{Header: "A"}, []Secret{{}}, ErrInvalid, "Secrets[0]"},
		{"empty for a plain signer", plainSigner{}, []Secret{{}}, ErrInvalid, "Secrets[0]"},
		{"any for a plain signer", plainSigner{}, secretsOf("abcdefg"), nil, ""},
		{"too long", plainSigner{}, secretsOf(strings.Repeat("abcdefg", 1200)), ErrInvalid, "8400 bytes"},
		{"refused by an error of the signer's own", checker(func(Secret) error { return errors.New("too weak") }), secretsOf("abcdefg"), ErrInvalid, "Secrets[0]: invalid secret: too weak"},
		{"refused by an error that quotes", checker(func(s Secret) error { return fmt.Errorf("bad %q", s.Value) }), secretsOf("abcdefg"), ErrInvalid, "withheld"},
		{"refused by a panic that quotes", checker(func(s Secret) error { panic(s.Value) }), secretsOf("abcdefg"), ErrInvalid, "panicked: string"},
		{"accepted by a signer", checker(func(Secret) error { return nil }), secretsOf("abcdefg"), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkSecrets(tt.signer, tt.secrets)
			if !errors.Is(err, tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want it to say %q", err, tt.says)
			}
			for _, s := range tt.secrets {
				if err != nil && s.Value != "" && quotes(err, s.Value) {
					t.Errorf("%v quotes the secret", err)
				}
			}
		})
	}
}

// checker has a CheckSecret of its own.
type checker func(Secret) error

func (checker) Sign(http.Header, Message, []Secret) error { return nil }
func (c checker) CheckSecret(s Secret) error              { return c(s) }

func TestSecretsAreValidUntilTheyExpire(t *testing.T) {
	at := signedAt
	never, ended, ends := Secret{Value: "a"}, Secret{"b", at}, Secret{"c", at.Add(1)}
	for _, tt := range []struct{ in, want []Secret }{
		{nil, nil},
		{[]Secret{never, ends}, []Secret{never, ends}},
		{[]Secret{never, ended, ends}, []Secret{never, ends}},
		{[]Secret{ended}, nil},
	} {
		in := slices.Clone(tt.in)
		if got := validSecrets(in, at); !slices.Equal(got, tt.want) || !slices.Equal(in, tt.in) {
			t.Errorf("%d of %d are valid, want %d", len(got), len(tt.in), len(tt.want))
		}
	}
	all := []Secret{never, ends}
	if n := testing.AllocsPerRun(100, func() { validSecrets(all, at) }); n > 0 {
		t.Errorf("%v allocations where all are valid", n)
	}
}

// custom is a Signer that this package does not know.
type custom func(h http.Header, m Message, secrets []Secret) error

func (c custom) Sign(h http.Header, m Message, secrets []Secret) error { return c(h, m, secrets) }

// embedding writes more than the scheme that it embeds.
type embedding struct{ HMAC }

func (e embedding) Sign(h http.Header, m Message, secrets []Secret) error {
	h.Set("X-Leak", secrets[0].Value)
	return e.HMAC.Sign(h, m, secrets)
}

func TestSignRecordsNoSecret(t *testing.T) {
	secrets := secretsOf(testSecret)
	setting := func(name string) custom {
		return func(h http.Header, _ Message, secrets []Secret) error {
			h.Set(name, secrets[0].Value)
			return nil
		}
	}
	digest := HMAC{Header: "X-Digest"}
	for _, tt := range []struct {
		name     string
		signer   Signer
		redacted []string // nil: what is sent is what is recorded
	}{
		{"standard", StandardWebhooks{}, nil},
		{"standard by pointer", &StandardWebhooks{}, nil},
		{"hmac", digest, nil},
		{"hmac by pointer", &digest, nil},
		{"both", Signers{StandardWebhooks{}, digest, Signers{HMAC{Header: "X-Other"}}}, nil},
		{"optional header that is not sent", SecretHeader{Name: "X-Absent", Optional: true}, nil},
		{"secret header", SecretHeader{Name: "x-acme-secret"}, []string{"X-Acme-Secret"}},
		{"secret header by pointer", &SecretHeader{Name: "x-acme-secret"}, []string{"X-Acme-Secret"}},
		{"secret header that is there already", SecretHeader{Name: "X-Known"}, []string{"X-Known"}},
		{"secret header among others", Signers{digest, SecretHeader{Name: "X-Acme-Secret"}, StandardWebhooks{}}, []string{"X-Acme-Secret"}},
		{"unknown signer", setting("X-Own"), []string{"X-Own"}},
		{"unknown signer that changes a header", setting("User-Agent"), []string{"User-Agent"}},
		{"unknown signer that changes a value in place", custom(func(h http.Header, _ Message, s []Secret) error {
			h["User-Agent"][0] = s[0].Value
			return nil
		}), []string{"User-Agent"}},
		{"unknown signer with a name that is not canonical", custom(func(h http.Header, _ Message, s []Secret) error {
			h["x-own"] = []string{s[0].Value}
			return nil
		}), []string{"x-own"}},
		{"unknown signer that embeds a known one", embedding{digest}, []string{"X-Digest", "X-Leak"}},
		{"unknown signer among others", Signers{digest, setting("X-Own")}, []string{"X-Own"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"User-Agent": {"Outhook/1"}, "X-Known": {testSecret}}
			with := secrets
			if s, ok := tt.signer.(SecretHeader); ok && s.Optional {
				with = nil
				delete(h, "X-Known")
			}
			recorded, err := sign(tt.signer, h, Message{ID: "msg_1", Timestamp: signedAt, Body: []byte("{}")}, with)
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range h {
				want := values
				if slices.Contains(tt.redacted, name) {
					if values[0] == redacted {
						t.Errorf("%s is sent redacted", name)
					}
					want = []string{redacted}
				}
				if !slices.Equal(recorded[name], want) {
					t.Errorf("%s is recorded as %q, want %q", name, recorded[name], want)
				}
			}
			for _, name := range tt.redacted {
				if h[name] == nil {
					t.Errorf("%s is not sent", name)
				}
			}
			if len(recorded) != len(h) {
				t.Errorf("recorded %v of %v", recorded, h)
			}
			delete(recorded, "User-Agent")
			if copied := h["User-Agent"] != nil; copied != (tt.redacted != nil) {
				t.Errorf("recorded is a copy: %v", copied)
			}
		})
	}
}

func TestSignReturnsErrorsWithoutSecrets(t *testing.T) {
	const value = "hunter2hunter2"
	broken := errors.New("broken")
	fails := func(err error) custom { return func(http.Header, Message, []Secret) error { return err } }
	panics := func(v any) custom { return func(http.Header, Message, []Secret) error { panic(v) } }
	for _, tt := range []struct {
		name   string
		signer Signer
		want   string
		is     error
	}{
		{"an error", fails(broken), "broken", broken},
		{"an error of one of several", Signers{plainSigner{}, fails(broken)}, "broken", broken},
		{"an error of a known scheme", StandardWebhooks{}, "message ID", ErrInvalid},
		{"a secret header that would split", SecretHeader{Name: "X-A"}, "", nil},
		{"an error that quotes the secret", fails(fmt.Errorf("bad key %s", value)), "withheld", nil},
		{"a panic", panics("with " + value), "signer panicked: string", nil},
		{"a panic with an error", panics(fmt.Errorf("with %s", value)), "signer panicked: *", nil},
		{"a panic of Content", HMAC{Header: "X-A", Content: func(Message) []byte { panic(value) }}, "signer panicked: string", nil},
		{"a panic of Key", HMAC{Header: "X-A", Key: func(v string) ([]byte, error) { panic(v) }}, "signer panicked: string", nil},
		{"a nil pointer", (*HMAC)(nil), "signer panicked", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			recorded, err := sign(tt.signer, http.Header{}, Message{}, secretsOf(value))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || recorded != nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, %v, want an error that says %q", recorded, err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v shows the secret", err)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v does not match %v", err, tt.is)
			}
		})
	}
}

func TestHMACRefusesToSignWithoutAKey(t *testing.T) {
	h := http.Header{}
	for _, value := range []string{"", "nothexatall"} {
		err := HMAC{Header: "X-A", Key: hex.DecodeString}.Sign(h, Message{}, secretsOf(value))
		if !errors.Is(err, ErrInvalid) || len(h) > 0 {
			t.Errorf("with %q: %v, %v, want ErrInvalid", value, h, err)
		}
	}
}

func TestSecretHeaderNeverSplitsTheHeader(t *testing.T) {
	h := http.Header{}
	err := SecretHeader{Name: "X-A"}.Sign(h, Message{}, secretsOf("a\r\nHost: b"))
	if !errors.Is(err, ErrInvalid) || len(h) > 0 {
		t.Errorf("%v, %v, want ErrInvalid", h, err)
	}
}

func TestCheckHeaders(t *testing.T) {
	many := map[string]string{}
	for i := range 50 {
		many["X-"+strconv.Itoa(i)] = "v"
	}
	tooMany := maps.Clone(many)
	tooMany["X-More"] = "v"
	own := []string{"Webhook-Id", "x-api-key"}
	for _, tt := range []struct {
		name    string
		headers map[string]string
		want    string
	}{
		{"none", nil, ""},
		{"ordinary ones", map[string]string{"X-Env": "prod", "Authorization": "Bearer a", "Accept": "*/*", "x!#$%&'*+-.^_`|~9": "a\tb  c"}, ""},
		{"an empty value", map[string]string{"X-Env": ""}, ""},
		{"fifty", many, ""},
		{"fifty-one", tooMany, "51"},
		{"8 KiB", map[string]string{"X-A": strings.Repeat("a", header.MaxBytes-3)}, ""},
		{"more than 8 KiB", map[string]string{"X-A": strings.Repeat("a", header.MaxBytes-6), "X-B": "a"}, "8193 bytes"},
		{"an empty name", map[string]string{"": "v"}, `""`},
		{"a space in a name", map[string]string{"X A": "v"}, `"X A"`},
		{"a colon in a name", map[string]string{"X:": "v"}, `"X:"`},
		{"a pseudo-header", map[string]string{":path": "/"}, `":path"`},
		{"a line break in a name", map[string]string{"X\r\nHost": "v"}, `"X\r\nHost"`},
		{"an umlaut in a name", map[string]string{"Ä": "v"}, `"Ä"`},
		{"a line break in a value", map[string]string{"X-A": "hunter2\r\nHost: b"}, "X-A"},
		{"a line feed in a value", map[string]string{"X-A": "hunter2\nb"}, "X-A"},
		{"a NUL in a value", map[string]string{"X-A": "hunter2\x00"}, "X-A"},
		{"a DEL in a value", map[string]string{"X-A": "hunter2\x7f"}, "X-A"},
		{"invalid UTF-8 in a value", map[string]string{"X-A": "hunter2\xff"}, "X-A"},
		{"a space before a value", map[string]string{"X-A": " hunter2"}, "X-A"},
		{"a tab after a value", map[string]string{"X-A": "hunter2\t"}, "X-A"},
		{"the signature's", map[string]string{"webhook-ID": "v"}, "Webhook-Id"},
		{"Auth's", map[string]string{"X-API-KEY": "v"}, "X-Api-Key"},
		{"the signature's, as CGI reads it", map[string]string{"Webhook_Id": "v"}, "Webhook_id"},
		{"the length, as CGI reads it", map[string]string{"CONTENT_LENGTH": "0"}, "Content-Length is reserved"},
		{"one as CGI reads it twice", map[string]string{"X-Env": "a", "X_Env": "b"}, "X_env is there twice"},
		{"one in two spellings", map[string]string{"X-Env": "a", "x-env": "b"}, "X-Env is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkHeaders(tt.headers, own)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("%v, want ErrInvalid that says %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v shows a value", err)
			}
		})
	}
}

func TestReservedHeaders(t *testing.T) {
	for name := range strings.FieldsSeq(`Host Content-Length Transfer-Encoding Connection Keep-Alive Proxy-Authenticate
		Proxy-Authorization Proxy-Connection TE Trailer Upgrade HTTP2-Settings Expect Content-Encoding Accept-Encoding
		Content-Type User-Agent Date Idempotency-Key X-Idempotency-Key`) {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if err := checkHeaders(map[string]string{spelling: "v"}, nil); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "reserved") {
				t.Errorf("%s: %v, want ErrInvalid", spelling, err)
			}
			if err := checkAuth(APIKey(spelling, "key")); !errors.Is(err, ErrInvalid) {
				t.Errorf("APIKey(%s): %v, want ErrInvalid", spelling, err)
			}
		}
		if !header.Reserved(http.CanonicalHeaderKey(name)) {
			t.Errorf("%s is not reserved", name)
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Accept", "Cookie", ""} {
		if header.Reserved(name) {
			t.Errorf("%q is reserved", name)
		}
	}
}

func TestCheckAuth(t *testing.T) {
	const value = "hunter2hunter2"
	for _, tt := range []struct {
		name string
		auth Auth
		want string
	}{
		{"none", Auth{}, ""},
		{"basic", BasicAuth("jürgen", "pä: ss"), ""},
		{"basic without a password", BasicAuth("sk_live_1", ""), ""},
		{"basic without a user", BasicAuth("", value), ""},
		{"bearer", BearerToken("abc.DEF-_~+/=="), ""},
		{"API key", APIKey("x-api-key", "two words"), ""},
		{"API key as authorization", APIKey("Authorization", "Key 1"), ""},
		{"basic without either", BasicAuth("", ""), "neither"},
		{"basic with a colon", BasicAuth("a:b", value), "colon"},
		{"basic with a line break in the user", BasicAuth("a\n", value), "control"},
		{"basic with a NUL in the password", BasicAuth("a", value+"\x00"), "control"},
		{"basic that is not UTF-8", BasicAuth("a\xff", value), "UTF-8"},
		{"bearer without a token", BearerToken(""), "token"},
		{"bearer with a space", BearerToken(value + " b"), "token"},
		{"bearer with a tab", BearerToken(value + "\tb"), "token"},
		{"bearer with a line break", BearerToken(value + "\r\nHost: b"), "token"},
		{"bearer with a name", Auth{Scheme: "bearer", Name: "n", Secret: Secret{Value: value}}, "name"},
		{"API key without a header", APIKey("", value), "header name"},
		{"API key in no header", APIKey("X Api", value), "header name"},
		{"API key without a key", APIKey("X-Api-Key", ""), "key"},
		{"API key with a line break", APIKey("X-Api-Key", value+"\n"), "key"},
		{"an unknown scheme", Auth{Scheme: "digest", Secret: Secret{Value: value}}, `"digest"`},
		{"a secret without a scheme", Auth{Secret: Secret{Value: value}}, "no scheme"},
		{"a name without a scheme", Auth{Name: "n"}, "no scheme"},
		{"a secret that expires", Auth{Scheme: "bearer", Secret: Secret{value, signedAt}}, "expire"},
		{"too long", BearerToken(strings.Repeat("a", 8193)), "8192 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkAuth(tt.auth)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("%v, want ErrInvalid that says %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v shows the secret", err)
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	m := Message{ID: "msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp: signedAt, Body: bytes.Repeat([]byte("a"), 1024)}
	for name, tt := range map[string]struct {
		signer  Signer
		secrets []Secret
	}{
		"v1":        {StandardWebhooks{}, secretsOf(testSecret)},
		"v1 twice":  {StandardWebhooks{}, secretsOf(testSecret, testSecret)},
		"v1a":       {StandardWebhooks{}, secretsOf(testSigningKey)},
		"hmac":      {HMAC{Header: "X-Signature", Prefix: "sha256="}, secretsOf(testSecret)},
		"header":    {SecretHeader{Name: "X-Acme-Secret"}, secretsOf(testSecret)},
		"two hmacs": {Signers{HMAC{Header: "X-A"}, HMAC{Header: "X-B"}}, secretsOf(testSecret)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			h := make(http.Header, 8)
			for b.Loop() {
				if _, err := sign(tt.signer, h, m, tt.secrets); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
