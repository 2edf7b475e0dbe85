package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// ring returns the keys "1", "2" …, of which the last one is current.
func ring(t testing.TB, ids ...string) *Ring {
	t.Helper()
	keys := make(map[string][]byte)
	for _, id := range ids {
		keys[id] = key(id[0])
	}
	r, err := NewRing(ids[len(ids)-1], keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatWasSealedOpens(t *testing.T) {
	r := ring(t, "1")
	for _, plain := range []string{"", "x", `{"url":"https://example.com"}`, strings.Repeat("long ", 20_000)} {
		sealed, err := Seal(t.Context(), r, []byte(plain), "endpoint", "tenant")
		if err != nil {
			t.Fatal(err)
		}
		again, err := Seal(t.Context(), r, []byte(plain), "endpoint", "tenant")
		if err != nil || bytes.Equal(sealed, again) {
			t.Errorf("sealed twice it is the same, or %v", err)
		}
		if !Is(sealed) || json.Valid(sealed) {
			t.Errorf("%q… is not recognised", sealed[:8])
		}
		if plain != "" && len(plain) > 1 && bytes.Contains(sealed, []byte(plain)) {
			t.Error("it is in clear")
		}
		if id, err := KeyID(sealed); id != "1" || err != nil {
			t.Errorf("KeyID is %q, %v", id, err)
		}
		if got, err := Open(t.Context(), r, sealed, "endpoint", "tenant"); err != nil || string(got) != plain {
			t.Errorf("opened it is %.20q, %v", got, err)
		}
	}
}

// golden is "plain" of "owner", sealed under the key "1" by the first version.
const golden = "007365616c010131003c555e3302c349be7cfa648dbf2178daed2d33f98f8804086d1507fa444a7db4efe9b865a32c27e2ae28e3156084d2f299b1f6" +
	"3128c4cfcb0c4e7939b64027b6dfb1c324062e29ef7a91caf2b36b5b531e2fb28adc152b214282a569c94d"

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The layout is a promise to databases: what one version sealed opens in all.
func TestTheFormatStaysAsItIs(t *testing.T) {
	r, sealed := ring(t, "1"), unhex(t, golden)
	if got, err := Open(t.Context(), r, sealed, "owner"); string(got) != "plain" || err != nil {
		t.Errorf("it opens as %q, %v", got, err)
	}
	const head = "\x00seal\x01" + "\x011" + "\x00\x3c"
	if len(sealed) != len(head)+60+12+len("plain")+16 || string(sealed[:len(head)]) != head {
		t.Errorf("it begins with %q and has %d bytes", sealed[:len(head)], len(sealed))
	}
	sealed[len(magic)]++
	if _, err := Open(t.Context(), r, sealed, "owner"); !errors.Is(err, ErrFormat) {
		t.Errorf("a value of the next version: %v", err)
	}
}

func TestItOpensForItsOwnerAlone(t *testing.T) {
	r := ring(t, "1")
	sealed, err := Seal(t.Context(), r, []byte("plain"), "ab", "c")
	if err != nil {
		t.Fatal(err)
	}
	for _, owner := range [][]string{{}, {"ab"}, {"abc"}, {"a", "bc"}, {"ab", "d"}, {"AB", "c"}, {"ab", "c", ""}, {"c", "ab"}} {
		if got, err := Open(t.Context(), r, sealed, owner...); !errors.Is(err, ErrMismatch) || got != nil {
			t.Errorf("for %q it opens as %q, %v", owner, got, err)
		}
	}
}

func TestAnyChangedByteIsNoticed(t *testing.T) {
	r := ring(t, "1", "2")
	sealed, err := Seal(t.Context(), r, []byte("plain"), "owner")
	if err != nil {
		t.Fatal(err)
	}
	for n := range sealed {
		changed := slices.Clone(sealed)
		changed[n] ^= 1
		if got, err := Open(t.Context(), r, changed, "owner"); err == nil || got != nil {
			t.Errorf("with byte %d changed it opens as %q", n, got)
		}
		if got, err := Open(t.Context(), r, sealed[:n], "owner"); err == nil || got != nil {
			t.Errorf("cut to %d bytes it opens as %q", n, got)
		}
	}
	if _, err := Open(t.Context(), r, append(sealed, 0), "owner"); !errors.Is(err, ErrMismatch) {
		t.Errorf("with a byte more: %v", err)
	}
}

func TestOlderKeysOpen(t *testing.T) {
	sealed, err := Seal(t.Context(), ring(t, "1"), []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(t.Context(), ring(t, "1", "2"), sealed); string(got) != "plain" || err != nil {
		t.Errorf("with an older key: %q, %v", got, err)
	}
	if _, err := Open(t.Context(), ring(t, "2"), sealed); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), `"1"`) {
		t.Errorf("without the key: %v", err)
	}
	other, err := NewRing("1", map[string][]byte{"1": key('x')})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), other, sealed); !errors.Is(err, ErrMismatch) {
		t.Errorf("with another key of that ID: %v", err)
	}
}

// service is a key service that does as it is told.
type service struct {
	current string
	wrap    func([]byte) ([]byte, error)
	unwrap  func([]byte) ([]byte, error)
}

func (s service) Current() string { return s.current }
func (s service) Wrap(_ context.Context, _ string, b []byte) ([]byte, error) {
	return s.wrap(b)
}
func (s service) Unwrap(_ context.Context, _ string, b []byte) ([]byte, error) { return s.unwrap(b) }

func TestABadServiceIsAnError(t *testing.T) {
	down := errors.New("the service is down")
	reverse := func(b []byte) ([]byte, error) { slices.Reverse(b); return b, nil }
	fails := func([]byte) ([]byte, error) { return nil, down }
	panics := func([]byte) ([]byte, error) { panic("a data key") }
	returns := func(n int) func([]byte) ([]byte, error) {
		return func([]byte) ([]byte, error) { return make([]byte, n), nil }
	}
	for name, tt := range map[string]struct {
		service
		want string
		is   error
	}{
		"no ID":               {service{"", reverse, reverse}, "has 0 bytes", nil},
		"a long ID":           {service{strings.Repeat("x", 256), reverse, reverse}, "has 256 bytes", nil},
		"wrapping fails":      {service{"k", fails, reverse}, `wrap under "k"`, down},
		"unwrapping fails":    {service{"k", reverse, fails}, `unwrap under "k"`, down},
		"wrapping panics":     {service{"k", panics, reverse}, "panicked: string", nil},
		"unwrapping panics":   {service{"k", reverse, panics}, "panicked: string", nil},
		"wrapping does not":   {service{"k", func(b []byte) ([]byte, error) { return append([]byte("v1"), b...), nil }, reverse}, "in clear", nil},
		"wrapped to nothing":  {service{"k", returns(0), reverse}, "has 0 bytes", nil},
		"wrapped to too much": {service{"k", returns(4097), reverse}, "has 4097 bytes", nil},
		"a short data key":    {service{"k", reverse, returns(16)}, "has 16 bytes", nil},
		"another data key":    {service{"k", reverse, returns(32)}, "sealed with another key", ErrMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := Seal(t.Context(), tt, []byte("plain"))
			if err == nil {
				var got []byte
				if got, err = Open(t.Context(), tt, sealed); got != nil {
					t.Errorf("it opens as %q", got)
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "a data key") || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("the error is %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestAServiceMaySpoilWhatItIsGiven(t *testing.T) {
	s := service{"k", func(b []byte) ([]byte, error) { w := slices.Clone(b); slices.Reverse(w); clear(b); return w, nil },
		func(b []byte) ([]byte, error) { w := slices.Clone(b); slices.Reverse(w); clear(b); return w, nil }}
	sealed, err := Seal(t.Context(), s, []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := Open(t.Context(), s, sealed); string(got) != "plain" || err != nil {
			t.Errorf("it opens as %q, %v", got, err)
		}
	}
}

func TestSealRefusesWhatIsTooLarge(t *testing.T) {
	if _, err := Seal(t.Context(), ring(t, "1"), make([]byte, MaxPlain+1)); err == nil {
		t.Error("it seals more than MaxPlain")
	}
	if _, err := Seal(t.Context(), ring(t, "1"), make([]byte, MaxPlain)); err != nil {
		t.Error(err)
	}
}

func TestRingRefusesShortKeys(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := NewRing("k", map[string][]byte{"k": make([]byte, n)}); err == nil {
			t.Errorf("a key of %d bytes is taken", n)
		}
	}
}

func TestRingPrintsNothing(t *testing.T) {
	r := ring(t, "1")
	var b bytes.Buffer
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %d") {
		if got := fmt.Sprintf(verb, r); got != "[redacted]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "k", r)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "k", r)
	zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&b), zap.DebugLevel)).Info("m", zap.Any("k", r))
	if strings.Count(b.String(), "[redacted]") != 3 {
		t.Errorf("it is logged as %s", &b)
	}
}

func FuzzOpen(f *testing.F) {
	r, sealed := ring(f, "1", "2"), unhex(f, golden)
	f.Add(sealed, "owner")
	f.Add(sealed[:30], "owner")
	f.Add(sealed, "")
	f.Add([]byte(magic+"\x01\xff"), "owner")
	f.Add([]byte(magic+"\x01\x011\xff\xff"), "owner")
	f.Add([]byte(`{"url":"https://example.com"}`), "owner")
	f.Fuzz(func(t *testing.T, b []byte, owner string) {
		before := bytes.Clone(b)
		got, err := Open(t.Context(), r, b, owner)
		if !bytes.Equal(b, before) {
			t.Error("Open changes what it is given")
		}
		if (err == nil) != (bytes.Equal(b, sealed) && owner == "owner") || err != nil && got != nil {
			t.Errorf("%q opens as %q, %v", b, got, err)
		}
		if _, err := KeyID(b); err == nil && !Is(b) {
			t.Error("there is a key ID in what is not sealed")
		}
	})
}

func FuzzSeal(f *testing.F) {
	r := ring(f, "1")
	f.Add([]byte("plain"), "a", "b", "a", "b")
	f.Add([]byte{}, "ab", "", "a", "b")
	f.Fuzz(func(t *testing.T, plain []byte, a, b, c, d string) {
		sealed, err := Seal(t.Context(), r, plain, a, b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Open(t.Context(), r, sealed, c, d)
		if same := a == c && b == d; same != (err == nil) || same && !bytes.Equal(got, plain) {
			t.Errorf("sealed for %q %q it opens for %q %q as %q, %v", a, b, c, d, got, err)
		}
	})
}
