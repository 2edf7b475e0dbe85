package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// create returns a certificate of the public key, or of its own, and its own key.
func create(t testing.TB, public any) (certificate, key string) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if public == nil {
		public = signer.Public()
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{}, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", private)
}

// A signature by an RSA key of half a million bits takes a second to verify.
func TestKeysThatCostTooMuch(t *testing.T) {
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), maxRSABits, 1), E: 65537}
	certificate, key := create(t, huge)
	if _, err := Roots(certificate); err == nil || !strings.Contains(err.Error(), "more than 8192 bits") {
		t.Errorf("as an authority: %v", err)
	}
	if _, err := Pair(certificate, key); err == nil || errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "more than 8192 bits") {
		t.Errorf("as one's own: %v", err)
	}
	largest := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), maxRSABits-1, 1), E: 65537}
	certificate, _ = create(t, largest)
	if _, err := Roots(certificate); err != nil {
		t.Errorf("one of 8192 bits: %v", err)
	}
}

func TestPairIsComplete(t *testing.T) {
	leaf, key := create(t, nil)
	other, _ := create(t, nil)
	pair, err := Pair("\n"+leaf+"\n"+other+"\n", key)
	if err != nil || len(pair.Certificate) != 2 || pair.Leaf == nil || pair.PrivateKey == nil {
		t.Fatalf("%+v, %v", pair, err)
	}
	if c, err := Leaf(leaf + other); err != nil || !c.Equal(pair.Leaf) {
		t.Errorf("the leaf: %v", err)
	}
}

// Whatever is given, it is understood as a whole or refused, and no error repeats
// any of it.
func FuzzPEM(f *testing.F) {
	leaf, key := create(f, nil)
	f.Add(leaf, key)
	f.Add(leaf+leaf, key+leaf)
	f.Add("-----BEGIN CERTIFICATE-----\n"+leaf, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"+key)
	f.Fuzz(func(t *testing.T, certificates, key string) {
		for _, err := range []error{
			func() error { _, err := Roots(certificates); return err }(),
			func() error { _, err := Leaf(certificates); return err }(),
			func() error { _, err := Pair(certificates, key); return err }(),
		} {
			if err == nil {
				if !strings.Contains(certificates, "-----BEGIN CERTIFICATE-----") {
					t.Errorf("%q is understood", certificates)
				}
				continue
			}
			text := err.Error()
			for _, given := range []string{certificates, key} {
				for n := 0; n+16 <= len(given); n++ {
					if strings.Contains(text, given[n:n+16]) {
						t.Errorf("%q repeats %q", text, given[n:n+16])
					}
				}
			}
		}
	})
}
